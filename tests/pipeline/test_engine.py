"""The engine alone, with a pipeline and channels of plain Python: order of steps, slots, fencing, drain, crashes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from notifier import engine as engine_module
from notifier import heartbeat
from notifier.core.ids import (
    AttemptId,
    EventId,
    LaneId,
    MessageId,
    NotificationId,
    RecipientKey,
    SessionId,
    TenantId,
    new_id,
)
from notifier.core.lanes import SILENT
from notifier.core.model import (
    AttemptOutcome,
    ChannelName,
    Claimed,
    ClaimRequest,
    Claims,
    LaneKey,
    Message,
    NewAttempt,
    NotificationStatus,
    Priority,
    Purpose,
    Settlement,
    Trust,
)
from notifier.core.records import Swept, WorkerSession
from notifier.engine import Engine, EngineLimits
from notifier.errors import DeliveryError, OutcomeUnknown, StoreError
from notifier.ports import Channel, Delivery, EmailTarget, Receipt

ACME = TenantId("acme")


def claimed(session: SessionId) -> Claimed:
    """A due row, as a store would hand it out."""
    lane = LaneKey(ACME, ChannelName.EMAIL, Priority.NORMAL, "email")
    message = Message(MessageId(new_id()), ACME, "alert_opened", ChannelName.EMAIL, "en", "", {})
    return Claimed(
        id=NotificationId(new_id()),
        tenant=ACME,
        event_id=EventId(new_id()),
        channel=ChannelName.EMAIL,
        purpose=Purpose.NOTICE,
        address="alice@example.com",
        recipient_key=RecipientKey("r"),
        lane_id=LaneId("l"),
        lane=lane,
        tries=0,
        created_at=datetime.now(UTC),
        expires_at=None,
        message=message,
        session=session,
    )


class Steps:
    """A pipeline that hands out `rows` and writes down everything that happens."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.story: list[tuple[str, Any]] = []
        self.alive = True
        self.store_away = 0
        self.refused: set[NotificationId] = set()

    def start_session(self, session: WorkerSession) -> None:
        self.story.append(("session", session.id))

    def beat_session(self, session: SessionId) -> bool:
        return self.alive

    def end_session(self, session: SessionId) -> int:
        self.story.append(("end", session))
        return 0

    def claim(self, request: ClaimRequest) -> Claims:
        taken = min(self.rows, request.slots)
        self.rows -= taken
        rows = [claimed(request.session) for _ in range(taken)]
        self.story += [("claimed", row.id) for row in rows]
        return Claims(tuple(rows), left=True) if rows else self.what_is_left(request)

    def what_is_left(self, request: ClaimRequest) -> Claims:
        return Claims(left=self.rows > 0)

    def free_unheld(self, session: SessionId, held: frozenset[NotificationId]) -> int:
        self.story.append(("unheld", held))
        return 0

    def sessions(self) -> list[WorkerSession]:
        return []

    def begin(self, attempts: Sequence[NewAttempt]) -> frozenset[AttemptId]:
        if self.store_away:
            self.store_away -= 1
            raise StoreError("away")
        self.story += [("begun", attempt.notification_id) for attempt in attempts]
        return frozenset(a.id for a in attempts if a.notification_id not in self.refused)

    def prepare(self, row: Claimed, attempt_id: AttemptId, check: Callable[[], None]) -> Delivery:
        target = EmailTarget(row.address, "x@example.com")
        return Delivery(attempt_id, row.id, row.tenant, row.channel, target, {"text": "hello"}, row.created_at, check)

    def outcome(self, row: Claimed, attempt_id: AttemptId, result: Receipt | DeliveryError) -> Settlement:
        if isinstance(result, Receipt):
            outcome, reason = AttemptOutcome.SENT, None
        elif isinstance(result, OutcomeUnknown):
            outcome, reason = AttemptOutcome.UNKNOWN, result.reason
        else:
            outcome, reason = AttemptOutcome.NOT_SENT, result.reason
        return Settlement(
            attempt_id, row.id, row.tenant, row.session, row.lane_id, outcome, NotificationStatus.SENT,
            row.created_at, reason=reason,
        )  # fmt: skip

    def settle(self, settlements: Sequence[Settlement]) -> None:
        if self.store_away:
            self.store_away -= 1
            raise StoreError("away")
        self.story += [("settled", (item.notification_id, item.outcome, item.reason)) for item in settlements]

    def sweep(self, dead: Sequence[WorkerSession]) -> Swept:
        return Swept()

    def route_left(self) -> int:
        return 0

    def refresh(self) -> None: ...

    async def look_up_unknowns(self, channels: Mapping[ChannelName, Channel], store: Any) -> int:
        return 0

    def of(self, word: str) -> list[Any]:
        """Everything that happened under that word."""
        return [what for name, what in self.story if name == word]


