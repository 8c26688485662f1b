"""The engine when things go wrong around it: a busy or refusing store, a lost answer, a fence, ends that fail."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from notifier import engine as engine_module
from notifier import heartbeat
from notifier.core.ids import AttemptId, SessionId
from notifier.core.model import AttemptOutcome, ChannelName, Claimed, ClaimRequest, Claims, NewAttempt, Settlement
from notifier.core.records import WorkerSession
from notifier.engine import Engine, EngineLimits
from notifier.errors import DeliveryError, StoreError
from notifier.ports import Delivery, Receipt
from notifier.testing import NOW
from tests.pipeline.test_engine import Mailbox, Steps, run

EMAIL = ChannelName.EMAIL


def engine(steps: Steps, channel: Mailbox, **more: Any) -> Engine:
    """An engine with one channel."""
    return Engine(steps, {EMAIL: channel}, lambda: datetime.now(UTC), **more)


# -- the threads of the store ----------------------------------------------------------------------------------------


def test_a_session_beats_and_sweeps_while_the_store_is_busy_with_a_claim_p4(monkeypatch: pytest.MonkeyPatch) -> None:
    """A blocked writer must not fence a healthy session."""
    monkeypatch.setattr(engine_module, "HEARTBEAT", 0.02)
    monkeypatch.setattr(engine_module, "SWEEP_EVERY", 0.02)
    steps, go_on = Steps(0), threading.Event()
    heard = {"beat": threading.Semaphore(0), "sweep": threading.Semaphore(0)}
    beat, sweep, claim = steps.beat_session, steps.sweep, steps.claim

    def blocked(request: ClaimRequest) -> Claims:
        assert go_on.wait(10)
        return claim(request)

    def counted(word: str, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def counting(argument: Any) -> Any:
            heard[word].release()
            return call(argument)

        return counting

    steps.claim = blocked  # type: ignore[method-assign]
    monkeypatch.setattr(steps, "beat_session", counted("beat", beat))
    monkeypatch.setattr(steps, "sweep", counted("sweep", sweep))

    async def main() -> None:
        made = engine(steps, Mailbox())
        running = asyncio.create_task(made.run())
        try:
            for semaphore in heard.values():
                for _ in range(3):
                    assert await asyncio.to_thread(semaphore.acquire, timeout=5)
        finally:
            go_on.set()
            made.stop()
            await running

    asyncio.run(main())


def test_a_heartbeat_is_heard_while_a_sweep_takes_its_time_p4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "HEARTBEAT", 0.02)
    monkeypatch.setattr(engine_module, "SWEEP_EVERY", 0.02)
    steps, go_on = Steps(3), threading.Event()
    beat, sweep, beats, during = steps.beat_session, steps.sweep, list[int](), list[int]()

    def slow(dead: Any) -> Any:
        during.append(len(beats))
        assert go_on.wait(10)
        return sweep(dead)

    def counting(session: SessionId) -> bool:
        beats.append(1)
        return beat(session)

    steps.sweep, steps.beat_session = slow, counting  # type: ignore[method-assign]

    def both_go_on() -> bool:
        if not (during and len(beats) >= during[0] + 3 and len(steps.of("settled")) == 3):
            return False
        go_on.set()
        return True

    try:
        run(steps, Mailbox(), both_go_on)
    finally:
        go_on.set()


# -- fencing ---------------------------------------------------------------------------------------------------------


class Fence:
    """A monotonic clock; `jump` puts it past every fence, as a long stop does."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead

    def jump(self) -> None:
        self.ahead += 60.0


def run_fenced(steps: Steps, channel: Mailbox, fence: Fence, until: Callable[[], bool]) -> None:
    """Run until the condition holds; no heartbeat comes by itself in that time."""

    async def main() -> None:
        made = engine(steps, channel, monotonic=fence)
        running = asyncio.create_task(made.run())
        async with asyncio.timeout(10):
            while not until():  # noqa: ASYNC110  # the steps run in other threads and know no event
                await asyncio.sleep(0.005)
        made.stop()
        await running

    asyncio.run(main())


