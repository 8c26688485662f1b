"""The tokens in an engine's hands, in virtual time: asked for what waits, kept for a moment, waited for exactly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from notifier.allowances import LAPSE, LOOK_EVERY, AllowanceKeeper
from notifier.core.ids import SessionId
from notifier.core.limits import Demand, Grant, Limit, LimitKey, Limits, Share, limits_of
from notifier.core.model import ChannelName

SESSION = SessionId("s")
MAIL, TEXTS = LimitKey("email"), LimitKey("sms")
LIMITS = limits_of([Limit(MAIL, 10.0, ChannelName.EMAIL), Limit(TEXTS, 1.0, ChannelName.SMS)])
Answer = TypeVar("Answer")


async def at_once(call: Callable[[], Answer]) -> Answer:
    """A StoreCall without a thread."""
    return call()


@dataclass
class Fixed:
    """A limiter that gives what it was told to, and a keeper over it."""

    limits: Limits = LIMITS
    waiting: dict[LimitKey, int] = field(default_factory=dict)
    grants: dict[LimitKey, Grant] = field(default_factory=dict)
    asked: list[dict[LimitKey, int]] = field(default_factory=list)
    looks: int = 0
    now: float = 100.0

    def __post_init__(self) -> None:
        self.keeper = AllowanceKeeper(self, lambda: self.limits, self.demand, lambda: self.now)

    def demand(self, limits: Limits, most: int) -> Demand:
        self.looks += 1
        return Demand({key: min(rows, most) for key, rows in self.waiting.items()}, (SESSION,))

    async def take(self, wanted: Mapping[Limit, int], share: Share) -> Sequence[Grant]:
        assert share == Share(0, 1)
        self.asked.append({limit.key: tokens for limit, tokens in wanted.items()})
        return [self.grants.get(limit.key, Grant(tokens)) for limit, tokens in wanted.items()]

    async def close(self) -> None: ...

    def claim(self, slots: int = 50) -> Mapping[LimitKey, int] | None:
        """The tokens handed to a claim."""
        allowances = asyncio.run(self.keeper.before_claim(slots, SESSION, at_once))
        return None if allowances is None else allowances.tokens


def test_without_limits_nothing_is_asked() -> None:
    fixed = Fixed(limits=Limits(), waiting={MAIL: 5})
    assert fixed.claim() is None
    assert (fixed.looks, fixed.asked) == (0, [])
    assert fixed.keeper.patience(1.0) == 1.0


def test_without_waiting_work_no_token_is_taken() -> None:
    fixed = Fixed()
    assert fixed.claim() == {}
    assert fixed.asked == []
    assert fixed.keeper.patience(1.0) == 1.0


def test_tokens_are_taken_for_what_waits_and_no_more_than_a_second_can_send() -> None:
    fixed = Fixed(waiting={MAIL: 40, TEXTS: 40})
    assert fixed.claim() == {MAIL: 10, TEXTS: 1}
    assert Fixed(waiting={MAIL: 4}).claim() == {MAIL: 4}
    assert Fixed(waiting={MAIL: 40}).claim(slots=2) == {MAIL: 2}


def test_what_a_claim_did_not_use_stays_for_the_next_and_lapses() -> None:
    fixed = Fixed(waiting={MAIL: 5})
    assert fixed.claim() == {MAIL: 5}
    fixed.now += LOOK_EVERY
    assert fixed.claim() == {MAIL: 5}
    assert fixed.asked == [{MAIL: 5}]
    fixed.waiting, fixed.now = {}, fixed.now + LAPSE
    assert fixed.claim() == {}


def test_a_busy_engine_does_not_look_at_every_claim() -> None:
    fixed = Fixed(waiting={MAIL: 5})
    for _ in range(100):
        fixed.claim()
    assert fixed.looks == 1
    assert 0 < fixed.keeper.patience(1.0) <= LOOK_EVERY  # what it was woken for meanwhile is not left for a second


def test_the_engine_sleeps_exactly_until_there_is_a_token() -> None:
    fixed = Fixed(waiting={TEXTS: 5}, grants={TEXTS: Grant(0, 0.7)})
    assert fixed.claim() == {}
    assert abs(fixed.keeper.patience(1.0) - 0.7) < 1e-6
    fixed.now += 0.3
    fixed.claim()
    assert len(fixed.asked) == 1  # not before the time
    assert abs(fixed.keeper.patience(1.0) - 0.4) < 1e-6
    fixed.now, fixed.grants = fixed.now + 0.4, {TEXTS: Grant(1)}
    assert fixed.claim() == {TEXTS: 1}


def test_while_every_slot_is_busy_it_is_not_woken_by_tokens() -> None:
    """No busy loop: whoever frees a slot wakes the engine."""
    fixed = Fixed(waiting={TEXTS: 5}, grants={TEXTS: Grant(0, 0.7)})
    fixed.claim()
    fixed.keeper.patience(1.0)
    fixed.now += 5
    assert fixed.keeper.patience(1.0) == 1.0


def test_a_limit_that_is_taken_out_of_the_configuration_is_forgotten() -> None:
    fixed = Fixed(waiting={MAIL: 5, TEXTS: 5}, grants={TEXTS: Grant(0, 0.7)})
    fixed.claim()
    fixed.limits, fixed.waiting = limits_of([LIMITS.by_key[TEXTS]]), {}
    fixed.now += LOOK_EVERY
    assert fixed.claim() == {}
    fixed.limits = Limits()
    assert fixed.claim() is None and fixed.keeper.patience(1.0) == 1.0
