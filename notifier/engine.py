"""The delivery engine: slots that are refilled continuously, on one event loop in one thread of a delivery worker.

The one place where async channels meet the sync store. Store calls run in one store thread; rendering runs on the
loop, one message at a time when its slot is free; a slow receiver holds its own slot and nothing else. Each delivery:
attempt row committed → sent → settled, the first and last in group commits. Decides nothing itself: what an outcome
means is the pipeline's business.

A worker session owns what it claims. When its heartbeat fails it for longer than FENCE_AFTER (monotonic clock) it
sends nothing more from its buffer, since others may have freed those rows (design section 4).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import structlog

from notifier.batching import Batcher
from notifier.core.ids import AttemptId, SessionId, new_id
from notifier.core.model import ChannelName, Claimed, ClaimRequest, NewAttempt, Settlement
from notifier.core.records import Swept, WorkerSession
from notifier.errors import DeliveryError, OutcomeUnknown, PermanentFailure, StoreError, TemporaryFailure
from notifier.ports import Channel, Clock, Delivery, Receipt

log = structlog.get_logger(__name__)

HEARTBEAT = 2.0  #: seconds between heartbeats of a session
DEAD_AFTER = timedelta(seconds=10)  #: a session silent this long is dead for the others
FENCE_AFTER = 8.0  #: seconds without a heartbeat after which a session stops sending; below DEAD_AFTER
POLL = 1.0  #: seconds: without any hint the engine looks for due work this often
SWEEP_EVERY = 5.0  #: seconds
ROUTE_LEFT_EVERY = 5.0  #: seconds
LOOK_UP_EVERY = 5.0  #: seconds
FOLLOW_POLICY_EVERY = 1.0  #: seconds
RETRY_STORE = 1.0  #: seconds to wait when the store is away

Answer = TypeVar("Answer")


class Steps(Protocol):
    """The pipeline's steps that the engine carries out."""

    def start_session(self, session: WorkerSession) -> None: ...
    def beat_session(self, session: SessionId) -> bool: ...
    def end_session(self, session: SessionId) -> int: ...
    def claim(self, request: ClaimRequest) -> list[Claimed]: ...
    def begin(self, attempts: Sequence[NewAttempt]) -> frozenset[AttemptId]: ...
    def prepare(self, claimed: Claimed, attempt_id: AttemptId) -> Delivery: ...
    def outcome(self, claimed: Claimed, attempt_id: AttemptId, result: Receipt | DeliveryError) -> Settlement: ...
    def settle(self, settlements: Sequence[Settlement]) -> None: ...
    def sweep(self) -> Swept: ...
    def route_left(self) -> int: ...
    def refresh(self) -> None: ...
    async def look_up_unknowns(self, channels: Mapping[ChannelName, Channel], store: StoreCall) -> int: ...


class StoreCall(Protocol):
    """Runs a blocking store call in the store thread and awaits it."""

    async def __call__(self, call: Callable[[], Answer]) -> Answer: ...


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """How much one engine takes on."""

    slots: int = 100
    per_lane: int = 50  #: most rows taken from one lane by one claim
    send_budget: float = 30.0  #: seconds one send may take in all
    drain: float = 35.0  #: seconds a warm shutdown waits for sends


