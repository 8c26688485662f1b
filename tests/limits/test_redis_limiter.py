"""The limiter over the real Valkey: two clients share a rate, and when it dies each keeps to its share."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis
import structlog

from notifier import limiter as limiter_module
from notifier.core.limits import Limit, LimitKey, Share
from notifier.core.model import ChannelName
from notifier.embedded.valkey import RunningBroker, start_embedded_broker
from notifier.errors import ConfigError
from notifier.limiter import LocalLimiter, RedisLimiter
from tests.core.test_limits import most_in_any_window

pytestmark = pytest.mark.processes

MAIL = Limit(LimitKey("email"), 20.0, ChannelName.EMAIL)
TEXTS = Limit(LimitKey("sms"), 1.0, ChannelName.SMS)
PATIENT = 2.0  #: this machine may be busy with other things; the product's patience has its own test


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[RunningBroker]:
    running = start_embedded_broker(tmp_path)
    yield running
    running.stop()


@asynccontextmanager
async def limiters(url: str, count: int = 1) -> AsyncIterator[Sequence[RedisLimiter]]:
    made = [RedisLimiter(url, patience=PATIENT) for _ in range(count)]
    try:
        yield made
    finally:
        for limiter in made:
            await limiter.close()


def greedy(
    limiter: RedisLimiter | LocalLimiter, share: Share, got: list[tuple[float, int]], until: float
) -> Awaitable[None]:
    """Take whatever there is, as soon as told, until that moment."""

    async def go() -> None:
        while time.monotonic() < until:
            (grant,) = await limiter.take({MAIL: 100}, share)
            if grant.tokens:
                got.append((time.monotonic(), grant.tokens))
            await asyncio.sleep(max(0.005, min(grant.wait, 0.1)))

    return go()


def test_two_clients_share_one_rate(valkey: RunningBroker) -> None:
    got: list[tuple[float, int]] = []

    async def main() -> float:
        async with limiters(valkey.redis_url, 2) as (one, two):
            began = time.monotonic()
            await asyncio.gather(
                *(greedy(each, Share(place, 2), got, began + 2.0) for place, each in enumerate((one, two)))
            )
            return time.monotonic() - began

    took = asyncio.run(main())
    total = sum(tokens for _, tokens in got)
    assert total <= MAIL.rate * took + MAIL.burst
    assert total >= MAIL.rate * 2.0 + MAIL.burst - 4
    assert most_in_any_window(sorted(got), MAIL.rate, MAIL.burst) <= 1


def test_several_limits_are_asked_for_at_once_and_answered_in_order(valkey: RunningBroker) -> None:
    async def main() -> None:
        async with limiters(valkey.redis_url) as (limiter,):
            first = await limiter.take({TEXTS: 5, MAIL: 5}, Share())
            assert [grant.tokens for grant in first] == [1, 5]
            assert 0.5 < first[0].wait <= 1.0 and first[1].wait == 0.0
            assert [grant.tokens for grant in await limiter.take({MAIL: 100, TEXTS: 1}, Share())][1] == 0

    asyncio.run(main())


def test_buckets_are_forgotten_when_they_would_be_full_again(valkey: RunningBroker) -> None:
    async def main() -> None:
        async with limiters(valkey.redis_url) as (limiter,):
            await limiter.take({TEXTS: 1}, Share())

    asyncio.run(main())
    with redis.Redis.from_url(valkey.redis_url) as client:
        keys = list(client.scan_iter())
        assert keys == [b"{notifier}:limit:sms"]
        assert 0 < client.pttl(keys[0]) <= 2000


def test_scripts_that_the_server_forgot_are_sent_again(valkey: RunningBroker) -> None:
    async def main() -> None:
        async with limiters(valkey.redis_url) as (limiter,):
            await limiter.take({MAIL: 1}, Share())
            with redis.Redis.from_url(valkey.redis_url) as client:
                client.script_flush()
            assert [grant.tokens for grant in await limiter.take({MAIL: 1}, Share())] == [1]

    asyncio.run(main())


def test_a_server_that_dies_and_comes_back_never_lets_more_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sessions want all they can get: shared, then each its share, then shared again."""
    monkeypatch.setattr(limiter_module, "RETRY_AFTER", 0.3)
    monkeypatch.setattr(limiter_module, "SETTLE", 0.5)
    told = structlog.testing.LogCapture()
    monkeypatch.setattr(limiter_module, "log", structlog.wrap_logger(None, processors=[told]))
    got: list[tuple[float, int]] = []

    async def main() -> None:
        first = await asyncio.to_thread(start_embedded_broker, tmp_path)
        running = [first]
        async with limiters(first.redis_url, 2) as (one, two):
            until = time.monotonic() + 5.0
            taking = asyncio.gather(*(greedy(each, Share(i, 2), got, until) for i, each in enumerate((one, two))))
            await asyncio.sleep(1.0)
            await asyncio.to_thread(running.pop().stop)
            await asyncio.sleep(1.0)
            away = (one._away, two._away)
            running.append(await asyncio.to_thread(start_embedded_broker, tmp_path))
            await taking
            back = (one._away, two._away)
            assert (away, back) == ((True, True), (False, False))
        running.pop().stop()

    asyncio.run(main())
    got.sort()
    assert most_in_any_window(got, MAIL.rate, MAIL.burst) <= 1
    seconds = got[-1][0] - got[0][0]
    assert sum(tokens for _, tokens in got) >= MAIL.rate * seconds * 0.7  # and it went on all the time
    assert max(after[0] - before[0] for before, after in itertools.pairwise(got)) < 1.0
    actions = Counter(entry["action"] for entry in told.entries)
    assert actions == {"limits_local": 2, "limits_shared": 2}


