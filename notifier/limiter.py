"""The limiter: buckets of tokens that all workers share, in Redis; and a safe local answer while Redis is away.

One Lua script gives the tokens of several buckets by Redis' own clock. Away means: not configured, no answer within
PATIENCE, or an error. Then every session takes its share of the rate from buckets of its own, which begin empty
(notifier.core.limits.local_share), so that all sessions together never send more than the limit allows.

The way back: who finds Redis again says so there, and for SETTLE seconds nobody gets tokens from Redis, so that
everybody changes over at the same moment; the shared buckets then begin empty. A session that alone is cut off takes
its share beside the others until it is back; more than that nobody can know.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from notifier.core.limits import Bucket, Grant, Limit, LimitKey, Share, local_share
from notifier.errors import ConfigError, Problem

log = structlog.get_logger(__name__)

PATIENCE = 0.05  #: seconds an answer may take
RETRY_AFTER = 2.0  #: seconds between tries while Redis is away
SETTLE = 3.0  #: seconds after Redis is found again; longer than RETRY_AFTER, so that all who miss it look meanwhile
LEAVE_TO_OTHERS = 1.0  #: seconds until a session without a share looks again
SOME_ROUNDING = 0.001  #: seconds
PREFIX = "{notifier}:limit:"  #: the braces keep all keys in one slot of a cluster

#: KEYS: since when the buckets count, then one bucket each. ARGV: seconds to settle (0 = nobody was away), then rate,
#: burst and wanted of each. Returns the seconds left to settle, then tokens and wait of each bucket.
SCRIPT = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local since = tonumber(redis.call('GET', KEYS[1]) or '0')
local settle = tonumber(ARGV[1])
if settle > 0 and now >= since then
  since = now + settle
  redis.call('SET', KEYS[1], string.format('%.6f', since), 'EX', 86400)
end
if now < since then
  return {string.format('%.6f', since - now)}
end
local answer = {'0'}
for i = 2, #KEYS do
  local rate, burst, wanted = tonumber(ARGV[3 * i - 4]), tonumber(ARGV[3 * i - 3]), tonumber(ARGV[3 * i - 2])
  local kept = redis.call('HMGET', KEYS[i], 'level', 'at')
  local level, at = tonumber(kept[1] or ''), tonumber(kept[2] or '')
  if not at then
    level, at = burst, now
    if since > 0 then level, at = 0, since end
  elseif at < since then
    level, at = 0, since
  end
  level = math.min(burst, level + math.max(0, now - at) * rate)
  local given = math.min(wanted, math.floor(level + 1e-9))
  level = math.max(0, level - given)
  redis.call('HSET', KEYS[i], 'level', string.format('%.9f', level), 'at', string.format('%.6f', now))
  redis.call('PEXPIRE', KEYS[i], math.ceil(burst / rate * 1000) + 1000)
  answer[#answer + 1] = tostring(given)
  answer[#answer + 1] = given < wanted and string.format('%.6f', (1 - level) / rate) or '0'
end
return answer
"""
DIGEST = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


class LocalLimiter:
    """A limiter without Redis: this session's share of every limit."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[LimitKey, Bucket] = {}

    async def take(self, wanted: Mapping[Limit, int], share: Share) -> Sequence[Grant]:
        """Take tokens from this session's buckets."""
        now = self._clock()
        return [self._take(limit, tokens, share, now) for limit, tokens in wanted.items()]

    def _take(self, limit: Limit, tokens: int, share: Share, now: float) -> Grant:
        mine = local_share(limit, share)
        if mine is None:
            self._buckets.pop(limit.key, None)
            return Grant(0, LEAVE_TO_OTHERS)
        bucket = self._buckets.setdefault(limit.key, Bucket(*mine, at=now))
        if (bucket.rate, bucket.burst) != mine:
            bucket.resize(*mine, now)
        return bucket.take(tokens, now)

    def forget(self) -> None:
        """Begin with empty buckets next time."""
        self._buckets.clear()

    async def close(self) -> None:
        """Nothing is open."""


class RedisLimiter:
    """A limiter over Redis that answers locally while Redis is away. Belongs to one event loop."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic, patience: float = PATIENCE) -> None:
        self._redis = _client(url)
        self._clock = clock
        self._patience = patience
        self._local = LocalLimiter(clock)
        self._away = False
        self._announced = False  #: Redis knows that somebody was away, and counts down
        self._try_at = 0.0

    async def take(self, wanted: Mapping[Limit, int], share: Share) -> Sequence[Grant]:
        """Take tokens; never longer than the patience, and never more than the limits allow."""
        if self._clock() >= self._try_at:
            grants = await self._ask(wanted)
            if grants is not None:
                return grants
        return await self._local.take(wanted, share)

    async def _ask(self, wanted: Mapping[Limit, int]) -> Sequence[Grant] | None:
        settle = SETTLE if self._away and not self._announced else 0.0
        try:
            async with asyncio.timeout(self._patience):
                left, grants = _read(await self._run(settle, wanted), wanted)
        except (RedisError, OSError, TimeoutError, ValueError) as error:
            self._lost(error)
            return None
        if left > 0:
            self._wait_for_all(left)
            return None
        if self._away:
            log.info("Redis keeps the limits again", action="limits_shared")
            self._away = self._announced = False
            self._local.forget()
        return grants

    async def _run(self, settle: float, wanted: Mapping[Limit, int]) -> Any:
        keys = [f"{PREFIX}since", *(PREFIX + limit.key for limit in wanted)]
        values = [value for limit, tokens in wanted.items() for value in (limit.rate, limit.burst, tokens)]
        words = (*keys, *(str(value) for value in (settle, *values)))
        try:
            return await self._redis.evalsha(DIGEST, len(keys), *words)
        except NoScriptError:  # a new server, or its scripts were flushed
            return await self._redis.eval(SCRIPT, len(keys), *words)

    def _lost(self, error: Exception) -> None:
        if not self._away:
            text = "Redis does not answer; each worker keeps to its share of the limits"
            log.warning(text, action="limits_local", error=type(error).__name__)
            self._local.forget()
        self._away, self._announced = True, False
        self._try_at = self._clock() + RETRY_AFTER

    def _wait_for_all(self, seconds: float) -> None:
        if not self._away:
            log.info("a worker had lost Redis; each keeps to its share for a moment", action="limits_settle")
            self._local.forget()
        self._away = self._announced = True
        self._try_at = self._clock() + seconds

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


def _read(answer: Any, wanted: Mapping[Limit, int]) -> tuple[float, list[Grant]]:
    """Seconds left to settle, else the grants. Raises ValueError for what the script cannot have said.

    Redis is shared with others: a foreign value under one of our names must not give more than was asked for, hold
    work back for hours, or end the engine.
    """
    try:
        left, *pairs = (float(text) for text in answer)
    except TypeError:
        raise ValueError("no list of numbers") from None
    if left > 0:
        return min(left, SETTLE), []
    grants = []
    for (limit, most), tokens, wait in zip(wanted.items(), pairs[::2], pairs[1::2], strict=True):
        if not (0 <= tokens <= most and 0 <= wait <= 1 / limit.rate + SOME_ROUNDING):
            raise ValueError("more tokens than asked for, or a longer wait than for one")
        grants.append(Grant(int(tokens), wait))
    return left, grants


def _client(url: str) -> Redis:
    try:
        return Redis.from_url(url, retry=Retry(NoBackoff(), 0), max_connections=2)
    except ValueError:
        text = "is no address such as redis://host:6379/0, rediss://... or unix:///path?db=0"
        raise ConfigError([Problem("NOTIFIER_REDIS_URL", text)]) from None
