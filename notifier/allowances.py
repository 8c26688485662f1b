"""Tokens in the hands of one engine: taken for work that waits, before the claim that uses them.

Only limits whose lanes have due rows are asked for, and only for as many tokens as there are rows, so that a worker
without work takes nothing from the others. Without any limit in force this costs nothing at all.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

from notifier.core.ids import SessionId
from notifier.core.limits import AccountRates, Allowances, Demand, Grant, Limit, LimitKey, Limits, limits_in
from notifier.core.model import Claimed
from notifier.ports import Limiter, PolicySource, StoreCall

LOOK_EVERY = 0.05  #: seconds between two looks for waiting work of limited lanes
LAPSE = 1.0  #: seconds a token that found no work is kept
SOON = 0.001  #: seconds: the shortest sleep


class PolicyLimits:
    """The limits in force; made anew when another configuration is."""

    def __init__(self, policies: PolicySource, rates: AccountRates) -> None:
        self._policies = policies
        self._rates = rates
        self._made: tuple[int, Limits] | None = None

    def __call__(self) -> Limits:
        """Return them."""
        policy = self._policies.current()
        if self._made is None or self._made[0] != policy.version:
            self._made = (policy.version, limits_in(policy, self._rates))
        return self._made[1]


class AllowanceKeeper:
    """Asks the limiter and keeps what is not spent yet. Lives on the engine's loop."""

    def __init__(
        self,
        limiter: Limiter,
        limits: Callable[[], Limits],
        demand: Callable[[Limits, int], Demand],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limiter = limiter
        self._limits = limits
        self._demand = demand  #: blocking: asked in the store thread
        self._clock = clock
        self._held: Counter[LimitKey] = Counter()
        self._lapse_at: dict[LimitKey, float] = {}
        self._wait_until: dict[LimitKey, float] = {}  #: limits with work and without tokens
        self._look_at = 0.0
        self._looked = self._asked = True

    async def before_claim(self, slots: int, session: SessionId, store: StoreCall) -> Allowances | None:
        """Return what the next claim may take from limited lanes; None when no limit is in force."""
        limits = self._limits()
        self._asked = bool(limits)
        if not limits:
            return None
        now = self._clock()
        self._let_lapse(limits, now)
        self._looked = now >= self._look_at
        if self._looked:
            self._look_at = now + LOOK_EVERY
            demand = await store(lambda: self._demand(limits, slots))
            await self._take(limits, demand, session)
        return Allowances(limits, {key: count for key, count in self._held.items() if count > 0})

    async def _take(self, limits: Limits, demand: Demand, session: SessionId) -> None:
        now = self._clock()
        self._wait_until = {key: until for key, until in self._wait_until.items() if key in demand.waiting}
        wanted: dict[Limit, int] = {}
        for key, rows in demand.waiting.items():
            missing = min(rows, int(limits.by_key[key].burst)) - self._held[key]
            if missing > 0 and self._wait_until.get(key, 0.0) <= now:
                wanted[limits.by_key[key]] = missing
        if wanted:
            grants = await self._limiter.take(wanted, demand.share_of(session))
            now = self._clock()
            for limit, grant in zip(wanted, grants, strict=True):
                self._keep(limit.key, grant, now)

    def _keep(self, key: LimitKey, grant: Grant, now: float) -> None:
        if grant.tokens:
            self._held[key] += grant.tokens
            self._lapse_at[key] = now + LAPSE
        if grant.wait:
            self._wait_until[key] = now + grant.wait
        else:
            self._wait_until.pop(key, None)

    def _let_lapse(self, limits: Limits, now: float) -> None:
        for key in [key for key in self._held if self._lapse_at[key] <= now or key not in limits.by_key]:
            del self._held[key], self._lapse_at[key]

    def spend(self, rows: Sequence[Claimed]) -> None:
        """Count what a claim took."""
        if self._held:
            limits = self._limits()
            for row in rows:
                key = limits.of_lane(row.tenant, row.channel, row.lane.target)
                if key is not None and key in self._held:
                    self._held[key] -= 1

    def patience(self, most: float) -> float:
        """How long the engine may sleep: until there are tokens for work that waits, and no longer than `most`."""
        if not self._asked:  # no limit, or every slot is busy: who frees one wakes the engine
            return most
        self._asked = False
        moments = list(self._wait_until.values())
        if not self._looked:  # a claim went by without looking; what it was woken for may be limited
            moments.append(self._look_at)
        if not moments:
            return most
        return min(most, max(SOON, min(moments) - self._clock(), self._look_at - self._clock()))

    async def close(self) -> None:
        """Close the limiter's connections."""
        await self._limiter.close()
