"""A thread of its own for blocking store calls: where the async engine meets the synchronous store.

One thread holds at most one connection, and its calls run in the order they came. The engine has three of them, so
that a claim never waits for a sweep and a heartbeat never for either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Answer = TypeVar("Answer")


class StoreThread:
    """A `notifier.ports.StoreCall` over one thread, which starts with its first call."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def __call__(self, call: Callable[[], Answer]) -> Answer:
        """Run the call after those before it."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def close(self) -> None:
        """Wait for the call that is running (the database bounds it); what waits behind it is dropped."""
        self._thread.shutdown(wait=True, cancel_futures=True)
