"""`make bench`: everything, or ONLY=plain,rich,... ; QUICK=1 with small numbers, to see that it works."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bench import ingest, latency, peers, pressure, report, steps, throughput
from bench.machine import describe
from bench.stage import Stage, stage


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    plain: int = 24_000
    rich: int = 12_000
    slow: int = 12_000
    idle: int = 200
    loaded: int = 2_000
    rest: float = 30.0  #: seconds of doing nothing
    fair: float = 30.0  #: seconds of each fairness run
    ingest: float = 8.0  #: seconds of each kind of request on each database
    waiting: int = 3_000
    few: int = 10_000
    many: int = 1_000_000
    steps: int = 2_000


QUICK = Sizes(1200, 400, 2000, 30, 300, 5.0, 6.0, 2.0, 600, 1_000, 50_000, 400)
Results = dict[str, Any]


def _beside(workload: str) -> Callable[[Stage, Sizes, Results], Any]:
    def run(made: Stage, sizes: Sizes, _: Results) -> Any:
        count = getattr(sizes, workload)
        found = throughput.run(made, workload, count) + peers.run(made, workload, count)
        return [one.facts() for one in found]

    return run


def _fairness(made: Stage, sizes: Sizes, _: Results) -> Any:
    flood = pressure.one_big_tenant(made, sizes.loaded, sizes.fair)
    return {"flood": flood, "dead": pressure.dead_endpoints(made, sizes.loaded, sizes.fair)}


PARTS: Mapping[str, Callable[[Stage, Sizes, Results], Any]] = {
    "plain": _beside("plain"),
    "rich": _beside("rich"),
    "latency": lambda made, sizes, _: latency.run(made, sizes.idle, sizes.loaded, sizes.rest),
    "slow": lambda made, sizes, _: pressure.slow(made, sizes.slow),
    "fairness": _fairness,
    "ingest": lambda made, sizes, _: ingest.run(made, sizes.ingest),
    "waiting": lambda made, sizes, _: pressure.waiting(made, sizes.waiting, sizes.few, sizes.many),
    "steps": lambda made, sizes, _: [one.facts() for one in steps.run(made, sizes.steps)],
}


def main() -> None:
    """Run the parts one after another; RESULTS.md is written by a run of all of them in full size."""
    only = [name for name in os.environ.get("ONLY", "").split(",") if name] or list(PARTS)
    if unknown := set(only) - set(PARTS):
        sys.exit(f"no part named {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    quick = os.environ.get("QUICK") == "1"
    results: Results = {}
    with stage() as made:
        for name in only:
            begun = time.monotonic()
            print(f"{name} ...", flush=True)
            results[name] = PARTS[name](made, QUICK if quick else Sizes(), results)
            print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)
    report.show(results)
    if only == list(PARTS) and not quick:
        report.write(results, describe(), "make bench")
        print(f"written to {report.FOLDER / 'RESULTS.md'} and results.json")


if __name__ == "__main__":
    main()
