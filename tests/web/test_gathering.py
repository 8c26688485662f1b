"""Small requests that wait together are accepted together, and each hears of its own events alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from notifier.core.acceptance import Answer, AnswerStatus
from notifier.core.events import RawItem
from notifier.core.ids import TenantId
from notifier.core.model import Credential
from notifier.errors import StoreError
from notifier.web.gathering import MOST_TOGETHER, Gathering

ACME, BOREALIS = (Credential(name, TenantId(name), ("*",), ("*",)) for name in ("acme", "borealis"))
BAD = "bad"


@dataclass
class Accepting:
    """An accept step that waits to be let go, and refuses every group with a bad event in it."""

    error: Exception = field(default_factory=lambda: StoreError("refused", refused=True))
    calls: list[tuple[str, list[str]]] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)

    def __call__(self, items: Sequence[RawItem], credential: Credential) -> list[Answer]:
        self.go.wait(10)
        self.calls.append((credential.key_id, [item.body for item in items]))
        if any(item.body == BAD for item in items):
            raise self.error
        return [
            Answer(index, AnswerStatus.ACCEPTED, None, f"{credential.key_id} {item.body}")
            for index, item in enumerate(items)
        ]


def asked(accepting: Accepting, *requests: tuple[Credential, Sequence[str]]) -> list[list[Answer] | BaseException]:
    """What each request is told when the first one is being committed while the others come."""

    async def all_at_once() -> list[list[Answer] | BaseException]:
        gathering = Gathering(accepting)
        tasks = [
            asyncio.create_task(gathering.accept([RawItem(None, body) for body in bodies], credential))
            for credential, bodies in requests
        ]
        await asyncio.sleep(0)  # the first is handed to the thread, which waits; the others gather
        accepting.go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(all_at_once())


def test_what_comes_during_a_commit_goes_into_the_next_one_and_each_gets_its_own_answers_p1() -> None:
    accepting = Accepting()
    first, *others = asked(accepting, *((ACME, [str(number), f"{number}b"]) for number in range(5)))
    assert accepting.calls in (
        [("acme", ["0", "0b"]), ("acme", [f"{number}{end}" for number in range(1, 5) for end in ("", "b")])],
        [("acme", [f"{number}{end}" for number in range(5) for end in ("", "b")])],
    )
    for number, told in enumerate([first, *others]):
        assert isinstance(told, list)
        assert [(answer.index, answer.source_id) for answer in told] == [(0, f"acme {number}"), (1, f"acme {number}b")]


def test_the_requests_of_two_tenants_are_never_accepted_together_p11() -> None:
    accepting = Accepting()
    told = asked(accepting, (ACME, ["1"]), (BOREALIS, ["2"]), (ACME, ["3"]), (BOREALIS, ["4"]))
    assert [answers[0].source_id for answers in told if isinstance(answers, list)] == [
        "acme 1",
        "borealis 2",
        "acme 3",
        "borealis 4",
    ]
    assert {(key, body) for key, bodies in accepting.calls for body in bodies} == {
        ("acme", "1"),
        ("borealis", "2"),
        ("acme", "3"),
        ("borealis", "4"),
    }


def test_a_group_holds_no_more_than_one_transaction_takes() -> None:
    accepting = Accepting()
    told = asked(accepting, *((ACME, ["x"] * 40) for _ in range(8)))
    assert all(isinstance(answers, list) and len(answers) == 40 for answers in told)
    assert max(len(bodies) for _, bodies in accepting.calls) <= MOST_TOGETHER


@pytest.mark.parametrize("error", [StoreError("refused", refused=True), ValueError("a mistake of ours")])
def test_an_event_that_cannot_be_stored_fails_none_of_its_neighbours_p8(error: Exception) -> None:
    told = asked(Accepting(error), (ACME, ["1"]), (ACME, ["2"]), (ACME, [BAD]), (ACME, ["3"]))
    assert [type(answers) for answers in told] == [list, list, type(error), list]


def test_when_the_store_is_away_all_are_told_at_once() -> None:
    accepting = Accepting(StoreError("away"))
    told = asked(accepting, (ACME, [BAD]), (ACME, ["2"]), (ACME, [BAD]), (ACME, ["3"]))
    assert len(accepting.calls) <= 2
    assert isinstance(told[-1], StoreError)
