"""START HERE. How an event becomes delivered messages, and a click becomes a decision:

    accept   parse, validate, de-duplicate, number, commit            (or quarantine)       promises P1 P8
    route    rules → recipients → frozen messages, one transaction                          P2 P12
    claim    a worker session takes due rows, fair by tenant                                P3
    prepare  render, fill in live links and the number; the attempt row is committed next   P4 P9 P10
    send     the network: a Channel, no transaction open              (notifier.engine)
    settle   outcomes, statuses and next due times in bulk                                  P4 P12
    act      open a link, record the decision once: a new event       (notifier.acting)     P5 P6 P7
    sweep    free what dead sessions held, route what no hint came for                          P3

The database is the truth and the timer; hints only save waiting. Every step takes `now` from its caller's clock and
values in, values out: what is decided is decided in notifier.core. The steps that talk to people's links live in
notifier.acting, the slots in notifier.engine.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import structlog

from notifier import lookup
from notifier.core import acceptance, order_flow, retrying
from notifier.core.acceptance import Answer
from notifier.core.events import RawItem, RecordAdapter, read
from notifier.core.ids import AttemptId, EventId, NotificationId, SessionId, new_id
from notifier.core.lanes import LaneChange, sign_of
from notifier.core.limits import Demand, Limits
from notifier.core.model import (
    AttemptOutcome,
    ChannelName,
    Claimed,
    ClaimRequest,
    Claims,
    Credential,
    Event,
    NewAttempt,
    NewNotification,
    Settlement,
)
from notifier.core.orders import Order
from notifier.core.policy import TenantPolicy
from notifier.core.records import Swept, UnknownAttempt, WorkerSession
from notifier.errors import DeliveryError, StoreError
from notifier.planning import Planner
from notifier.ports import Channel, Clock, Delivery, Hints, PolicySource, Receipt, Store, StoreCall, may_always_be_sent
from notifier.preparing import Preparation
from notifier.unit import CommitPoint, Writer

log = structlog.get_logger(__name__)

ACCEPT_CHUNK = 100  #: events per transaction
RELEASE_ROUNDS = 5  #: transactions of one sweep that make held rows due again
LEFT_AFTER = timedelta(seconds=5)  #: a hint that takes longer is not coming
ROUTE_CHUNK = 50  #: most events per transaction
ROUTE_SHARED = 8  #: while several tenants wait: none of them waits long for the others' turns
ROUTE_ENOUGH = 120  #: notifications after which a transaction takes on no further event
MOST_DETAIL = 500  #: characters of what a receiver answered
MOST_CODE = 100

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The steps, with what they need handed in once (notifier.bootstrap builds it)."""

    store: Store
    hints: Hints
    policies: PolicySource
    clock: Clock
    adapt_record: RecordAdapter
    planner: Planner
    preparation: Preparation
    chance: Callable[[], float] = random.random

    # -- accept ---------------------------------------------------------------------------------------------------

    def accept(self, items: Sequence[RawItem], credential: Credential) -> list[Answer]:
        """Take events in. What it calls accepted is committed when it returns (P1); one bad event fails alone (P8)."""
        now = self.clock()
        readings = [(index, read(item, credential, now, self.adapt_record), item) for index, item in enumerate(items)]
        answers = [
            answer for chunk in _chunks(readings, ACCEPT_CHUNK) for answer in self._accept(chunk, credential, now)
        ]
        if any(answer.status is acceptance.AnswerStatus.ACCEPTED for answer in answers):
            self.hints.route()
        return answers

    def _accept(self, chunk: Sequence[acceptance.Numbered], credential: Credential, now: datetime) -> Sequence[Answer]:
        return _twice(lambda: self._accept_once(chunk, credential, now))

    def _accept_once(
        self, chunk: Sequence[acceptance.Numbered], credential: Credential, now: datetime
    ) -> Sequence[Answer]:
        tenant = credential.tenant
        with self.store.write(CommitPoint.ACCEPT) as tx:
            subjects = tx.lock_subjects(tenant, acceptance.subjects_of(chunk))
            known = tx.known_events(tenant, acceptance.keys_of(chunk))
            verdict = acceptance.judge(chunk, known, subjects, credential, now, new_id)
            tx.save_subjects(verdict.subjects)
            tx.save_events(verdict.events)
            tx.save_quarantine(verdict.quarantine)
            if concerned := [event for event in verdict.events if order_flow.concerns_order(event)]:
                # A tenant that is not configured yet has the usual margins: its orders must not be lost.
                policy = self.policies.follow(tx).tenants.get(tenant) or TenantPolicy(tenant, tenant)
                _apply_orders(tx, concerned, policy, now)
        return verdict.answers

    # -- route ----------------------------------------------------------------------------------------------------

    def route(self) -> int:
        """Make notifications of unrouted events, a chunk in one transaction, tenants by turns. Returns how many events.

        One event that cannot be planned or stored does not hold up the others: it is set aside with the reason (P12).
        """
        now = self.clock()
        try:
            return _twice(lambda: self._route(ROUTE_CHUNK, now, []))
        except Exception as error:
            if _store_is_away(error):
                raise
        return self._route_one_by_one(now)

    def route_left(self) -> int:
        """Route what has waited too long for a hint: with the broker gone, accepted events still go out (P3)."""
        with self.store.read() as tx:
            since = tx.unrouted_since()
        return self.route() if since is not None and since <= self.clock() - LEFT_AFTER else 0

    def _route(self, limit: int, now: datetime, taken: list[EventId]) -> int:
        """Route a chunk; `taken` is told the ids even when this fails."""
        with self.store.write(CommitPoint.ROUTE) as tx:
            events = tx.take_unrouted(limit, now, shared=min(limit, ROUTE_SHARED))
            taken[:] = [event.id for event in events]
            if not events:
                return 0
            tenants = self.policies.follow(tx).tenants
            ours = [event for event in events if event.tenant in tenants]
            planner = self.planner.reading(tx, ours)
            made: list[NewNotification] = []
            routed: list[EventId] = []
            for event in ours:
                made += planner.plan(tx, event, now)
                routed.append(event.id)
                if len(made) >= ROUTE_ENOUGH:
                    break
            tx.mark_routed(routed, now)
            strangers = [event.id for event in events if event.tenant not in tenants]
            _set_aside(tx, strangers, "its tenant is not configured", now)
            due = tx.save_notifications(made, now)  # last: it locks lanes, and a claim passes by what is locked
        if due:
            self.hints.deliver()
        return len(routed) + len(strangers)

    def _route_one_by_one(self, now: datetime) -> int:
        """After a chunk failed: each event in a transaction of its own, so that the bad one is found."""
        for count in range(ROUTE_CHUNK):
            taken: list[EventId] = []
            try:
                if not _twice(partial(self._route, 1, now, taken)):
                    return count
            except Exception as error:
                if _store_is_away(error):
                    raise
                log.exception("an event cannot be routed", action="routing_failed", event_ids=taken)
                with self.store.write(CommitPoint.SET_ASIDE) as tx:
                    _set_aside(tx, taken, f"routing failed: {type(error).__name__}", now)
        return ROUTE_CHUNK

    # -- claim, prepare, settle (the engine calls these) --------------------------------------------------------------

    def start_session(self, session: WorkerSession) -> None:
        """A delivery worker begins."""
        self.policies.refresh()
        with self.store.write(CommitPoint.SESSION_START) as tx:
            tx.start_session(session)

    def beat_session(self, session: SessionId) -> bool:
        """Keep the session alive; False when it was declared dead meanwhile."""
        with self.store.write(CommitPoint.HEARTBEAT) as tx:
            return tx.beat_session(session, self.clock())

    def end_session(self, session: SessionId) -> int:
        """A delivery worker ends; what it held and did not begin is due again."""
        with self.store.write(CommitPoint.SESSION_END) as tx:
            return tx.end_session(session, self.clock())

    def free_unheld(self, session: SessionId, held: Collection[NotificationId]) -> int:
        """Free what a living session claimed without knowing; returns how many."""
        with self.store.write(CommitPoint.FREE_UNHELD) as tx:
            return tx.free_unheld(session, held, self.clock())

    def claim(self, request: ClaimRequest) -> Claims:
        """Take due rows for a session."""
        with self.store.write(CommitPoint.CLAIM) as tx:
            return tx.claim(request, self.clock())

    def what_is_left(self, request: ClaimRequest) -> Claims:
        """What the next claim would find, without rows."""
        with self.store.read() as tx:
            return tx.what_is_left(request, self.clock())

    def demand(self, limits: Limits, most: int) -> Demand:
        """Return what waits in lanes that have a rate limit, and the sessions that may send it."""
        with self.store.read() as tx:
            waiting = tx.waiting_in(limits, most, self.clock())
            return Demand(waiting, [session.id for session in tx.sessions()] if waiting else ())

    def begin(self, attempts: Sequence[NewAttempt]) -> frozenset[AttemptId]:
        """Commit attempt rows just before the sends (P4); returns those that may be sent."""
        with self.store.write(CommitPoint.ATTEMPT) as tx:
            return tx.save_attempts(attempts)

    def prepare(
        self, claimed: Claimed, attempt_id: AttemptId, check: Callable[[], None] = may_always_be_sent
    ) -> Delivery:
        """Render and fill in what is never stored. Raises DeliveryError when that is not possible."""
        return self.preparation.delivery(claimed, attempt_id, self.policies.current(), self.clock(), check)

    def outcome(self, claimed: Claimed, attempt_id: AttemptId, result: Receipt | DeliveryError) -> Settlement:
        """Return what an attempt came to."""
        now, chance = self.clock(), self.chance()
        if isinstance(result, Receipt):
            follows = retrying.after_success(delivered=result.delivered)
        else:
            tries = claimed.tries + 1 - claimed.waits
            follows = retrying.after_error(result, claimed.channel, tries, claimed.expires_at, now, chance)
        if follows.outcome is not AttemptOutcome.SENT:
            _log_outcome(claimed, attempt_id, follows)
        return _settlement(claimed, attempt_id, result, follows, now, chance)

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Save outcomes in bulk."""
        with self.store.write(CommitPoint.SETTLE) as tx:
            changes = tx.settle(settlements)
        for change in changes:
            _log_lanes(change)

    def refresh(self) -> None:
        """Follow the configuration's version number."""
        self.policies.refresh()

    # -- sweep ------------------------------------------------------------------------------------------------------

    def sessions(self) -> list[WorkerSession]:
        """Those that are not buried, with their newest heartbeat."""
        with self.store.read() as tx:
            return tx.sessions()

    def sweep(self, dead: Sequence[WorkerSession]) -> Swept:
        """Free what dead sessions held, expire what is past its life.

        Who watches the heartbeats names the dead (notifier.heartbeat).
        """
        now = self.clock()
        with self.store.write(CommitPoint.SWEEP) as tx:
            swept = tx.sweep(now, dead)
        return replace(swept, released=self._release_held(now))

    def _release_held(self, now: datetime) -> int:
        """Rows of event types that are on again, some at a time: receivers are not met with everything at once."""
        with self.store.read() as tx:
            if not tx.anything_held():
                return 0
        released = 0
        for _ in range(RELEASE_ROUNDS):
            with self.store.write(CommitPoint.SWEEP) as tx:
                found = tx.release_held(now)
            released += found
            if not found:
                break
        return released

    async def look_up_unknowns(self, channels: Mapping[ChannelName, Channel], store: StoreCall) -> int:
        """Ask the provider about SMS whose answer was lost (P4). Returns how many were resolved."""

        def body_of(unknown: UnknownAttempt) -> str:
            return self.preparation.text(unknown.tenant, unknown.message, self.policies.current())

        return await lookup.look_up_unknowns(channels, store, self.store, body_of, self.clock)


