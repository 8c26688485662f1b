"""A process is killed just before and just after each COMMIT and each send; P1 to P6 hold after the restart.

The day (tests.crash.world) comes by every commit point, so each member of CommitPoint is a case here by being a
member, and one that the day does not come by fails.
"""

from __future__ import annotations

import os
import random

import pytest

from notifier.core.model import ChannelName
from notifier.pipeline import ACCEPT_CHUNK, ROUTE_CHUNK
from notifier.unit import CommitPoint
from tests.crash import promises
from tests.crash.deployment import Deployment
from tests.crash.kill import Kill, Moment, sending
from tests.crash.world import Day

SENDS = [sending(channel) for channel in ChannelName]
PLACES = [*(point.value for point in CommitPoint), *SENDS]
AFTER, BEFORE = Moment.AFTER, Moment.BEFORE
MOST_KILLS = 5  #: in one day of kills by chance
#: Days of kills by chance; `CRASH_DAYS=100 pytest tests/crash -k by_chance` for a long look. The seed is in the name.
DAYS = range(int(os.environ.get("CRASH_DAYS", "2")))


def restart(deployment: Deployment) -> None:
    """Start once more, without a kill; the day comes to its end and every promise is asked for."""
    with deployment.restarted() as world:
        assert promises.kept_after_a_kill(world.sql, world.journal) == []
        world.recover()
        assert promises.kept_when_work_resumed(world.sql, world.clock()) == []
        world.live()
        assert promises.kept_at_rest(world.sql, world.journal, deployment.kills) == []
        assert promises.sent_again(world) == []
        assert promises.the_same_form_again(world) == []
        assert promises.kept_while_reading(world) == []


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("place", PLACES)
def test_a_kill_breaks_no_promise_p1_to_p6(deployment: Deployment, place: str, moment: Moment) -> None:
    deployment.dies(Kill(place, moment))
    restart(deployment)


@pytest.mark.parametrize("moment", Moment)
def test_a_kill_at_the_decision_itself_leaves_one_decision_or_none_p6(deployment: Deployment, moment: Moment) -> None:
    """The first form of the day has a wrong number; the second decides."""
    deployment.dies(Kill(CommitPoint.DECIDE, moment, 2))
    rows = deployment.rows()
    assert len(rows["decisions"]) == (moment is AFTER)
    assert [row["status"] for row in rows["orders"] if row["number"] == "1042"] == [
        "accepted" if moment is AFTER else "pending"
    ]
    restart(deployment)


@pytest.mark.parametrize("moment", Moment)
def test_a_kill_between_two_chunks_of_routing_leaves_whole_chunks_p2(deployment: Deployment, moment: Moment) -> None:
    deployment.day = Day(flood=ROUTE_CHUNK)
    deployment.dies(Kill(CommitPoint.ROUTE, moment, 2))
    routed = [row for row in deployment.rows()["events"] if row["routed_at"] is not None]
    assert len(routed) == (ROUTE_CHUNK if moment is BEFORE else ROUTE_CHUNK + 4)
    restart(deployment)


def test_a_kill_inside_a_large_batch_loses_nothing_and_doubles_nothing_when_it_is_sent_again_p1(
    deployment: Deployment,
) -> None:
    deployment.day = Day(flood=246)  # with the other four of the morning: three transactions
    deployment.dies(Kill(CommitPoint.ACCEPT, AFTER, 2))
    assert len(deployment.rows()["events"]) == 2 * ACCEPT_CHUNK
    restart(deployment)
    [answers] = [line["answers"] for line in deployment.journal.of("answered", name="morning")]
    assert [answer["status"] for answer in answers] == ["duplicate"] * 2 * ACCEPT_CHUNK + ["accepted"] * 50


@pytest.mark.parametrize("moment", Moment)
def test_a_kill_at_the_settling_of_several_keeps_all_of_their_outcomes_or_none_p4(
    deployment: Deployment, moment: Moment
) -> None:
    deployment.day = Day(by_hand=True)
    deployment.dies(Kill(CommitPoint.SETTLE, moment))
    outcomes = {row["id"]: row["outcome"] for row in deployment.rows()["attempts"]}
    handed_over = [outcomes[line["attempt"]] for line in deployment.journal.of("received")]
    assert len(handed_over) > 1
    assert handed_over.count("open") == (len(handed_over) if moment is BEFORE else 0)
    restart(deployment)


@pytest.mark.parametrize("moment", Moment)
def test_a_kill_while_rows_claimed_without_knowing_are_freed_leaves_all_of_them_claimed_or_none_p3(
    deployment: Deployment, moment: Moment
) -> None:
    deployment.dies(Kill(CommitPoint.FREE_UNHELD, moment))
    [stalled] = [line["session"] for line in deployment.journal.of("stalled")]
    held = [row for row in deployment.rows()["notifications"] if row["claimed_by"] == stalled]
    assert len(held) > 1 if moment is BEFORE else not held
    restart(deployment)


def test_killed_again_while_it_recovers_p1_to_p6(deployment: Deployment) -> None:
    """With rows claimed; again when the next process settles the first of them; once more when they are freed."""
    deployment.dies(Kill(CommitPoint.CLAIM, AFTER))
    deployment.dies(Kill(CommitPoint.SETTLE, BEFORE))
    deployment.dies(Kill(CommitPoint.SWEEP, AFTER))
    restart(deployment)


@pytest.mark.parametrize("seed", DAYS)
def test_kills_by_chance_break_no_promise_p1_to_p6(deployment: Deployment, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(MOST_KILLS):
        kill = Kill(chance.choice(PLACES), chance.choice(list(Moment)), chance.choice((1, 1, 2, 3, 5, 8)))
        if not deployment.run(kill):
            break  # it never came by there a so-many-th time: the day is over
    restart(deployment)