def test_what_a_fenced_session_has_only_claimed_is_not_begun_p4() -> None:
    steps, channel, fence = Steps(3), Mailbox(), Fence()
    prepare = steps.prepare

    def stopped(row: Claimed, attempt_id: AttemptId, check: Callable[[], None]) -> Delivery:
        if not fence.ahead:
            fence.jump()
        return prepare(row, attempt_id, check)

    steps.prepare = stopped  # type: ignore[method-assign]
    run_fenced(steps, channel, fence, lambda: len(steps.of("claimed")) == 3 and fence.ahead > 0)
    assert (channel.sent, steps.of("begun"), steps.of("settled")) == ([], [], [])


def test_what_a_fenced_session_has_begun_is_settled_as_not_sent_p4() -> None:
    steps, channel, fence = Steps(3), Mailbox(), Fence()
    begin = steps.begin

    def stopped(attempts: Sequence[NewAttempt]) -> frozenset[AttemptId]:
        begun = begin(attempts)
        fence.jump()
        return begun

    steps.begin = stopped  # type: ignore[method-assign]
    run_fenced(steps, channel, fence, lambda: len(steps.of("settled")) == 3)
    assert channel.sent == []
    assert {what[1:] for what in steps.of("settled")} == {(AttemptOutcome.NOT_SENT, "fenced")}


class Queueing(Mailbox):
    """A channel whose sends wait for a connection, and ask once more when they have it."""

    def __init__(self) -> None:
        super().__init__()
        self.free = asyncio.Event()

    async def send(self, delivery: Delivery) -> Receipt:
        self.busy += 1
        await self.free.wait()
        delivery.check()
        self.sent.append(delivery.notification_id)
        return Receipt()


def test_what_waits_in_a_channel_for_its_connection_is_held_back_too_p4() -> None:
    steps, channel, fence = Steps(2), Queueing(), Fence()

    def until() -> bool:
        if channel.busy == 2 and not fence.ahead:
            fence.jump()
            channel.free.set()
        return len(steps.of("settled")) == 2

    run_fenced(steps, channel, fence, until)
    assert channel.sent == []
    assert {what[1:] for what in steps.of("settled")} == {(AttemptOutcome.NOT_SENT, "fenced")}


