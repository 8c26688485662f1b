"""The delivery engine: slots that are refilled continuously, on one event loop in one thread of a delivery worker.

The one place where async channels meet the sync store, through four store threads with a connection each: for claims,
for attempts and outcomes, for the heartbeat, and for upkeep (sweep, routing what no hint came for, look-ups,
configuration), so that none of them waits for another longer than the database makes it. Rendering runs on the loop,
one message at a time when its slot is free; a slow receiver holds its own slot and nothing else. Each delivery:
attempt row committed → sent → settled, the first and last in group commits. Decides nothing itself: what an outcome
means is the pipeline's business.

A worker session owns what it claims (notifier.heartbeat). A fenced one sends nothing more from its buffer: what has no
attempt row yet goes back as it was, what has one is settled as not sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar

import structlog

from notifier.allowances import AllowanceKeeper
from notifier.batching import Batcher
from notifier.core.ids import AttemptId, NotificationId, SessionId, new_id
from notifier.core.lanes import UnderWay, doubtful_slots, most_of_one_tenant, silent_in
from notifier.core.model import ChannelName, Claimed, ClaimRequest, Claims, NewAttempt, Settlement
from notifier.core.records import Swept, WorkerSession
from notifier.errors import DeliveryError, OutcomeUnknown, PermanentFailure, StoreError, TemporaryFailure
from notifier.heartbeat import HEARTBEAT, Heartbeat, Monotonic, Session, SessionSteps, Watch, awake_or_not
from notifier.ports import Channel, Clock, Delivery, Receipt, StoreCall
from notifier.store_thread import StoreThread

log = structlog.get_logger(__name__)

LOOK_AGAIN = 0.005  #: seconds after a claim in vain, while others hold the lanes; doubled with each in a row
LOOK_AGAIN_MOST = 0.08  #: seconds: who holds them may have been stopped
GROUP = 0.02  #: seconds: under load, claims and group commits begin at least this far apart
ENOUGH = 4  #: unless one slot in so many is free, or has something to save
POLL = 1.0  #: seconds: without any hint the engine looks for due work this often
SWEEP_EVERY = 2.5  #: seconds; with DEAD_AFTER the longest a killed worker's rows wait is DEAD_AFTER + twice this
ROUTE_LEFT_EVERY = 5.0  #: seconds
LOOK_UP_EVERY = 5.0  #: seconds
FOLLOW_POLICY_EVERY = 1.0  #: seconds
RETRY_STORE = 1.0  #: seconds to wait when the store is away
LET_GO = 2.0  #: seconds that sends get to end when they were cancelled

Answer = TypeVar("Answer")


class Steps(SessionSteps, Protocol):
    """The pipeline's steps that the engine carries out."""

    def end_session(self, session: SessionId) -> int: ...
    def free_unheld(self, session: SessionId, held: frozenset[NotificationId]) -> int: ...
    def claim(self, request: ClaimRequest) -> Claims: ...
    def what_is_left(self, request: ClaimRequest) -> Claims: ...
    def begin(self, attempts: Sequence[NewAttempt]) -> frozenset[AttemptId]: ...
    def prepare(self, claimed: Claimed, attempt_id: AttemptId, check: Callable[[], None]) -> Delivery: ...
    def outcome(self, claimed: Claimed, attempt_id: AttemptId, result: Receipt | DeliveryError) -> Settlement: ...
    def settle(self, settlements: Sequence[Settlement]) -> None: ...
    def sessions(self) -> list[WorkerSession]: ...
    def sweep(self, dead: Sequence[WorkerSession]) -> Swept: ...
    def route_left(self) -> int: ...
    def refresh(self) -> None: ...
    async def look_up_unknowns(self, channels: Mapping[ChannelName, Channel], store: StoreCall) -> int: ...


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """How much one engine takes on."""

    slots: int = 100
    per_lane: int = 100  #: most rows taken from one lane by one claim
    send_budget: float = 30.0  #: seconds one send may take in all
    drain: float = 35.0  #: seconds a warm shutdown waits for sends


