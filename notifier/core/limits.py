"""Rates: which lanes share one, what a bucket of tokens gives, and what a claim may take. No I/O; time is handed in.

A rate is a token bucket: it fills with `rate` tokens a second up to `burst`, and one message costs one token. In any
window of t seconds it gives at most rate x t + burst. Lanes of a limit without tokens are simply not claimed, so
that waiting costs no attempt, no retry and no change of a row.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NewType

from notifier.core.ids import LaneId, SessionId, TenantId
from notifier.core.lanes import ReadyLane, shares
from notifier.core.model import ChannelName, Trust
from notifier.core.policy import Policy

LimitKey = NewType("LimitKey", str)  #: names a bucket, e.g. "email", "endpoint/acme/erp"

NEVER = datetime.min.replace(tzinfo=UTC)
DUST = 1e-9  #: what is lost in adding up fractions must not cost a token


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate and the lanes that share it."""

    key: LimitKey
    rate: float  #: messages per second
    channel: ChannelName
    tenants: frozenset[TenantId] = frozenset()  #: only lanes of these; () = of every tenant
    but: frozenset[TenantId] = frozenset()  #: not of these: they have a sender of their own
    target: str = ""  #: only lanes to this endpoint; "" = all of the channel

    @property
    def burst(self) -> float:
        """Most tokens that come together: those of one second, and at least one."""
        return max(1.0, self.rate)


@dataclass(frozen=True, slots=True)
class Limits:
    """Every limit in force. A lane has at most one."""

    by_key: Mapping[LimitKey, Limit] = field(default_factory=dict)
    _lanes: Mapping[tuple[ChannelName, TenantId | None, str], LimitKey] = field(default_factory=dict, repr=False)

    def __bool__(self) -> bool:
        return bool(self.by_key)

    def __iter__(self) -> Iterator[Limit]:
        return iter(self.by_key.values())

    def of_lane(self, tenant: TenantId, channel: ChannelName, target: str) -> LimitKey | None:
        """The limit of a lane; None = it has none."""
        endpoint = target if channel is ChannelName.CALLBACK else ""
        own = self._lanes.get((channel, tenant, endpoint))
        return own if own is not None else self._lanes.get((channel, None, endpoint))


def limits_of(found: Iterable[Limit]) -> Limits:
    """Put limits together, so that the one of a lane is found quickly."""
    every = list(found)
    lanes: dict[tuple[ChannelName, TenantId | None, str], LimitKey] = {}
    for limit in every:
        for tenant in limit.tenants or (None,):
            lanes[limit.channel, tenant, limit.target] = limit.key
    return Limits({limit.key: limit for limit in every}, lanes)


@dataclass(frozen=True, slots=True)
class AccountRates:
    """Messages per second that the providers' accounts of this deployment allow; 0 = no limit."""

    email: float = 0.0  #: all mail: there is one SMTP account
    sms: float = 0.0  #: of each sender: the deployment's, and every one that a tenant has of its own
    sms_from: str = ""  #: the deployment's sender


def limits_in(policy: Policy, rates: AccountRates) -> Limits:
    """Return the limits that follow from the configuration."""
    return limits_of([*_of_accounts(policy, rates), *_of_endpoints(policy)])


def _of_accounts(policy: Policy, rates: AccountRates) -> Iterator[Limit]:
    if rates.email:
        yield Limit(LimitKey("email"), rates.email, ChannelName.EMAIL)
    if rates.sms:
        senders: dict[str, set[TenantId]] = {}
        for tenant in policy.tenants.values():
            if tenant.sms_from and tenant.sms_from != rates.sms_from:
                senders.setdefault(tenant.sms_from, set()).add(tenant.id)
        own = frozenset(tenant for tenants in senders.values() for tenant in tenants)
        yield Limit(LimitKey("sms"), rates.sms, ChannelName.SMS, but=own)
        for sender, tenants in senders.items():
            name = hashlib.sha256(sender.encode()).hexdigest()[:16]  # a number is nothing to read in a key
            yield Limit(LimitKey(f"sms/{name}"), rates.sms, ChannelName.SMS, frozenset(tenants))


def _of_endpoints(policy: Policy) -> Iterator[Limit]:
    for tenant in policy.tenants.values():
        for endpoint in tenant.endpoints:
            if endpoint.rate:
                key = LimitKey(f"endpoint/{tenant.id}/{endpoint.name}")
                yield Limit(key, endpoint.rate, ChannelName.CALLBACK, frozenset({tenant.id}), target=str(endpoint.name))


