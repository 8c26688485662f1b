"""Group commits: what waits goes together, and everybody gets his own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from notifier.batching import Batcher


def test_what_arrives_during_a_flush_goes_together_in_the_next() -> None:
    batches: list[list[int]] = []

    async def commit(items: Sequence[int]) -> Sequence[int]:
        batches.append(list(items))
        await asyncio.sleep(0.01)
        return [item * 10 for item in items]

    async def run() -> list[int]:
        batcher = Batcher[int, int](commit, largest=4)
        first = asyncio.create_task(batcher.add(0))
        await asyncio.sleep(0.001)
        return [*await asyncio.gather(*(batcher.add(number) for number in range(1, 7))), await first]

    assert asyncio.run(run()) == [10, 20, 30, 40, 50, 60, 0]
    assert batches == [[0], [1, 2, 3, 4], [5, 6]]


def test_a_failed_flush_fails_its_own_waiters_only() -> None:
    async def commit(items: Sequence[str]) -> Sequence[str]:
        if "bad" in items:
            raise RuntimeError("store away")
        return items

    async def run() -> str:
        batcher = Batcher[str, str](commit)
        with pytest.raises(RuntimeError, match="store away"):
            await batcher.add("bad")
        return await batcher.add("good")

    assert asyncio.run(run()) == "good"


def test_under_load_flushes_keep_a_distance_so_that_each_carries_many() -> None:
    sizes: list[int] = []

    async def commit(items: Sequence[int]) -> Sequence[None]:
        sizes.append(len(items))
        return [None] * len(items)

    async def main() -> None:
        batcher = Batcher[int, None](commit, apart=lambda: 0.2, enough=1000)
        await batcher.add(0)  # an idle system waits for nothing
        assert sizes == [1]
        await asyncio.gather(*(_later(batcher, 0.005 * number) for number in range(10)))

    asyncio.run(main())
    assert sizes == [1, 10]


def test_enough_together_end_the_wait() -> None:
    sizes: list[int] = []

    async def commit(items: Sequence[int]) -> Sequence[None]:
        sizes.append(len(items))
        return [None] * len(items)

    async def main() -> None:
        batcher = Batcher[int, None](commit, apart=lambda: 60.0, enough=3)
        await batcher.add(0)
        await asyncio.gather(*(_later(batcher, 0.005 * number) for number in range(3)))

    asyncio.run(main())
    assert sizes == [1, 3]


async def _later(batcher: Batcher[int, None], seconds: float) -> None:
    await asyncio.sleep(seconds)
    await batcher.add(1)


def test_one_bad_item_is_found_and_the_others_are_committed() -> None:
    batches: list[list[int]] = []

    async def commit(items: Sequence[int]) -> Sequence[int]:
        await asyncio.sleep(0)
        if 5 in items:
            raise ValueError("refused")
        batches.append(list(items))
        return [item * 10 for item in items]

    async def run() -> list[int | BaseException]:
        batcher = Batcher[int, int](commit, one_is_bad=lambda error: isinstance(error, ValueError))
        return await asyncio.gather(*(batcher.add(number) for number in range(8)), return_exceptions=True)

    results = asyncio.run(run())
    assert [result for result in results if not isinstance(result, ValueError)] == [0, 10, 20, 30, 40, 60, 70]
    assert sorted(item for batch in batches for item in batch) == [0, 1, 2, 3, 4, 6, 7]
    assert len(batches) <= 3  # halves, not one by one
