"""Group commits: many slots hand in small writes, one transaction carries them.

`Batcher.add` returns when the item's transaction is committed. While one flush runs the next batch collects, and
flushes follow one another at a distance unless enough has come together: under load a batch carries many, and an idle
system waits for nothing. Knows no store.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Waiting = tuple[Item, "asyncio.Future[Result]"]


class Batcher(Generic[Item, Result]):
    """Collects items on one event loop and flushes them through `commit`, at most `largest` at a time.

    Two flushes begin at least `apart()` seconds from each other, unless `enough` items wait before that.

    `commit` gets the items and returns one result for each, in order. When it raises, every waiter of that batch
    gets the error; unless `one_is_bad` says of the error that a single item is to blame: then the halves are tried
    alone, so that only the bad one's waiter gets it.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        largest: int = 200,
        *,
        apart: Callable[[], float] = lambda: 0.0,
        enough: int = 1,
        one_is_bad: Callable[[Exception], bool] = lambda _: False,
    ) -> None:
        self._commit = commit
        self._largest = largest
        self._apart = apart
        self._enough = enough
        self._one_is_bad = one_is_bad
        self._begun = float("-inf")  #: monotonic: the last flush
        self._full = asyncio.Event()
        self._waiting: list[Waiting[Item, Result]] = []
        self._flusher: asyncio.Task[None] | None = None

    async def add(self, item: Item) -> Result:
        """Commit the item together with what else is waiting; returns its result."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if len(self._waiting) >= self._enough:
            self._full.set()
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush())
        return await future

    def cancel(self) -> None:
        """Commit nothing more; what is being committed now is not called back."""
        if self._flusher is not None:
            self._flusher.cancel()

    async def _flush(self) -> None:
        try:
            while self._waiting:
                await self._let_more_come()
                batch, self._waiting = self._waiting[: self._largest], self._waiting[self._largest :]
                await self._flush_one(batch)
        finally:
            self._flusher = None

    async def _let_more_come(self) -> None:
        self._full.clear()
        seconds = self._begun + self._apart() - time.monotonic()
        if seconds > 0 and len(self._waiting) < self._enough:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), seconds)
        self._begun = time.monotonic()

    async def _flush_one(self, batch: Sequence[Waiting[Item, Result]]) -> None:
        try:
            results = await self._commit([item for item, _ in batch])
        except Exception as error:
            if len(batch) > 1 and self._one_is_bad(error):
                middle = len(batch) // 2
                await self._flush_one(batch[:middle])
                await self._flush_one(batch[middle:])
                return
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
