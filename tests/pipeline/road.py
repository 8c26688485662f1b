"""The steps one after another, without an engine: what a worker does, in a form a test can stop anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from notifier.core.acceptance import Answer
from notifier.core.events import RawItem
from notifier.core.ids import AttemptId, EventId, SessionId, TenantId, new_id
from notifier.core.model import ChannelName, Claimed, ClaimRequest, NewAttempt, Settlement
from notifier.core.records import Swept, WorkerSession
from notifier.errors import DeliveryError
from notifier.heartbeat import DEAD_AFTER
from notifier.pipeline import Pipeline
from notifier.ports import Receipt, Store
from notifier.testing import ACME, FakeChannel, FakeClock, FakeHints, FakeSms, credential, furnish, pipeline

Result = TypeVar("Result")


class AtOnce:
    """A StoreCall without a thread."""

    async def __call__(self, call: Callable[[], Result]) -> Result:
        """Do it."""
        return call()


def sweep(pipe: Pipeline) -> Swept:
    """Sweep; by the pipeline's clock those are dead that have not beaten for long."""
    return pipe.sweep([one for one in pipe.sessions() if one.heartbeat_at < pipe.clock() - DEAD_AFTER])


def three_channels() -> dict[ChannelName, FakeChannel]:
    """One fake per channel; all take everything."""
    sms = FakeSms()
    return {channel.name: channel for channel in (FakeChannel(), sms, FakeChannel(ChannelName.CALLBACK))}


@dataclass
class Road:
    """A system of its own over a store, and what happened on its way."""

    store: Store
    clock: FakeClock = field(default_factory=FakeClock)
    hints: FakeHints = field(default_factory=FakeHints)
    channels: dict[ChannelName, FakeChannel] = field(default_factory=three_channels)
    session: SessionId = field(default_factory=lambda: SessionId(new_id()))
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Configure both tenants and start a session."""
        furnish(self.store, now=self.clock())
        self.pipe: Pipeline = pipeline(self.store, self.clock, self.hints, **self.options)
        self.pipe.start_session(WorkerSession(self.session, "host", 1, self.clock(), self.clock()))

    def accept(self, *items: RawItem, tenant: TenantId = ACME) -> list[Answer]:
        """Take events in as the tenant."""
        return self.pipe.accept(items, credential(tenant))

    def route(self) -> int:
        """Route until nothing is left; returns how many events."""
        total = 0
        while found := self.pipe.route():
            total += found
        return total

    def claim(self, *channels: ChannelName, slots: int = 100) -> list[Claimed]:
        """Take due rows."""
        names = channels or tuple(ChannelName)
        return list(self.pipe.claim(ClaimRequest(self.session, slots, slots, names)))

    def begin(self, row: Claimed) -> AttemptId | None:
        """Commit the attempt row; None when the row is no longer ours."""
        attempt = AttemptId(new_id())
        made = NewAttempt(attempt, row.id, row.tenant, row.session, row.tries + 1, self.clock())
        return attempt if attempt in self.pipe.begin([made]) else None

    def send(self, row: Claimed, attempt: AttemptId) -> Settlement:
        """Prepare and send; returns the outcome, not yet settled."""
        return self.pipe.outcome(row, attempt, self._result(row, attempt))

    def _result(self, row: Claimed, attempt: AttemptId) -> Receipt | DeliveryError:
        try:
            return asyncio.run(self.channels[row.channel].send(self.pipe.prepare(row, attempt)))
        except DeliveryError as error:
            return error

    def deliver(self, *channels: ChannelName) -> int:
        """Claim, send and settle until nothing is due; returns how many. A new lane gives some at a time."""
        total = 0
        while rows := self.claim(*channels):
            settlements = []
            for row in rows:
                attempt = self.begin(row)
                assert attempt is not None
                settlements.append(self.send(row, attempt))
            self.pipe.settle(settlements)
            total += len(rows)
        return total

    def look_up(self) -> int:
        """Ask about SMS whose answer was lost."""
        return asyncio.run(self.pipe.look_up_unknowns(self.channels, AtOnce()))

    # -- what became of it --------------------------------------------------------------------------------------

    def story(self, event_id: EventId | None, tenant: TenantId = ACME) -> dict[str, Mapping[str, Any]]:
        """Notifications of an event by channel and role."""
        assert event_id is not None
        with self.store.read() as tx:
            return {f"{row['channel']} {row['role']}": row for row in tx.timeline(tenant, event_id)}

    def states(self, event_id: EventId | None, tenant: TenantId = ACME) -> dict[str, str]:
        """Their statuses."""
        return {who: row["status"] for who, row in self.story(event_id, tenant).items()}

    def rows(self, table: str, tenant: TenantId = ACME, **filters: Any) -> Sequence[Mapping[str, Any]]:
        """Listed rows, oldest first."""
        with self.store.read() as tx:
            return list(reversed(tx.list_rows(table, tenant, start=0, limit=1000, filters=filters)[0]))

    def later(self, **duration: float) -> datetime:
        """Time passes, and the worker's heart goes on."""
        now = self.clock.advance(**duration)
        self.pipe.beat_session(self.session)
        return now
