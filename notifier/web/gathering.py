"""Small requests that come at the same time are accepted together: one thread, one transaction, one flush to the disk.

While one group is being committed the next one gathers, so that groups grow exactly as large as the load demands and a
lone request waits for nobody. Each request gets its own answers after the commit that carries it (P1); when the store
refuses a group, each of its requests is tried alone (P8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from starlette.concurrency import run_in_threadpool

from notifier.batching import Batcher
from notifier.core.acceptance import Answer
from notifier.core.events import RawItem
from notifier.core.model import Credential
from notifier.errors import StoreError

Accept = Callable[[Sequence[RawItem], Credential], list[Answer]]
Told = list[Answer] | Exception

MOST_TOGETHER = 100  #: events of a group: what is committed in one transaction


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that waits for its answers."""

    items: Sequence[RawItem]
    credential: Credential


class Gathering:
    """Accepts requests in groups through `accept`, the pipeline's."""

    def __init__(self, accept: Accept) -> None:
        self._accept = accept
        self._batcher: Batcher[Asked, Told] = Batcher(self._commit)

    async def accept(self, items: Sequence[RawItem], credential: Credential) -> list[Answer]:
        """Return the answers of these events; they are committed by then. Raises what accepting them raises."""
        told = await self._batcher.add(Asked(items, credential))
        if isinstance(told, Exception):
            raise told
        return told

    async def _commit(self, requests: Sequence[Asked]) -> Sequence[Told]:
        return await run_in_threadpool(self._all, requests)

    def _all(self, requests: Sequence[Asked]) -> Sequence[Told]:
        told: dict[int, Told] = {}
        for group in _groups(requests):
            told |= zip(group, self._together([requests[index] for index in group]), strict=True)
        return [told[index] for index in range(len(requests))]

    def _together(self, group: Sequence[Asked]) -> list[Told]:
        try:
            answers = iter(self._accept([item for asked in group for item in asked.items], group[0].credential))
        except Exception as error:
            if len(group) == 1 or _is_away(error):
                return [error] * len(group)
            return [told for asked in group for told in self._together([asked])]
        return [[replace(next(answers), index=index) for index, _ in enumerate(asked.items)] for asked in group]


def _is_away(error: Exception) -> bool:
    """Whether trying each request alone would only make all of them wait longer."""
    return isinstance(error, StoreError) and not error.refused


def _groups(requests: Sequence[Asked]) -> Iterator[list[int]]:
    """Which requests belong together: those of one key, as they came, up to a transaction's worth of events."""
    by_key: dict[Credential, list[int]] = {}
    for index, asked in enumerate(requests):
        group = by_key.setdefault(asked.credential, [])
        if group and sum(len(requests[other].items) for other in group) + len(asked.items) > MOST_TOGETHER:
            yield group
            group = by_key[asked.credential] = []
        group.append(index)
    yield from by_key.values()