def _apply_orders(tx: Writer, concerned: Sequence[Event], policy: TenantPolicy, now: datetime) -> None:
    """Order events change their order in the accept transaction, so that orders follow their sequence."""
    orders: dict[str, Order] = tx.orders_by_number(policy.id, [order_flow.number_of(event) for event in concerned])
    for event in concerned:
        number = order_flow.number_of(event)
        known = orders.get(number)
        current = tx.lock_order(policy.id, known.id) if known else None
        change = order_flow.apply_event(event, current, policy, now, new_id)
        if change.order is not None:
            tx.save_order(change.order)
            orders[number] = change.order


def _settlement(
    claimed: Claimed,
    attempt_id: AttemptId,
    result: Receipt | DeliveryError,
    follows: retrying.Next,
    now: datetime,
    chance: float,
) -> Settlement:
    receipt = result if isinstance(result, Receipt) else Receipt()
    return Settlement(
        attempt_id=attempt_id,
        notification_id=claimed.id,
        tenant=claimed.tenant,
        session=claimed.session,
        lane_id=claimed.lane_id,
        outcome=follows.outcome,
        status=follows.status,
        finished_at=now,
        due_at=follows.due_at,
        reason=follows.reason,
        detail=_kept(follows.detail or receipt.detail, MOST_DETAIL),
        provider_code=_kept(follows.code, MOST_CODE),
        provider_id=_kept(receipt.provider_id, MOST_DETAIL),
        rest_lane_until=follows.rest_lane_until,
        disable_target=follows.disable_target,
        waited=follows.waited,
        lane_sign=sign_of(result if isinstance(result, DeliveryError) else None, claimed.channel),
        lane_reason=result.reason if isinstance(result, DeliveryError) else None,
        chance=chance,
    )