def test_an_answer_that_takes_too_long_is_no_answer() -> None:
    """A server that accepts and says nothing costs the patience once, then nothing for a while."""

    async def main() -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.read()  # until the other side ends
            finally:
                writer.close()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        limiter = RedisLimiter(f"redis://127.0.0.1:{port}/0")
        began = time.monotonic()
        (grant,) = await limiter.take({MAIL: 1}, Share())
        first = time.monotonic() - began
        began = time.monotonic()
        for _ in range(100):
            await limiter.take({MAIL: 0}, Share())
        later = time.monotonic() - began
        await limiter.close()
        server.close()
        await server.wait_closed()
        assert grant.tokens == 0 and grant.wait == pytest.approx(1 / MAIL.rate)
        assert limiter_module.PATIENCE <= first < 1.0
        assert later < limiter_module.PATIENCE * 10

    asyncio.run(main())


@pytest.mark.parametrize("level", ["1e18", "-1e18", "nan", "inf", "-inf", "no number"])
def test_a_foreign_value_in_a_bucket_neither_lets_more_through_nor_holds_back_nor_ends_anything(
    valkey: RunningBroker, level: str
) -> None:
    """Redis is shared with others, and P3: nothing that stands there may stop what is due."""

    async def main() -> None:
        async with limiters(valkey.redis_url) as (limiter,):
            with redis.Redis.from_url(valkey.redis_url) as other:
                other.hset(f"{limiter_module.PREFIX}{MAIL.key}", mapping={"level": level, "at": "1"})
            for _ in range(3):
                (grant,) = await limiter.take({MAIL: 100}, Share())
                assert grant.tokens <= MAIL.burst and grant.wait <= 1 / MAIL.rate + 0.01

    asyncio.run(main())


@pytest.mark.parametrize("said", ["+OK", ":1", "*0", "*1\r\n$1\r\nx", "*2\r\n$1\r\n0\r\n$1\r\n1", "$-1", "*1\r\n*0"])
def test_a_server_that_answers_nonsense_is_away(said: str) -> None:
    async def main() -> None:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(65_536):
                writer.write(f"{said}\r\n".encode() * 4)
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        limiter = RedisLimiter(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", patience=PATIENT)
        (grant,) = await limiter.take({MAIL: 1}, Share())
        await limiter.close()
        server.close()
        await server.wait_closed()
        assert grant.tokens == 0 and grant.wait == pytest.approx(1 / MAIL.rate), "its share, from an empty bucket"

    asyncio.run(main())


def test_a_server_that_is_not_there_is_answered_for_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with limiters(f"unix://{tmp_path}/nobody.sock?db=2") as (limiter,):
            assert [grant.tokens for grant in await limiter.take({MAIL: 1}, Share())] == [0]
            await asyncio.sleep(0.15)
            assert [grant.tokens for grant in await limiter.take({MAIL: 1}, Share())] == [1]

    asyncio.run(main())


def test_an_address_that_is_none_is_a_mistake_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match="NOTIFIER_REDIS_URL"):
        RedisLimiter("redis+socket:///x")


def test_without_redis_only_the_oldest_session_sends_of_a_small_limit() -> None:
    clock = 0.0

    async def main() -> None:
        nonlocal clock
        old, young = LocalLimiter(lambda: clock), LocalLimiter(lambda: clock)
        taken = [0, 0]
        while clock < 60.0:
            for place, limiter in enumerate((old, young)):
                (grant,) = await limiter.take({TEXTS: 5}, Share(place, 2))
                taken[place] += grant.tokens
            clock += 0.25
        assert taken == [59, 0]
        # The oldest died: the other begins with an empty bucket.
        assert [grant.tokens for grant in await young.take({TEXTS: 5}, Share(0, 1))] == [0]
        clock += 1.0
        assert [grant.tokens for grant in await young.take({TEXTS: 5}, Share(0, 1))] == [1]

    asyncio.run(main())
