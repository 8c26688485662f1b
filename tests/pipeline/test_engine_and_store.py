"""The engine over the real pipeline and both databases: drain, slow receivers, a crash, and a second engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from notifier import engine as engine_module
from notifier import heartbeat
from notifier.core.ids import SessionId, new_id
from notifier.core.model import ChannelName, ClaimRequest
from notifier.core.records import WorkerSession
from notifier.engine import Engine, EngineLimits
from notifier.pipeline import Pipeline
from notifier.ports import Delivery, Receipt
from notifier.store import SqlStore
from notifier.testing import ACME, FakeChannel, alert, credential, furnish, pipeline
from tests.peers.process import wait_until

pytestmark = pytest.mark.usefixtures("proven_lanes")

EMAIL, CALLBACK = ChannelName.EMAIL, ChannelName.CALLBACK


def now() -> datetime:
    """Engines live in real time."""
    return datetime.now(UTC)


@pytest.fixture
def pipe(store: SqlStore) -> Pipeline:
    """A configured system."""
    furnish(store, now=now())
    return pipeline(store, now)


def fill(pipe: Pipeline, count: int) -> None:
    """Route that many alerts: a mail and a callback each."""
    pipe.accept([alert(number, time=now()) for number in range(count)], credential())
    while pipe.route():
        pass


def statuses(store: SqlStore, **filters: str) -> list[str]:
    """Where the notifications stand."""
    with store.read() as tx:
        return [row["status"] for row in tx.list_rows("notifications", ACME, start=0, limit=1000, filters=filters)[0]]


def run(pipe: Pipeline, channels: list[FakeChannel], until: Callable[[], bool], **limits: float) -> float:
    """Run an engine until the condition holds, then stop it as SIGTERM does; returns how long the stop took."""

    async def main() -> float:
        named = {channel.name: channel for channel in channels}
        engine = Engine(pipe, named, now, EngineLimits(**limits))  # type: ignore[arg-type]  # slots are whole numbers
        running = asyncio.create_task(engine.run())
        await asyncio.to_thread(wait_until, lambda: until() or running.done(), "the engine's work")
        began = time.monotonic()
        engine.stop()
        await running
        return time.monotonic() - began

    return asyncio.run(main())


def test_everything_due_is_sent_once_and_settled(pipe: Pipeline, store: SqlStore) -> None:
    fill(pipe, 60)
    mail, calls = FakeChannel(), FakeChannel(CALLBACK, lambda _: Receipt(delivered=True))
    run(pipe, [mail, calls], lambda: "due" not in statuses(store) and "claimed" not in statuses(store), slots=20)
    assert sorted(statuses(store)) == ["delivered"] * 60 + ["sent"] * 60
    for channel in (mail, calls):
        assert len({item.notification_id for item in channel.sent}) == len(channel.sent) == 60


def test_with_the_broker_gone_accepted_events_still_go_out_p3(
    store: SqlStore, pipe: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No hint comes, nobody routes: the engine finds the events that have waited."""
    monkeypatch.setattr(engine_module, "ROUTE_LEFT_EVERY", 0.1)
    earlier = now() - timedelta(seconds=6)
    pipeline(store, lambda: earlier).accept([alert(n, time=earlier) for n in range(60)], credential())
    mail, calls = FakeChannel(), FakeChannel(CALLBACK)
    run(pipe, [mail, calls], lambda: statuses(store, channel="email").count("sent") == 60, slots=20)


def test_an_event_just_accepted_is_left_to_the_hint(store: SqlStore, pipe: Pipeline) -> None:
    pipe.accept([alert(1, time=now())], credential())
    assert pipe.route_left() == 0
    with store.read() as tx:
        assert tx.count_unrouted() == 1


def test_a_slow_receiver_holds_its_own_slot_only(pipe: Pipeline, store: SqlStore) -> None:
    fill(pipe, 30)
    slow: list[str] = []

    def seconds(delivery: Delivery) -> float:
        if not slow:
            slow.append(delivery.notification_id)
        return 60.0 if delivery.notification_id in slow else 0.0

    mail = FakeChannel(seconds=seconds)
    run(pipe, [mail], lambda: statuses(store, channel="email").count("sent") == 29, slots=12, drain=0.1)
    assert sorted(statuses(store, channel="email")) == ["due"] + ["sent"] * 29


def test_a_stop_sends_and_settles_what_is_in_flight_and_leaves_the_rest_due_p4(pipe: Pipeline, store: SqlStore) -> None:
    fill(pipe, 30)
    mail = FakeChannel(seconds=lambda _: 0.4)
    took = run(pipe, [mail], lambda: mail.busy == 4, slots=5)  # one is for other tenants
    assert took < 5
    found = statuses(store, channel="email")
    assert found.count("sent") == len(mail.sent) and found.count("due") == 30 - len(mail.sent)
    with store.read() as tx:
        assert tx.sessions() == []


def test_what_does_not_finish_within_the_drain_is_an_unknown_outcome_and_due_again_p4(
    pipe: Pipeline, store: SqlStore
) -> None:
    fill(pipe, 3)
    mail = FakeChannel(seconds=lambda _: 60.0)
    assert run(pipe, [mail], lambda: mail.busy == 3, drain=0.1) < 5
    assert statuses(store, channel="email") == ["due"] * 3
    with store.read() as tx:
        tried, _ = tx.list_rows("attempts", ACME, start=0, limit=10, filters={})
    assert [(row["outcome"], row["reason"]) for row in tried] == [("unknown", "worker_lost")] * 3


def test_an_engine_takes_over_from_one_that_was_killed_p1_p3(
    pipe: Pipeline, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No hint, no broker: the sweep's own timer finds it."""
    monkeypatch.setattr(engine_module, "SWEEP_EVERY", 0.05)
    monkeypatch.setattr(heartbeat, "DEAD_AFTER", timedelta(seconds=0.3))
    monkeypatch.setattr(engine_module, "HEARTBEAT", 0.05)
    fill(pipe, 5)
    killed = SessionId(new_id())
    pipe.start_session(WorkerSession(killed, "elsewhere", 1, now(), now() + timedelta(days=1)))  # its clock is wrong
    assert len(pipe.claim(ClaimRequest(killed, 10, 10, (EMAIL,)))) == 5
    mail = FakeChannel()
    run(pipe, [mail], lambda: statuses(store, channel="email").count("sent") == 5)
    assert len(mail.sent) == 5


def test_two_engines_never_send_the_same_p2(pipe: Pipeline, store: SqlStore) -> None:
    fill(pipe, 40)
    both = [FakeChannel(seconds=lambda _: 0.01), FakeChannel(seconds=lambda _: 0.01)]

    async def main() -> None:
        engines = [Engine(pipe, {EMAIL: channel}, now, EngineLimits(slots=5)) for channel in both]
        running = [asyncio.create_task(engine.run()) for engine in engines]
        await asyncio.to_thread(
            wait_until, lambda: statuses(store, channel="email").count("sent") == 40, "forty mails sent"
        )
        for engine in engines:
            engine.stop()
        await asyncio.gather(*running)

    asyncio.run(main())
    sent = [item.notification_id for channel in both for item in channel.sent]
    assert len(sent) == len(set(sent)) == 40