class Mailbox:
    """A channel that keeps what it is given, as fast as told."""

    name = ChannelName.EMAIL
    parts: tuple[str, ...] = ("text",)

    def __init__(self, seconds: float = 0.0, error: Exception | None = None) -> None:
        self.seconds, self.error = seconds, error
        self.sent: list[NotificationId] = []
        self.busiest = self.busy = 0
        self.opened = self.closed = False

    async def open(self) -> None:
        self.opened = True

    async def close(self) -> None:
        self.closed = True

    async def send(self, delivery: Delivery) -> Receipt:
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            await asyncio.sleep(self.seconds)
            self.sent.append(delivery.notification_id)
            if self.error is not None:
                raise self.error
            return Receipt()
        finally:
            self.busy -= 1


def run(steps: Steps, channel: Mailbox, until: Callable[[], bool], **limits: Any) -> float:
    """Run an engine until the condition holds, then stop it warmly; returns how long the stop took."""

    async def main() -> float:
        engine = Engine(steps, {ChannelName.EMAIL: channel}, lambda: datetime.now(UTC), EngineLimits(**limits))
        running = asyncio.create_task(engine.run())
        async with asyncio.timeout(20):
            while not until():
                await asyncio.sleep(0.005)
                if running.done():
                    running.result()
            began = time.monotonic()
            engine.stop()
            await running
        return time.monotonic() - began

    return asyncio.run(main())


def test_the_attempt_row_is_committed_before_the_send_and_settled_after_p4() -> None:
    steps, channel = Steps(20), Mailbox()
    run(steps, channel, lambda: len(steps.of("settled")) == 20, slots=5)
    for notification in channel.sent:
        words = [name for name, what in steps.story if notification in (what, what[0] if name == "settled" else None)]
        assert words == ["claimed", "begun", "settled"]
    assert len(channel.sent) == 20
    assert channel.opened and channel.closed


def test_a_slow_receiver_holds_its_own_slot_and_no_more_than_there_are() -> None:
    steps, channel = Steps(30), Mailbox(seconds=0.05)
    run(steps, channel, lambda: len(steps.of("settled")) == 30, slots=10)
    assert channel.busiest == 10


def test_lanes_in_doubt_hold_at_most_a_quarter_of_the_slots() -> None:
    """A hundred dead endpoints keep the slots of nobody else (P3)."""
    steps, channel = Steps(30), Mailbox(seconds=0.05)
    asked: list[int] = []

    def claim(request: ClaimRequest) -> Claims:
        assert request.doubtful is not None
        asked.append(request.doubtful.all)
        some = replace(request, slots=min(request.slots, request.doubtful.all))
        claims = Steps.claim(steps, some)
        return replace(claims, rows=tuple(replace(row, trust=Trust.NEW) for row in claims))

    steps.claim = claim  # type: ignore[method-assign]
    run(steps, channel, lambda: len(steps.of("settled")) == 30, slots=40)
    assert (asked[0], channel.busiest) == (10, 10)


def test_a_claim_is_told_what_each_tenant_holds_and_may_hold() -> None:
    steps, channel = Steps(6), Mailbox(seconds=0.05)
    asked: list[ClaimRequest] = []

    def claim(request: ClaimRequest) -> Claims:
        asked.append(request)
        return Steps.claim(steps, replace(request, slots=1))

    steps.claim = claim  # type: ignore[method-assign]
    steps.what_is_left = lambda request: Claims(more=steps.rows > 0)  # type: ignore[method-assign]
    run(steps, channel, lambda: len(steps.of("settled")) == 6, slots=8)
    assert [request.per_tenant for request in asked[:2]] == [6, 6]
    assert [dict(request.held) for request in asked[:2]] == [{}, {ACME: 1}]