def _kept(text: str | None, most: int) -> str | None:
    """A receiver's words, as any database takes them: one bad answer must not stop a bulk of outcomes."""
    return acceptance.storable(text)[:most] if text else None


def _twice(call: Callable[[], Result]) -> Result:
    """Do it once more when somebody else committed the same key, or a deadlock was broken."""
    try:
        return call()
    except StoreError as error:
        if not error.conflict:
            raise
    return call()


def _store_is_away(error: Exception) -> bool:
    return isinstance(error, StoreError) and not error.refused


def _set_aside(tx: Writer, event_ids: Sequence[EventId], problem: str, now: datetime) -> None:
    if event_ids:
        tx.set_aside(event_ids, problem, now)
        log.error("events were set aside", action="set_aside", event_ids=list(event_ids), problem=problem)


def _log_outcome(claimed: Claimed, attempt_id: AttemptId, follows: retrying.Next) -> None:
    """A line for each attempt that did not do its job; of the others the database keeps as much, without the line."""
    log.info(
        "attempt settled",
        action="attempt",
        tenant=claimed.tenant,
        event_id=claimed.event_id,
        notification=claimed.id,
        attempt=attempt_id,
        channel=claimed.channel.value,
        outcome=follows.outcome.value,
        status=follows.status.value,
        reason=follows.reason,
    )


def _log_lanes(change: LaneChange) -> None:
    state = change.state
    facts = {name: getattr(change, name) for name in ("tenant", "channel", "target", "priorities")}
    if state.rest_until is not None:
        why = {"reason": state.rest_reason, "breaker_open": state.open, "failures": state.failures}
        log.warning("lanes rest", action="lane_rests", **facts, until=state.rest_until.isoformat(), **why)
    else:
        log.info("lanes are back from their rest", action="lane_back", **facts)


def _chunks(items: Sequence[acceptance.Numbered], size: int) -> Iterator[Sequence[acceptance.Numbered]]:
    return (items[start : start + size] for start in range(0, len(items), size))