# -- tokens ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Grant:
    """What a bucket gave."""

    tokens: int
    wait: float = 0.0  #: seconds until it has one more; 0 when everything asked for was given


@dataclass(frozen=True, slots=True)
class Share:
    """This worker session among those that live; `place` 0 is the oldest."""

    place: int = 0
    sessions: int = 1


@dataclass(slots=True)
class Bucket:
    """A bucket of tokens in this process; begins empty."""

    rate: float
    burst: float
    at: float  #: when `level` was true
    level: float = 0.0

    def take(self, wanted: int, now: float) -> Grant:
        """Take up to that many tokens."""
        self.level = min(self.burst, self.level + max(0.0, now - self.at) * self.rate)
        self.at = now
        given = min(wanted, math.floor(self.level + DUST))
        self.level = max(0.0, self.level - given)
        return Grant(given, 0.0 if given == wanted else (1.0 - self.level) / self.rate)

    def resize(self, rate: float, burst: float, now: float) -> None:
        """Go on with another rate; what is there and fits stays."""
        self.take(0, now)
        self.rate, self.burst, self.level = rate, burst, min(self.level, burst)


def local_share(limit: Limit, share: Share) -> tuple[float, float] | None:
    """(rate, burst) of one session when nobody counts for all of them; None = this one has to leave it to others.

    The shares of all sessions make up the limit and no more. A bucket of less than one token would never give any,
    so that of a small limit only as many sessions take part as it has whole tokens: of 1/s the oldest alone.
    """
    taking_part = min(share.sessions, math.floor(limit.burst + DUST))
    if share.place >= taking_part:
        return None
    return limit.rate / taking_part, limit.burst / taking_part


@dataclass(frozen=True, slots=True)
class Demand:
    """How much waits in lanes that have a limit, and who else is there to send it."""

    waiting: Mapping[LimitKey, int] = field(default_factory=dict)  #: due rows, counted no further than asked for
    sessions: Sequence[SessionId] = ()  #: those that live, the oldest first

    def share_of(self, session: SessionId) -> Share:
        """The place of a session among them; one that is not known is the last."""
        others = [other for other in self.sessions if other != session]
        place = self.sessions.index(session) if session in self.sessions else len(others)
        return Share(place, len(others) + 1)


# -- what a claim may take ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Allowances:
    """The limits in force and the tokens at hand; a limit that is not named has none."""

    limits: Limits
    tokens: Mapping[LimitKey, int]

    def exhausted(self) -> list[Limit]:
        """Limits whose lanes are left out."""
        return [limit for limit in self.limits if self.tokens.get(limit.key, 0) <= 0]


@dataclass(frozen=True, slots=True)
class Asking:
    """A lane and how many rows a claim would take from it if it had no limit."""

    tenant: TenantId
    channel: ChannelName
    target: str
    rank: int  #: of its priority; 0 = most urgent
    had_turn: datetime | None
    rows: int


def within(allowances: Allowances, lanes: Sequence[Asking]) -> list[int]:
    """Return how many rows each lane may give. Tenants take turns for the tokens of a limit that they share.

    Who had none of this limit for longest is first, whatever its other lanes had; of a tenant the urgent lanes are.
    """
    given = [lane.rows for lane in lanes]
    sharing: dict[LimitKey, list[int]] = {}
    for index, lane in enumerate(lanes):
        key = allowances.limits.of_lane(lane.tenant, lane.channel, lane.target)
        if key is not None:
            sharing.setdefault(key, []).append(index)
    for key, indices in sharing.items():
        order = _in_turn(lanes, indices)
        ready = [ReadyLane(LaneId(""), lanes[index].tenant, lanes[index].rows, Trust.PROVEN) for index in order]
        parts = shares(ready, allowances.tokens.get(key, 0), max(given))
        for index, part in zip(order, parts, strict=True):
            given[index] = part
    return given


def _in_turn(lanes: Sequence[Asking], indices: Sequence[int]) -> list[int]:
    waited: dict[TenantId, datetime] = {}
    for index in indices:
        lane = lanes[index]
        waited[lane.tenant] = max(waited.get(lane.tenant, NEVER), lane.had_turn or NEVER)
    return sorted(indices, key=lambda i: (waited[lanes[i].tenant], lanes[i].rank, lanes[i].had_turn or NEVER))