def test_what_waits_behind_the_silent_is_claimed_as_soon_as_these_count_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No hint and no free slot tells the engine so: it looks again by itself."""
    monkeypatch.setattr(engine_module, "POLL", 30.0)
    steps, channel = Steps(4), Mailbox(seconds=2 * SILENT)

    def claim(request: ClaimRequest) -> Claims:
        assert request.doubtful is not None
        some = replace(request, slots=min(request.slots, request.doubtful.all))
        claims = Steps.claim(steps, some)
        return replace(claims, rows=tuple(replace(row, trust=Trust.NEW) for row in claims))

    steps.claim = claim  # type: ignore[method-assign]
    run(steps, channel, lambda: len(steps.of("settled")) == 4, slots=8)
    assert channel.busiest == 4, "two and, a second later, two more"


def test_lanes_that_another_claim_held_are_looked_at_again_in_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "POLL", 30.0)
    steps, channel = Steps(1), Mailbox()
    asked: list[float] = []

    def claim(request: ClaimRequest) -> Claims:
        asked.append(time.monotonic())
        return Claims((), more=True) if len(asked) < 7 else Steps.claim(steps, request)

    steps.claim = claim  # type: ignore[method-assign]
    run(steps, channel, lambda: len(steps.of("settled")) == 1)
    waits = [after - before for before, after in pairwise(asked[:7])]
    expected = [0.005, 0.01, 0.02, 0.04, 0.08, 0.08]
    assert all(least <= wait < least + 5.0 for wait, least in zip(waits, expected, strict=True)), waits


def test_an_attempt_that_the_store_refuses_is_never_sent_p4() -> None:
    steps, channel = Steps(1), Mailbox()
    steps.begin = lambda attempts: frozenset()  # type: ignore[method-assign]
    run(steps, channel, lambda: bool(steps.of("claimed")))
    assert channel.sent == []


def test_a_store_that_is_away_delays_but_loses_no_outcome_p1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "RETRY_STORE", 0.01)
    steps, channel = Steps(3), Mailbox()
    steps.store_away = 5
    run(steps, channel, lambda: len(steps.of("settled")) == 3)
    assert len(set(channel.sent)) == len(channel.sent) == 3


def test_a_channel_that_fails_unexpectedly_is_an_unknown_outcome_p4() -> None:
    steps, channel = Steps(1), Mailbox(error=ZeroDivisionError("bug"))
    run(steps, channel, lambda: bool(steps.of("settled")))
    assert steps.of("settled")[0][1:] == (AttemptOutcome.UNKNOWN, "internal")


def test_a_send_longer_than_its_budget_is_an_unknown_outcome_p4() -> None:
    steps, channel = Steps(1), Mailbox(seconds=60)
    run(steps, channel, lambda: bool(steps.of("settled")), send_budget=0.05)
    assert steps.of("settled")[0][1:] == (AttemptOutcome.UNKNOWN, "timeout")


def test_a_warm_stop_waits_for_what_is_in_flight_and_claims_nothing_more_p4() -> None:
    steps, channel = Steps(1000), Mailbox(seconds=0.3)
    took = run(steps, channel, lambda: channel.busy == 4, slots=4)
    assert took < 5
    assert len(channel.sent) == len(steps.of("settled")) == len(steps.of("claimed"))
    assert steps.story[-1][0] == "end"


def test_a_bug_around_a_send_ends_the_session_so_that_its_rows_are_freed_p1() -> None:
    """A row of a living session is nobody else's: going on would keep it in hand for ever."""
    steps, channel = Steps(1), Mailbox()

    def settle(settlements: Sequence[Settlement]) -> None:
        raise ZeroDivisionError

    steps.settle = settle  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        run(steps, channel, lambda: False)
    assert steps.story[-1][0] == "end"


def test_a_message_that_cannot_be_prepared_is_tried_again_p12() -> None:
    steps, channel = Steps(1), Mailbox()

    def prepare(row: Claimed, attempt_id: AttemptId, check: Callable[[], None]) -> Delivery:
        raise KeyError("bug")

    steps.prepare = prepare  # type: ignore[method-assign]
    run(steps, channel, lambda: bool(steps.of("settled")))
    assert steps.of("settled")[0][1:] == (AttemptOutcome.NOT_SENT, "internal")
    assert channel.sent == []


def test_a_session_that_missed_its_heartbeat_sends_nothing_more_p4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "FENCE_AFTER", -1.0)
    steps, channel = Steps(3), Mailbox()
    with pytest.raises(TimeoutError):
        run_briefly(steps, channel)
    assert channel.sent == [] and steps.of("claimed") == []


def run_briefly(steps: Steps, channel: Mailbox) -> None:
    """Run for half a second."""

    async def main() -> None:
        engine = Engine(steps, {ChannelName.EMAIL: channel}, lambda: datetime.now(UTC))
        await asyncio.wait_for(engine.run(), 0.5)

    asyncio.run(main())


def test_a_session_declared_dead_goes_on_under_a_new_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "HEARTBEAT", 0.02)
    steps, channel = Steps(0), Mailbox()
    steps.alive = False
    run(steps, channel, lambda: len(steps.of("session")) >= 2)
    assert len(set(steps.of("session"))) >= 2


def test_a_hint_from_another_thread_is_heard_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "POLL", 30.0)
    steps, channel = Steps(0), Mailbox()

    async def main() -> float:
        engine = Engine(steps, {ChannelName.EMAIL: channel}, lambda: datetime.now(UTC))
        running = asyncio.create_task(engine.run())
        await asyncio.sleep(0.2)
        steps.rows = 1
        began = time.monotonic()
        await asyncio.to_thread(engine.wake)
        while not steps.of("settled"):  # noqa: ASYNC110  # the steps run in another thread and know no event
            await asyncio.sleep(0.001)
        took = time.monotonic() - began
        engine.stop()
        await running
        return took

    assert asyncio.run(main()) < 1.0


def test_fencing_leaves_time_before_others_take_over() -> None:
    assert timedelta(seconds=heartbeat.FENCE_AFTER) < heartbeat.DEAD_AFTER
    assert heartbeat.HEARTBEAT * 3 < heartbeat.FENCE_AFTER