def test_a_session_that_beats_again_gives_back_what_it_did_not_begin_p1(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows are nobody else's while it lives: kept in no slot they would wait for its end."""
    monkeypatch.setattr(engine_module, "HEARTBEAT", 0.3)
    monkeypatch.setattr(engine_module, "POLL", 0.02)
    steps, channel, fence = Steps(1), Mailbox(), Fence()
    prepare = steps.prepare

    def stopped(row: Claimed, attempt_id: AttemptId, check: Callable[[], None]) -> Delivery:
        fence.jump()
        return prepare(row, attempt_id, check)

    steps.prepare = stopped  # type: ignore[method-assign]
    run_fenced(steps, channel, fence, lambda: bool(steps.of("unheld")))
    assert steps.of("unheld") == [frozenset()]
    assert len(steps.of("session")) == 1


def test_who_could_not_beat_itself_calls_nobody_dead_p4(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store was away for everybody: when it is back, the first to sweep must not bury all the others."""
    monkeypatch.setattr(engine_module, "SWEEP_EVERY", 0.02)
    monkeypatch.setattr(heartbeat, "DEAD_AFTER", timedelta(seconds=0.1))
    steps, fence = Steps(0), Fence()
    silent = WorkerSession(SessionId("silent"), "host", 1, datetime.now(UTC), datetime.now(UTC))
    buried, looked, sweep = list[WorkerSession](), list[float](), steps.sweep

    def looking() -> list[WorkerSession]:
        looked.append(time.monotonic())
        return [silent]

    def burying(dead: Sequence[WorkerSession]) -> Any:
        buried.extend(dead)
        return sweep(dead)

    steps.sessions, steps.sweep = looking, burying  # type: ignore[method-assign]
    run_fenced(steps, Mailbox(), Dazed(), lambda: bool(looked) and time.monotonic() - looked[0] > 0.4)
    assert buried == []
    run_fenced(steps, Mailbox(), fence, lambda: bool(buried))
    assert buried[0] == silent


class Dazed(Fence):
    """A clock on which every moment is past the fence of the one before."""

    def __call__(self) -> float:
        self.jump()
        return super().__call__()


# -- a store that refuses, or whose answer gets lost -----------------------------------------------------------------


def refusing(steps: Steps, bad: Callable[[Settlement], bool]) -> None:
    """The database takes no batch that holds such a settlement."""
    settle = steps.settle

    def settling(settlements: Sequence[Settlement]) -> None:
        if any(bad(item) for item in settlements):
            raise StoreError("value too long", refused=True)
        settle(settlements)

    steps.settle = settling  # type: ignore[method-assign]


def test_an_outcome_whose_words_are_refused_is_saved_without_them_p1() -> None:
    steps, channel = Steps(20), Mailbox()
    outcome, marked = steps.outcome, list[str]()

    def odd(row: Claimed, attempt_id: AttemptId, result: Any) -> Settlement:
        made = outcome(row, attempt_id, result)
        if marked:
            return made
        marked.append(row.id)
        return replace(made, detail="odd words")

    steps.outcome = odd  # type: ignore[method-assign]
    refusing(steps, lambda item: item.detail == "odd words")
    run(steps, channel, lambda: len(steps.of("settled")) == 20)
    assert marked[0] in {what[0] for what in steps.of("settled")}


def test_one_outcome_that_is_always_refused_holds_up_no_other_p1() -> None:
    steps, channel = Steps(20), Mailbox()
    refusing(steps, lambda item: item.notification_id == steps.of("claimed")[0])
    run(steps, channel, lambda: len(steps.of("settled")) == 19)
    assert len(steps.of("session")) == 1  # and the session goes on


def test_one_attempt_that_is_refused_is_not_sent_and_holds_up_no_other_p4() -> None:
    steps, channel = Steps(20), Mailbox()
    begin = steps.begin

    def beginning(attempts: Sequence[NewAttempt]) -> frozenset[AttemptId]:
        if any(attempt.notification_id == steps.of("claimed")[0] for attempt in attempts):
            raise StoreError("constraint", refused=True, conflict=True)
        return begin(attempts)

    steps.begin = beginning  # type: ignore[method-assign]
    run(steps, channel, lambda: len(steps.of("settled")) == 19)
    assert steps.of("claimed")[0] not in channel.sent


def test_rows_of_a_claim_whose_answer_got_lost_are_given_back_before_the_next_p1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The commit went through and the connection broke: the living session owns rows that it knows nothing of."""
    monkeypatch.setattr(engine_module, "RETRY_STORE", 0.01)
    steps, channel = Steps(4), Mailbox(seconds=0.1)
    claim, calls = steps.claim, list[int]()

    def lossy(request: ClaimRequest) -> Claims:
        calls.append(1)
        if len(calls) == 2:
            raise StoreError("connection lost")
        return claim(request)

    steps.claim = lossy  # type: ignore[method-assign]
    run(steps, channel, lambda: bool(steps.of("unheld")) and len(steps.of("settled")) == 4, slots=10)
    assert steps.of("unheld")[0] <= set(steps.of("claimed"))


# -- begin and end ---------------------------------------------------------------------------------------------------


def test_a_channel_that_does_not_open_leaves_no_session_behind() -> None:
    steps, channel = Steps(0), Mailbox()

    async def broken() -> None:
        raise OSError("no such file")

    channel.open = broken  # type: ignore[method-assign]
    with pytest.raises(OSError, match="no such file"):
        asyncio.run(engine(steps, channel).run())
    assert steps.of("session") == []


def test_a_channel_that_does_not_close_keeps_no_session_alive() -> None:
    steps, channel = Steps(0), Mailbox()

    async def broken() -> None:
        raise OSError("cannot close")

    channel.close = broken  # type: ignore[method-assign]
    run(steps, channel, lambda: bool(steps.of("session")))
    assert steps.of("end") == steps.of("session")


def test_a_send_cut_off_by_the_end_of_the_drain_has_ended_before_its_session_p4() -> None:
    """Else it could still reach the receiver when its row is somebody else's."""
    steps, channel = Steps(1), Mailbox(seconds=60)
    end, busy_at_end = steps.end_session, list[int]()

    def ending(session: SessionId) -> int:
        busy_at_end.append(channel.busy)
        return end(session)

    steps.end_session = ending  # type: ignore[method-assign]
    run(steps, channel, lambda: channel.busy == 1, drain=0.05)
    assert busy_at_end == [0]
    assert steps.of("settled") == []


def test_a_stop_while_the_store_is_away_ends_within_the_drain_and_leaves_the_rest_to_the_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_module, "RETRY_STORE", 0.01)
    steps, channel = Steps(3), Mailbox()

    def away(_: Any) -> Any:
        raise StoreError("away")

    monkeypatch.setattr(steps, "settle", away)
    monkeypatch.setattr(steps, "end_session", away)
    assert run(steps, channel, lambda: len(channel.sent) == 3, drain=0.2) < 3


def test_an_engine_that_was_stopped_before_it_ran_claims_nothing() -> None:
    steps, channel = Steps(5), Mailbox()

    async def main() -> None:
        made = engine(steps, channel, limits=EngineLimits(slots=2))
        made.stop()
        await asyncio.wait_for(made.run(), 5)

    asyncio.run(main())
    assert steps.of("claimed") == []
    assert steps.of("end") == steps.of("session")


# -- waiting ---------------------------------------------------------------------------------------------------------


def test_what_falls_due_soon_is_claimed_then_and_not_at_the_next_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "POLL", 30.0)
    steps, channel = Steps(1), Mailbox()
    asked, claim = list[float](), steps.claim

    def soon(request: ClaimRequest) -> Claims:
        asked.append(time.monotonic())
        return Claims(next_in=0.2) if len(asked) == 1 else claim(request)

    steps.claim = soon  # type: ignore[method-assign]
    run(steps, channel, lambda: len(channel.sent) == 1)
    assert 0.19 < asked[1] - asked[0] < 10.0