class Engine:
    """Runs until `stop()`; `wake()` and `stop()` may be called from any thread."""

    def __init__(
        self, steps: Steps, channels: Mapping[ChannelName, Channel], clock: Clock, limits: EngineLimits | None = None
    ) -> None:
        self._steps = steps
        self._channels = channels
        self._clock = clock
        self._limits = limits or EngineLimits()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._stopping = False
        self._in_flight: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._session = SessionId("")
        self._last_beat = 0.0
        self._store_thread = ThreadPoolExecutor(1, thread_name_prefix="store")

    # -- from other threads -------------------------------------------------------------------------------------

    def wake(self) -> None:
        """There may be due work: look now."""
        loop, event = self._loop, self._wake
        if loop is not None and event is not None and not loop.is_closed():
            loop.call_soon_threadsafe(event.set)

    def stop(self) -> None:
        """Stop claiming; run() ends when what is in flight is sent and settled, or after the drain time."""
        self._stopping = True
        self.wake()

    # -- the loop -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve all lanes until stopped. Raises only what it cannot survive; the bootstep then starts it anew."""
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        self._begin = Batcher[NewAttempt, bool](self._commit_attempts)
        self._settle = Batcher[Settlement, None](self._commit_settlements)
        await self._open_session()
        for channel in self._channels.values():
            await channel.open()
        timers = [asyncio.create_task(self._every(*timer)) for timer in self._timers()]
        try:
            await self._claim_until_stopped()
            await self._drain()
            if self._failure is not None:
                raise self._failure
        finally:
            for timer in timers:
                timer.cancel()
            await asyncio.gather(*timers, return_exceptions=True)
            await self._close()

    def _timers(self) -> list[tuple[float, Callable[[], Coroutine[Any, Any, None]]]]:
        return [
            (HEARTBEAT, self._beat),
            (SWEEP_EVERY, self._sweep),
            (ROUTE_LEFT_EVERY, self._route_left),
            (LOOK_UP_EVERY, self._look_up),
            (FOLLOW_POLICY_EVERY, self._follow),
        ]

    async def _every(self, seconds: float, action: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await action()
            except StoreError as error:
                log.warning("the store did not answer; trying again", action="store_away", error=str(error))
            except Exception:
                log.exception("a timer of the engine failed; it goes on", action="timer_failed")

    async def _store(self, call: Callable[[], Answer]) -> Answer:
        assert self._loop is not None
        return await self._loop.run_in_executor(self._store_thread, call)

    # -- the session --------------------------------------------------------------------------------------------

    async def _open_session(self) -> None:
        now = self._clock()
        session = WorkerSession(SessionId(new_id()), socket.gethostname(), os.getpid(), now, now)
        await self._store(lambda: self._steps.start_session(session))
        self._session, self._last_beat = session.id, time.monotonic()
        log.info("delivery session started", action="session_started", session=session.id)

    async def _beat(self) -> None:
        begun, session = time.monotonic(), self._session
        if await self._store(lambda: self._steps.beat_session(session)):
            self._last_beat = begun
            return
        log.warning("this session was declared dead; starting a new one", action="session_lost", session=session)
        await self._open_session()

    def _fenced(self, session: SessionId) -> bool:
        return session != self._session or time.monotonic() - self._last_beat > FENCE_AFTER

    # -- claiming -----------------------------------------------------------------------------------------------

    async def _claim_until_stopped(self) -> None:
        assert self._wake is not None
        while not self._stopping and self._failure is None:
            self._wake.clear()
            claimed = await self._claim_free()
            if claimed:
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), POLL)

    async def _claim_free(self) -> bool:
        """Fill the free slots. Returns whether looking again at once is worth it."""
        free = self._limits.slots - len(self._in_flight)
        if free <= 0 or self._fenced(self._session):
            return False
        request = ClaimRequest(self._session, free, self._limits.per_lane, tuple(self._channels))
        try:
            rows = await self._store(lambda: self._steps.claim(request))
        except StoreError as error:
            log.warning("cannot claim; trying again", action="store_away", error=str(error))
            await asyncio.sleep(RETRY_STORE)
            return False
        for row in rows:
            task = asyncio.create_task(self._deliver(row))
            self._in_flight.add(task)
            task.add_done_callback(self._slot_free)
        return bool(rows) and len(self._in_flight) < self._limits.slots

    def _slot_free(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Its row belongs to this session: only the session's end frees it, so the engine ends and starts anew.
            log.error("a delivery failed; its session ends", action="delivery_left", error=type(error).__name__)
            self._failure = error
        if self._wake is not None:
            self._wake.set()

    # -- one delivery -------------------------------------------------------------------------------------------

    async def _deliver(self, claimed: Claimed) -> None:
        """Attempt row → send → settle. What cannot be settled stays an open attempt for the sweep (P4)."""
        attempt_id = AttemptId(new_id())
        result: Receipt | DeliveryError
        try:
            delivery = self._steps.prepare(claimed, attempt_id)
        except DeliveryError as error:
            delivery, result = None, error
        except Exception as error:
            log.exception("a message cannot be prepared; it is tried again", action="prepare_bug", row=claimed.id)
            delivery, result = None, TemporaryFailure("internal", type(error).__name__)
        attempt = NewAttempt(attempt_id, claimed.id, claimed.tenant, claimed.session, claimed.tries + 1, self._clock())
        if not await self._begin_for_sure(attempt):
            return
        if self._fenced(claimed.session):
            result = TemporaryFailure("fenced", "the session missed its heartbeat before the send")
        elif delivery is not None:
            result = await self._send(delivery)
        await self._settle_for_sure(self._steps.outcome(claimed, attempt_id, result))

    async def _begin_for_sure(self, attempt: NewAttempt) -> bool:
        """Commit the attempt row; False when the notification is no longer this session's."""
        while True:
            try:
                return await self._begin.add(attempt)
            except StoreError as error:
                log.warning("cannot record an attempt; trying again", action="store_away", error=str(error))
                await asyncio.sleep(RETRY_STORE)

    async def _send(self, delivery: Delivery) -> Receipt | DeliveryError:
        try:
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

    async def _settle_for_sure(self, settlement: Settlement) -> None:
        """Keep trying while the store is away: the answer is known only here."""
        while True:
            try:
                return await self._settle.add(settlement)
            except StoreError as error:
                log.warning("cannot settle; trying again", action="store_away", error=str(error))
                await asyncio.sleep(RETRY_STORE)

    # -- group commits ------------------------------------------------------------------------------------------

    async def _commit_attempts(self, attempts: Sequence[NewAttempt]) -> Sequence[bool]:
        begun = await self._store(lambda: self._steps.begin(attempts))
        return [attempt.id in begun for attempt in attempts]

    async def _commit_settlements(self, settlements: Sequence[Settlement]) -> Sequence[None]:
        await self._store(lambda: self._steps.settle(settlements))
        return [None] * len(settlements)

    # -- upkeep and the end -------------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        swept = await self._store(self._steps.sweep)
        if swept != Swept():
            log.info("swept", action="swept", **{name: getattr(swept, name) for name in Swept.__dataclass_fields__})
            self.wake()

    async def _route_left(self) -> None:
        while not self._stopping and (await self._store(self._steps.route_left)) > 0:
            self.wake()

    async def _look_up(self) -> None:
        if await self._steps.look_up_unknowns(self._channels, self._store):
            self.wake()

    async def _follow(self) -> None:
        await self._store(self._steps.refresh)

    async def _drain(self) -> None:
        if self._in_flight:
            log.info("waiting for sends in flight", action="drain", in_flight=len(self._in_flight))
            await asyncio.wait(self._in_flight, timeout=self._limits.drain)

    async def _close(self) -> None:
        for task in self._in_flight:
            task.cancel()
        for channel in self._channels.values():
            await channel.close()
        session = self._session
        try:
            returned = await self._store(lambda: self._steps.end_session(session))
            log.info("delivery session ended", action="session_ended", session=session, returned=returned)
        except StoreError as error:
            log.warning("the session is left to the sweep", action="session_left", error=str(error))
        self._store_thread.shutdown(wait=True)
