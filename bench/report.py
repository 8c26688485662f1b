"""What the run found, against what must be reached: a table to read, JSON to compute with, RESULTS.md to keep."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

FOLDER = Path(__file__).parent
TRIED = "## What was tried"  #: written by people; a run keeps it
MISSING = float("nan")
KINDS = ("batch", "single")  #: of requests
GROWTH = 32  #: MB: what one batch after another may leave in a process whose memory is flat


@dataclass(frozen=True, slots=True)
class Goal:
    """One target and what was found."""

    what: str
    wanted: str
    found: float
    met: bool

    @property
    def verdict(self) -> str:
        """In a word or two."""
        if math.isnan(self.found):
            return "not measured"
        return "met" if self.met else "missed"


def goals(results: Mapping[str, Any]) -> Iterator[Goal]:
    """Every goal whose part was run."""
    for workload, least in (("plain", 12.0), ("rich", 5.0)):
        if workload in results:
            yield _at_least(
                f"{workload}: two workers beside the naive way", times(results[workload], "naive"), least, "x"
            )
            yield _at_least(f"{workload}: beside Alertmanager", times(results[workload], "Alertmanager"), 1.0, "x")
    if "plain" in results:
        memory = max(one["memory_mb"] for one in results["plain"] if one["who"].startswith("ours"))
        yield _below("memory of a delivery worker", memory, 180, "MB")
    if "latency" in results:
        idle = results["latency"]["handover"][0]
        yield _below("idle hand-over, p50", idle["p50_ms"], 25, "ms")
        yield _below("idle hand-over, p99", idle["p99_ms"], 60, "ms")
        yield _below("CPU of the idle system", results["latency"]["idle_cpu_sum"] * 100, 3, "% of a core")
    if "slow" in results:
        yield _at_least("slow receivers: share of slots / mean latency", results["slow"]["share"], 0.4, "")
    for name, what in (("flood", "beside one tenant with 90 % of the load"), ("dead", "beside 100 dead endpoints")):
        if "fairness" in results:
            yield _at_most(f"p99 of the others {what}", results["fairness"][name]["p99_ratio"], 1.5, "x")
    if "ingest" in results:
        yield from _ingest_goals(results["ingest"])
    if "waiting" in results:
        yield _at_most("cost beside the most waiting rows", results["waiting"]["cost_ratio"], 1.2, "x")


def _ingest_goals(results: Mapping[str, Any]) -> Iterator[Goal]:
    for database, found in _by_database(results):
        yield _at_least(f"ingest in batches, {database}", round(found["batch"]["events"], 1), 5_000, "events/s")
        yield _at_least(
            f"ingest of single events, {database}", round(found["single"]["requests"], 1), 500, "requests/s"
        )
        yield _below(f"growth of the web process meanwhile, {database}", growth(found), GROWTH, "MB")


def _by_database(results: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(name, found) for name, found in results.items() if "drained" in found]


def growth(found: Mapping[str, Any]) -> float:
    """MB that the web process grew under either kind of request, after it was warm."""
    return float(round(max(after - before for before, after in (found[kind]["web memory"] for kind in KINDS)), 1))


def _at_least(what: str, found: float, least: float, unit: str) -> Goal:
    return Goal(what, f"at least {least:g} {unit}".strip(), found, found >= least)


def _at_most(what: str, found: float, most: float, unit: str) -> Goal:
    return Goal(what, f"at most {most:g} {unit}", found, found <= most)


def _below(what: str, found: float, most: float, unit: str) -> Goal:
    return Goal(what, f"below {most:g} {unit}", found, found < most)


def times(runs: Sequence[Mapping[str, Any]], reference: str) -> float:
    """How many times the reference our best run is; not a number when the reference is missing or void."""
    ours = max((one["per_second"] for one in runs if one["who"].startswith("ours")), default=0.0)
    beside = next((one for one in runs if one["who"].startswith(reference)), None)
    if beside is None or not beside["per_second"] or str(beside["note"]).startswith("VOID"):
        return MISSING
    return float(round(ours / beside["per_second"], 2))


def tables(results: Mapping[str, Any]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """(title, column names, rows) of everything that was measured."""
    yield (
        "Goals",
        ["goal", "wanted", "found", "verdict"],
        [[goal.what, goal.wanted, f"{goal.found:g}", goal.verdict] for goal in goals(results)],
    )
    for workload in ("plain", "rich"):
        if workload in results:
            yield f"{workload}: deliveries per second", *_throughput(results[workload])
    if "latency" in results:
        found = results["latency"]
        yield "Hand-over, accept commit to first byte", *_handover(found["handover"])
        asleep = [[name, f"{share:.2%}"] for name, share in {**found["idle_cpu"], "sum": found["idle_cpu_sum"]}.items()]
        yield "CPU when idle", ["part", "share of a core"], asleep
    if "slow" in results:
        yield "Slow receivers (50 ms, one in a hundred 2 s)", *_throughput([results["slow"]])
    if "fairness" in results:
        seen = [*results["fairness"]["flood"]["handover"], *results["fairness"]["dead"]["handover"]]
        yield "Fairness, request to first byte", *_handover(seen)
    if "ingest" in results:
        yield "Ingest, with routing and delivery running", *_ingest(results["ingest"])
    if "waiting" in results:
        yield "Waiting rows", *_throughput(results["waiting"]["runs"])
    if "steps" in results:
        rows = [
            [one["workload"], one["step"], f"{one['ours_us']:g}", f"{one['floor_us']:g}", one["floor"]]
            for one in results["steps"]
        ]
        yield "By step, microseconds per delivery", ["workload", "step", "ours", "floor", "the floor is"], rows


def _throughput(runs: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    head = ["who", "per second", "x naive", "CPU us", "x naive", "worker us", "postgres us", "broker us", "MB", "note"]
    naive = next((one for one in runs if one["who"].startswith("naive")), None)
    rows = []
    for one in runs:
        faster = f"{one['per_second'] / naive['per_second']:.1f}" if naive and naive["per_second"] else ""
        cheaper = f"{naive['cpu_us']['all'] / one['cpu_us']['all']:.1f}" if naive and one["cpu_us"].get("all") else ""
        cpu = [str(one["cpu_us"].get(name, "")) for name in ("all", "worker", "postgres", "broker")]
        speed = [f"{one['per_second']:,.0f}", faster, cpu[0], cheaper]
        rows.append([one["who"], *speed, *cpu[1:], str(one["memory_mb"]), one["note"]])
    return head, rows


def _handover(seen: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    names = ("what", "sent", "arrived", "p50_ms", "p99_ms", "note")
    return ["what", "sent", "arrived", "p50 ms", "p99 ms", "note"], [[str(one[name]) for name in names] for one in seen]


def _ingest(results: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    head = ["database", "kind", "events/s", "requests/s", "p50 ms", "p99 ms", "of bare web", "of one commit each"]
    rows = [_ingested(database, kind, found[kind]) for database, found in _by_database(results) for kind in KINDS]
    return [*head, "web us", "postgres us", "routed/s", "web MB"], rows


def _ingested(database: str, kind: str, found: Mapping[str, Any]) -> list[str]:
    cpu = found["cpu us per event"]
    speed = [
        f"{found['events']:,.0f}",
        f"{found['requests']:,.0f}",
        f"{found['p50'] * 1e3:.1f}",
        f"{found['p99'] * 1e3:.1f}",
    ]
    beside = [f"{found['of bare web']:.0%}", f"{found['of one commit per event']:.1f} x"]
    cost = [f"{cpu[part]:.0f}" if part in cpu else "" for part in ("web", "postgres")]
    memory = " to ".join(f"{mb:.0f}" for mb in found["web memory"])
    return [database, kind, *speed, *beside, *cost, f"{found['routed']:,.0f}", memory]


def show(results: Mapping[str, Any]) -> None:
    """On the terminal."""
    console = Console(width=150)
    for title, head, rows in tables(results):
        table = Table(*head, title=title, title_justify="left")
        for row in rows:
            table.add_row(*row)
        console.print(table)


def write(results: Mapping[str, Any], facts: Mapping[str, str], command: str, folder: Path = FOLDER) -> None:
    """RESULTS.md and results.json. What people wrote about what was tried stays."""
    (folder / "results.json").write_text(json.dumps({"facts": facts, **results}, indent=1) + "\n", encoding="utf-8")
    target = folder / "RESULTS.md"
    before = target.read_text(encoding="utf-8") if target.exists() else ""
    kept = before[before.index(TRIED) :] if TRIED in before else f"{TRIED}\n"
    lines = [
        "# Results of the bench",
        "",
        "Written by the run. Ratios hold within one run; absolute numbers belong to this machine.",
        "",
    ]
    lines += ["Sink, database, broker, load and workers share the cores; no TLS, no DNS, no real mail servers.", ""]
    lines += [f"- date: {datetime.now(UTC):%d %b %Y %H:%M} UTC", f"- command: `{command}`"]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    for title, head, rows in tables(results):
        lines += ["", f"## {title}", "", _line(head), _line(["---"] * len(head)), *map(_line, rows)]
    target.write_text("\n".join([*lines, "", kept.rstrip(), ""]), encoding="utf-8")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