def test_a_claim_that_took_all_there_was_is_not_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither at once nor when its slot comes free: each costs as much as sending does."""
    monkeypatch.setattr(engine_module, "POLL", 30.0)
    steps, asked = Steps(1), list[int]()
    claim = steps.claim

    def noted(request: ClaimRequest) -> Claims:
        asked.append(1)
        return claim(request)

    steps.claim = noted  # type: ignore[method-assign]
    run(steps, Mailbox(), lambda: len(steps.of("settled")) == 1)
    assert len(asked) == 1


def test_what_is_tried_again_sooner_than_anything_else_is_due_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "POLL", 30.0)
    steps = Steps(1)
    outcome = steps.outcome

    def again(row: Claimed, attempt_id: AttemptId, result: Receipt | DeliveryError) -> Settlement:
        steps.rows = 1 - len(steps.of("settled"))
        return replace(outcome(row, attempt_id, result), due_at=NOW)

    steps.outcome = again  # type: ignore[method-assign]
    run(steps, Mailbox(), lambda: len(steps.of("settled")) == 2)


def test_an_idle_engine_asks_no_more_than_once_per_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "POLL", 0.1)
    steps = Steps(0)
    asked, claim = list[int](), steps.claim

    def noted(request: ClaimRequest) -> Claims:
        asked.append(1)
        return claim(request)

    steps.claim = noted  # type: ignore[method-assign]
    begun = time.monotonic()
    run(steps, Mailbox(), lambda: len(asked) == 6)
    assert time.monotonic() - begun >= 0.5
