"""A thread of its own for blocking store calls: where the async engine meets the synchronous store.

One thread holds at most one connection, and its calls run in the order they came. The engine has several, so that a
claim never waits for a sweep and a heartbeat never for either.

It is a daemon, unlike the threads of an executor: a database that hangs must not keep a process from its end. What is
cut off so is a transaction without its COMMIT, as with a kill.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

import structlog

log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")
PATIENCE = 3.0  #: seconds the end waits for a call under way; the engine closes its threads one after another


class StoreThread:
    """A `notifier.ports.StoreCall` over one thread, which starts with its first call. Belongs to one event loop."""

    def __init__(self, name: str, patience: float = PATIENCE) -> None:
        self._name = name
        self._patience = patience
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._closed = False

    async def __call__(self, call: Callable[[], Answer]) -> Answer:
        """Run the call after those before it."""
        if self._closed:
            raise RuntimeError(f"the {self._name} thread is closed")
        if self._thread is None:
            self._thread = Thread(target=_work, args=(self._calls,), name=self._name, daemon=True)
            self._thread.start()
        future: Future[Answer] = Future()
        self._calls.put((future, call))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Wait for the call that is running, though not for ever; what waits behind it is dropped."""
        self._closed = True
        while waiting := self._next():
            waiting.cancel()
        self._calls.put(None)
        if self._thread is not None:
            self._thread.join(self._patience)
            if self._thread.is_alive():
                log.error("a call to the store does not end; it is left", action="store_call_left", thread=self._name)

    def _next(self) -> Future[Any] | None:
        try:
            item = self._calls.get_nowait()
        except Empty:
            return None
        return item[0] if item else None


def _work(calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]) -> None:
    while item := calls.get():
        future, call = item
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)
        del item, future, call  # nothing of a call outlives it while the next one is awaited
