"""Engines, both databases and the real Valkey: a slow provider is not hurried, and holds up nobody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from notifier.allowances import AllowanceKeeper, PolicyLimits
from notifier.core.limits import AccountRates
from notifier.core.model import ChannelName, ClaimRequest, Claims
from notifier.embedded.valkey import start_embedded_broker
from notifier.engine import Engine, EngineLimits
from notifier.limiter import LocalLimiter, RedisLimiter
from notifier.pipeline import Pipeline
from notifier.ports import Delivery, Limiter, Receipt
from notifier.store import SqlStore
from notifier.testing import ACME, FakeChannel, FakeSms, credential, furnish, order, pipeline
from tests.core.test_limits import most_in_any_window

EMAIL, SMS, CALLBACK = ChannelName.EMAIL, ChannelName.SMS, ChannelName.CALLBACK


def now() -> datetime:
    """Engines live in real time."""
    return datetime.now(UTC)


@pytest.fixture
def pipe(store: SqlStore) -> Pipeline:
    """Forty orders: each a text, two mails and a callback. Their lanes are proven already."""
    furnish(store, now=now())
    made = pipeline(store, now)
    made.accept([order(number, time=now()) for number in range(40)], credential())
    while made.route():
        pass
    with store.write() as tx:
        tx.connection.exec_driver_sql("UPDATE lanes SET in_flight_window = NULL")
    return made


class Clocked:
    """Channels that write down when they were given something."""

    def __init__(self) -> None:
        self.at: dict[ChannelName, list[float]] = {EMAIL: [], SMS: [], CALLBACK: []}

    def channels(self) -> dict[ChannelName, FakeChannel]:
        sms = FakeSms(answer=self.answer)
        return {EMAIL: FakeChannel(EMAIL, self.answer), SMS: sms, CALLBACK: FakeChannel(CALLBACK, self.answer)}

    def answer(self, delivery: Delivery) -> Receipt:
        self.at[delivery.channel].append(time.monotonic())
        return Receipt()


class Counting:
    """A pipeline that counts claims."""

    def __init__(self, pipe: Pipeline) -> None:
        self._pipe = pipe
        self.claims = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._pipe, name)

    def claim(self, request: ClaimRequest) -> Claims:
        self.claims += 1
        return self._pipe.claim(request)


async def deliver(
    pipe: Pipeline, rates: AccountRates, limiters: Sequence[Limiter], seen: Clocked, until: Callable[[], bool]
) -> int:
    """Run one engine per limiter until the condition holds; returns how many claims there were."""
    steps = [Counting(pipe) for _ in limiters]
    engines = []
    for each, limiter in zip(steps, limiters, strict=True):
        keeper = AllowanceKeeper(limiter, PolicyLimits(pipe.policies, rates), pipe.demand)
        limits = EngineLimits(slots=20)
        engines.append(Engine(each, seen.channels(), now, limits, allowances=keeper))  # type: ignore[arg-type]
    running = [asyncio.create_task(engine.run()) for engine in engines]
    async with asyncio.timeout(30):
        while not until():  # noqa: ASYNC110  # channels know no event
            await asyncio.sleep(0.02)
    for engine in engines:
        engine.stop()
    await asyncio.gather(*running)
    return sum(each.claims for each in steps)


def test_one_text_a_second_is_kept_while_mail_flows_and_waiting_counts_no_try(store: SqlStore, pipe: Pipeline) -> None:
    seen, began = Clocked(), time.monotonic()

    def enough() -> bool:
        return len(seen.at[SMS]) >= 4 and len(seen.at[EMAIL]) == 80 and len(seen.at[CALLBACK]) == 40

    claims = asyncio.run(deliver(pipe, AccountRates(sms=1), [LocalLimiter()], seen, enough))
    texts, seconds = seen.at[SMS], seen.at[SMS][-1] - began
    assert len(texts) < 20, "mail and callbacks did not wait for texts"
    assert most_in_any_window([(at, 1) for at in texts], 1.0, 1.0) <= 0.2
    assert seconds < 1.5 * len(texts), "and nothing of the rate is lost"
    with store.read() as tx:
        rows, _ = tx.list_rows("notifications", ACME, start=0, limit=100, filters={"channel": "sms"})
        tried, _ = tx.list_rows("attempts", ACME, start=0, limit=1000, filters={})
    waiting = [row for row in rows if row["status"] == "due"]
    assert len(waiting) == 40 - len(texts)
    assert {(row["tries"], row["reason"]) for row in waiting} == {(0, None)}
    assert len(tried) == 120 + len(texts)
    assert claims < 25 * (seconds + 1), "waiting for tokens is no busy loop"


@pytest.mark.processes
def test_two_workers_share_a_rate_in_redis_and_lose_nothing_of_it(pipe: Pipeline, tmp_path: Path) -> None:
    running = start_embedded_broker(tmp_path)
    seen = Clocked()

    async def main() -> None:
        limiters = [RedisLimiter(running.redis_url, patience=2.0) for _ in range(2)]
        await deliver(pipe, AccountRates(sms=5), limiters, seen, lambda: len(seen.at[SMS]) == 20)

    asyncio.run(main())
    running.stop()
    texts = sorted(seen.at[SMS])
    assert most_in_any_window([(at, 1) for at in texts], 5.0, 5.0) <= 1.5  # a token may be used a moment later
    assert texts[19] - texts[0] < 6.0  # 15 of them at 5/s
