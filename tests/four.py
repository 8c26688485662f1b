"""Four processes that do the same thing at once, started afresh (spawn) as workers are."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from typing import Any

FOUR = 4


def at_once(target: Callable[..., Any], *arguments: Any, seconds: float = 60.0) -> list[Any]:
    """Run `target(number, *arguments)` in four processes that begin together; returns what each returned.

    An error in one of them is raised here with its traceback.
    """
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(FOUR), context.Queue()
    workers = [
        context.Process(target=_run, args=(target, number, arguments, barrier, answers), daemon=True)
        for number in range(FOUR)
    ]
    for worker in workers:
        worker.start()
    try:
        found = dict(_checked(answers.get(timeout=seconds)) for _ in workers)
    finally:
        for worker in workers:
            worker.join(5)
            if worker.is_alive():
                worker.kill()
                worker.join()
        answers.close()
    return [found[number] for number in range(FOUR)]


def _run(target: Callable[..., Any], number: int, arguments: tuple[Any, ...], barrier: Any, answers: Any) -> None:
    try:
        barrier.wait(30)
        answers.put((number, target(number, *arguments), None))
    except BaseException:
        answers.put((number, None, traceback.format_exc()))


def _checked(answer: tuple[int, Any, str | None]) -> tuple[int, Any]:
    number, result, error = answer
    assert error is None, f"process {number}:\n{error}"
    return number, result
