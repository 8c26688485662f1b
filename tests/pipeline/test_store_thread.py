"""The thread for store calls: one after another, errors handed on, and an end that a hung call cannot stop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from notifier.store_thread import StoreThread

LONG = 30.0  #: seconds: what never ends in a test that goes well


def test_calls_run_in_the_order_they_came_on_one_thread_that_is_not_the_loops() -> None:
    async def all_of_them() -> list[tuple[int, int]]:
        thread = StoreThread("store")

        def call(number: int) -> Callable[[], tuple[int, int]]:
            return lambda: (number, threading.get_ident())

        answers = await asyncio.gather(*(thread(call(number)) for number in range(5)))
        thread.close()
        return answers

    answers = asyncio.run(all_of_them())
    assert [number for number, _ in answers] == list(range(5))
    assert len({ident for _, ident in answers}) == 1 and answers[0][1] != threading.get_ident()


def test_what_a_call_raises_is_raised_and_the_next_call_runs() -> None:
    async def one_fails() -> str:
        thread = StoreThread("store")
        with pytest.raises(ZeroDivisionError):
            await thread(lambda: 1 // 0)
        answer = await thread(lambda: "well")
        thread.close()
        return answer

    assert asyncio.run(one_fails()) == "well"


def test_the_end_waits_for_the_call_under_way_and_drops_those_behind_it() -> None:
    async def end() -> list[str]:
        thread, begun, go_on, ran = StoreThread("store", LONG), threading.Event(), threading.Event(), list[str]()

        def first() -> None:
            begun.set()
            assert go_on.wait(LONG)
            ran.append("first")

        calls = [asyncio.create_task(thread(first)), asyncio.create_task(thread(lambda: ran.append("second")))]
        assert await asyncio.to_thread(begun.wait, LONG)
        threading.Timer(0.05, go_on.set).start()
        thread.close()
        assert ran == ["first"]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(answer) for answer in answers] == [type(None), asyncio.CancelledError]
        with pytest.raises(RuntimeError, match="closed"):
            await thread(lambda: None)
        return ran

    assert asyncio.run(end()) == ["first"]


def test_a_call_that_hangs_does_not_stop_the_end_and_is_said() -> None:
    async def end() -> float:
        thread, begun, go_on = StoreThread("store", 0.05), threading.Event(), threading.Event()

        def hang() -> None:
            begun.set()
            go_on.wait(LONG)

        call = asyncio.create_task(thread(hang))
        assert await asyncio.to_thread(begun.wait, LONG)
        at = time.monotonic()
        thread.close()
        took = time.monotonic() - at
        go_on.set()
        await call
        return took

    with capture_logs() as lines:
        assert asyncio.run(end()) < LONG / 2
    assert [(line["action"], line["thread"]) for line in lines] == [("store_call_left", "store")]


def test_a_call_that_hangs_does_not_keep_the_process_from_its_end() -> None:
    """As with a database host that vanished: SIGTERM must end the worker."""
    program = """
import asyncio, threading
from notifier.store_thread import StoreThread

async def main():
    thread, begun = StoreThread("store", 0.05), threading.Event()
    call = asyncio.create_task(thread(lambda: begun.set() or threading.Event().wait()))
    await asyncio.to_thread(begun.wait)
    thread.close()

asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], timeout=LONG, check=False, capture_output=True)
    assert ended.returncode == 0, ended.stderr
