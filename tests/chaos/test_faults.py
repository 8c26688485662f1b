"""The schedule of faults: the same seed gives the same one, and every fault has its turn."""

from __future__ import annotations

import itertools

import pytest

from chaos.faults import LAST, OF_POSTGRESQL, OF_SQLITE, PARTS, RECEIVERS, draw, short


@pytest.mark.parametrize(("database", "own"), [("postgresql", OF_POSTGRESQL), ("sqlite", OF_SQLITE)])
def test_a_long_run_meets_every_fault(database: str, own: tuple[str, ...]) -> None:
    schedule = draw(1, 15, database)
    assert {fault.what for fault in schedule.parts} == {*PARTS, *own}
    assert {fault.what for fault in schedule.receivers} == {*RECEIVERS}


def test_the_same_seed_gives_the_same_schedule() -> None:
    assert draw(5, 5, "sqlite") == draw(5, 5, "sqlite")
    assert draw(5, 5, "sqlite") != draw(6, 5, "sqlite")
    assert short(5) == short(5)


@pytest.mark.parametrize("seed", range(20))
def test_faults_of_one_track_do_not_overlap_and_leave_the_end_quiet(seed: int) -> None:
    schedule = draw(seed, 5, "postgresql")
    for track in (schedule.parts, schedule.receivers):
        assert all(one.at + one.hold < other.at for one, other in itertools.pairwise(track))
        assert track[-1].at < schedule.seconds - LAST


def test_the_short_form_kills_flushes_and_cuts() -> None:
    schedule = short(7)
    whats = {fault.what for fault in (*schedule.parts, *schedule.receivers)}
    assert whats == {"kill deliver1", "flush broker", "callback cut", "smtp cut"}
    assert len(list(schedule.lines())) == 4