class Engine:
    """Runs until `stop()`; `wake()` and `stop()` may be called from any thread."""

    def __init__(
        self,
        steps: Steps,
        channels: Mapping[ChannelName, Channel],
        clock: Clock,
        limits: EngineLimits | None = None,
        monotonic: Monotonic = awake_or_not,
        allowances: AllowanceKeeper | None = None,
    ) -> None:
        self._steps = steps
        self._channels = channels
        self._clock = clock
        self._limits = limits or EngineLimits()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._stopping = False
        self._in_flight: dict[asyncio.Task[None], tuple[Claimed, float]] = {}  #: and when it was claimed
        self._enough = max(1, self._limits.slots // ENOUGH)
        self._claimed_at = float("-inf")  #: monotonic: when the last claim began
        self._freed = 0  #: slots since then
        self._plenty = asyncio.Event()  #: enough of them
        self._vain = 0  #: claims in a row that brought nothing although lanes were ready
        self._last = Claims()  #: what the last claim said
        self._failure: BaseException | None = None
        self._unheld = False  #: the session may own rows that no slot holds
        self._claims, self._outcomes = StoreThread("claims"), StoreThread("outcomes")
        self._beats, self._upkeep = StoreThread("heartbeat"), StoreThread("upkeep")
        self._heartbeat = Heartbeat(steps, self._beats, clock, monotonic)
        self._watch = Watch()
        self._allowances = allowances  #: None = no rate limits

    # -- from other threads -------------------------------------------------------------------------------------

    def wake(self) -> None:
        """There may be due work: look now."""
        loop, event = self._loop, self._wake
        if loop is not None and event is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just ended
                loop.call_soon_threadsafe(event.set)

    def stop(self) -> None:
        """Stop claiming; run() ends when what is in flight is sent and settled, or after the drain time."""
        self._stopping = True
        self.wake()

    # -- the loop -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve all lanes until stopped. Raises only what it cannot survive; the bootstep then starts it anew."""
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        grouping: dict[str, Any] = {"enough": self._enough, "one_is_bad": _is_refused}
        self._begin = Batcher[NewAttempt, bool](self._commit_attempts, apart=self._apart, **grouping)
        self._settle = Batcher[Settlement, None](self._commit_settlements, apart=lambda: GROUP, **grouping)
        timers: list[asyncio.Task[None]] = []
        try:
            for channel in self._channels.values():
                await channel.open()
            await self._heartbeat.open()  # last: what fails before leaves no session behind
            timers = [asyncio.create_task(self._every(*timer)) for timer in self._timers()]
            await self._claim_until_stopped()
            await self._drain()
        finally:
            await self._close(timers)
        if self._failure is not None:
            raise self._failure

    def _timers(self) -> list[tuple[float, Callable[[], Coroutine[Any, Any, None]]]]:
        return [
            (HEARTBEAT, self._heartbeat.beat),
            (SWEEP_EVERY, self._sweep),
            (ROUTE_LEFT_EVERY, self._route_left),
            (LOOK_UP_EVERY, self._look_up),
            (FOLLOW_POLICY_EVERY, self._follow),
        ]

    async def _every(self, seconds: float, action: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Counted from beginning to beginning: a heartbeat that took its time is followed by the next at once."""
        took = 0.0
        while True:
            await asyncio.sleep(max(0.0, seconds - took))
            begun = time.monotonic()
            try:
                await action()
                took = time.monotonic() - begun
            except StoreError as error:
                log.warning("the store did not answer; trying again", action="store_away", error=str(error))
                took = min(time.monotonic() - begun, seconds - min(seconds, RETRY_STORE))
            except Exception:
                log.exception("a timer of the engine failed; it goes on", action="timer_failed")
                took = 0.0

    # -- claiming -----------------------------------------------------------------------------------------------

    async def _claim_until_stopped(self) -> None:
        assert self._wake is not None
        while not self._stopping and self._failure is None:
            await self._let_slots_free()
            self._wake.clear()
            try:
                if await self._claim_free():
                    continue
                patience = self._patience()
            except StoreError as error:
                log.warning("cannot claim; trying again", action="store_away", error=str(error))
                self._unheld, patience = True, RETRY_STORE  # the claim may have been committed all the same
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), patience)

    async def _let_slots_free(self) -> None:
        """A claim costs the same for one slot as for fifty: under load it waits, a little, until there are more."""
        seconds = self._claimed_at + self._apart() - time.monotonic()
        if seconds > 0 and self._freed < self._enough:
            self._plenty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._plenty.wait(), seconds)
        self._claimed_at, self._freed = time.monotonic(), 0

    async def _claim_free(self) -> bool:
        """Fill the free slots. Returns whether looking again at once is worth it."""
        session, self._last = self._heartbeat.session, Claims(left=True)
        assert session is not None
        free = self._limits.slots - len(self._in_flight)
        if free <= 0 or session.fenced():
            return False
        if self._unheld:
            await self._free_unheld(session)
        request = ClaimRequest(
            session.id,
            free,
            self._limits.per_lane,
            tuple(self._channels),
            doubtful=doubtful_slots(self._limits.slots, self._under_way()),
            per_tenant=most_of_one_tenant(self._limits.slots),
            held=Counter(row.tenant for row, _ in self._in_flight.values()),
            allowances=await self._allowances.before_claim(free, session.id, self._claims)
            if self._allowances
            else None,
        )
        claims = await self._claims(partial(self._steps.claim, request))
        if self._allowances is not None:
            self._allowances.spend(claims)
        for row in claims:
            task = asyncio.create_task(self._deliver(row, session))
            self._in_flight[task] = row, time.monotonic()
            task.add_done_callback(self._slot_free)
        assert self._wake is not None
        if 0 < len(claims) < min(free, self._enough) and not self._wake.is_set():
            self._last, self._vain = await self._claims(partial(self._steps.what_is_left, request)), 0
            return self._last.more
        self._last, self._vain = claims, self._vain + 1 if claims.more else 0
        return False

    def _under_way(self) -> list[UnderWay]:
        now = time.monotonic()
        return [UnderWay(row.trust, now - since) for row, since in self._in_flight.values()]

    async def _free_unheld(self, session: Session) -> None:
        self._unheld = False
        held = frozenset(row.id for row, _ in self._in_flight.values())
        try:
            freed = await self._claims(partial(self._steps.free_unheld, session.id, held))
        except StoreError:
            self._unheld = True
            raise
        if freed:
            log.warning("rows claimed without knowing are due again", action="unheld_freed", rows=freed)

    def _patience(self) -> float:
        """How long to wait for a hint or a free slot: until the next row is due, at most POLL."""
        if len(self._in_flight) >= self._limits.slots:
            return POLL
        if self._last.more:
            return float(min(LOOK_AGAIN * 2 ** (self._vain - 1), LOOK_AGAIN_MOST))
        waits = (POLL, self._last.next_in, silent_in(self._under_way()))
        patience = min(wait for wait in waits if wait is not None)
        return patience if self._allowances is None else self._allowances.patience(patience)

    def _slot_free(self, task: asyncio.Task[None]) -> None:
        del self._in_flight[task]
        self._freed += 1
        if self._freed >= self._enough:
            self._plenty.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            # Its row belongs to this session: only the session's end frees it, so the engine ends and starts anew.
            log.error("a delivery failed; its session ends", action="delivery_left", error=type(error).__name__)
            self._failure = error
        if self._last.left or self._unheld or self._failure is not None:
            self._look()  # otherwise nothing waited for a slot: who has new work says so

    def _look(self) -> None:
        assert self._wake is not None
        self._wake.set()

    # -- one delivery -------------------------------------------------------------------------------------------

    async def _deliver(self, claimed: Claimed, session: Session) -> None:
        """Attempt row → send → settle. What cannot be settled stays an open attempt for the sweep (P4)."""
        attempt_id = AttemptId(new_id())
        result: Receipt | DeliveryError
        try:
            delivery = self._steps.prepare(claimed, attempt_id, session.check)
        except DeliveryError as error:
            delivery, result = None, error
        except Exception as error:
            log.exception("a message cannot be prepared; it is tried again", action="prepare_bug", row=claimed.id)
            delivery, result = None, TemporaryFailure("internal", type(error).__name__)
        if session.fenced():
            self._unheld = True  # nothing was begun: it is freed as it was, by us or by those who bury us
            return
        attempt = NewAttempt(attempt_id, claimed.id, claimed.tenant, claimed.session, claimed.tries + 1, self._clock())
        if not await self._begin.add(attempt):
            return
        if delivery is not None:
            result = await self._send(delivery)
        settlement = self._steps.outcome(claimed, attempt_id, result)
        await self._settle.add(settlement)
        if settlement.due_at is not None:
            self._look()  # perhaps sooner than anything the last claim knew of

    async def _send(self, delivery: Delivery) -> Receipt | DeliveryError:
        try:
            delivery.check()
            async with asyncio.timeout(self._limits.send_budget):
                return await self._channels[delivery.channel].send(delivery)
        except DeliveryError as error:
            return error
        except TimeoutError:
            return OutcomeUnknown("timeout", f"no answer within {self._limits.send_budget:g} s")
        except KeyError:
            return PermanentFailure("no_channel", f"this worker has no channel named {delivery.channel}")
        except Exception as error:
            log.exception("a channel failed in a way it does not know", action="channel_bug", channel=delivery.channel)
            return OutcomeUnknown("internal", type(error).__name__)

    # -- group commits ------------------------------------------------------------------------------------------

    def _apart(self) -> float:
        """Seconds between claims, and between commits of what is to be sent: company is waited for only under load."""
        return GROUP if len(self._in_flight) >= self._enough else 0.0

    async def _commit_attempts(self, attempts: Sequence[NewAttempt]) -> Sequence[bool]:
        """Whether each may be sent: its row is there, and its notification is still this session's."""
        try:
            begun = await self._for_sure(partial(self._steps.begin, attempts))
        except StoreError:
            if len(attempts) > 1:
                raise
            text = "the database refuses an attempt; its message is left to the session's end"
            log.exception(text, action="attempt_refused", row=attempts[0].notification_id, attempt=attempts[0].id)
            return [False]
        return [attempt.id in begun for attempt in attempts]

    async def _commit_settlements(self, settlements: Sequence[Settlement]) -> Sequence[None]:
        try:
            await self._for_sure(partial(self._steps.settle, settlements))
        except StoreError as error:
            if len(settlements) > 1:
                raise
            await self._settle_bare(settlements[0], error)
        return [None] * len(settlements)

    async def _settle_bare(self, settlement: Settlement, error: StoreError) -> None:
        """Without the receiver's words, which are the likeliest to be refused: that it was sent must not get lost."""
        row, attempt = settlement.notification_id, settlement.attempt_id
        log.error("an outcome is refused", action="outcome_refused", row=row, attempt=attempt, error=str(error))
        bare = replace(settlement, detail=None, provider_code=None, provider_id=None, disable_target=False)
        try:
            await self._for_sure(partial(self._steps.settle, [bare]))
        except StoreError:
            log.exception("an outcome is left to the session's end", action="outcome_left", row=row, attempt=attempt)

    async def _for_sure(self, call: Callable[[], Answer]) -> Answer:
        """Keep trying while the store is away: the answer is known only here. Raises what the database refuses."""
        again = False
        while True:
            try:
                return await self._outcomes(call)
            except StoreError as error:
                if error.refused and (again or not error.conflict):
                    raise
                again = error.refused  # a broken constraint may be somebody else's commit: once more tells
                log.warning("cannot save; trying again", action="store_away", error=str(error))
            await asyncio.sleep(0 if again else RETRY_STORE)

    # -- upkeep and the end -------------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        asked, session = time.monotonic(), self._heartbeat.session
        if session is None or session.fenced():
            self._watch = Watch()  # where we could not beat the others could not either: all get their time anew
        sessions = await self._upkeep(self._steps.sessions)
        dead = self._watch.silent(sessions, asked, time.monotonic())
        swept = await self._upkeep(partial(self._steps.sweep, dead))
        if swept != Swept():
            log.info("swept", action="swept", **{name: getattr(swept, name) for name in Swept.__dataclass_fields__})
            self.wake()

    async def _route_left(self) -> None:
        while not self._stopping and (await self._upkeep(self._steps.route_left)) > 0:
            self.wake()

    async def _look_up(self) -> None:
        if await self._steps.look_up_unknowns(self._channels, self._upkeep):
            self.wake()

    async def _follow(self) -> None:
        await self._upkeep(self._steps.refresh)

    async def _drain(self) -> None:
        if self._in_flight:
            log.info("waiting for sends in flight", action="drain", in_flight=len(self._in_flight))
            await asyncio.wait(self._in_flight, timeout=self._limits.drain)

    async def _close(self, timers: Sequence[asyncio.Task[None]]) -> None:
        """What could not be drained is cancelled; then the session ends, after the last outcome that can be saved."""
        if left := list(self._in_flight):
            log.warning("sends are cut off", action="drain_over", in_flight=len(left))
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=LET_GO)
        self._begin.cancel()
        self._settle.cancel()
        await self._end_session()
        for timer in timers:
            timer.cancel()
        await asyncio.gather(*timers, return_exceptions=True)
        for channel in self._channels.values():
            try:
                await channel.close()
            except Exception:
                log.exception("a channel did not close", action="close_failed", channel=channel.name)
        if self._allowances is not None:
            await self._allowances.close()
        for thread in (self._claims, self._outcomes, self._beats, self._upkeep):
            thread.close()

    async def _end_session(self) -> None:
        """Behind the last claim and the last outcomes: what they leave is freed or called unknown."""
        session = self._heartbeat.session
        if session is None:
            return
        self._heartbeat.ending = True
        try:
            await self._claims(_nothing)  # one that was cut off may still be under way
            returned = await self._outcomes(partial(self._steps.end_session, session.id))
            log.info("delivery session ended", action="session_ended", session=session.id, returned=returned)
        except Exception as error:
            log.warning("the session is left to the sweep", action="session_left", error=str(error))


def _nothing() -> None:
    """Takes its place behind other calls."""


def _is_refused(error: Exception) -> bool:
    return isinstance(error, StoreError) and error.refused
