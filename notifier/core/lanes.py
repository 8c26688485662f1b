"""How much a lane may have under way, and what the answers of its receiver change about that. Pure.

A lane is steady (no window), or proves itself: its in-flight window begins with one and doubles with each success
until it reaches the limit. Failures that speak of a receiver in trouble halve the window and, five in a row, open the
breaker: the lane rests for 30 s, twice as long after each vain probe, up to 10 min. What rests, whatever the reason,
comes back with one delivery under way; so the breaker's half-open state is nothing of its own: an open breaker whose
rest is over.

Whatever its receivers do, one tenant does not hold all slots of a worker: deliveries that each take half a minute and
succeed would leave none to the others.

With one delivery under way a lane is in doubt, until a success. Lanes in doubt share few slots: most of what they send
may be waiting in vain for receivers that are dead.

Lanes of the other priorities with the same receiver rest together. They prove themselves each on its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from notifier.core.ids import LaneId, TenantId
from notifier.core.model import ChannelName, DoubtfulSlots, LaneKey, LaneSign, Priority, Trust
from notifier.errors import DeliveryError

NEW_WINDOW = 1  #: under way at once in a lane that never had a success, or none for PROVEN_FOR; in doubt
TENANT_PART = 4  #: one slot in so many is for the other tenants
DOUBTFUL_PART = 4  #: lanes in doubt hold one slot in so many; those that failed half of that
SILENT = 1.0  #: seconds after which a delivery in doubt counts apart: for as many slots once more
FULL_WINDOW = 64  #: a lane without a limit is steady from here on
PROVEN_FOR = timedelta(hours=1)  #: a lane unused for longer proves itself anew: much may have happened to its receiver
OPENS_AFTER = 5  #: failures in a row
FIRST_REST = 30.0  #: seconds
LONGEST_REST = 600.0  #: seconds
#: Words of a failure that tell of the receiver and not of one message.
TROUBLES = frozenset(
    ("bad_answer", "connect", "connect_timeout", "cut", "dns", "gateway", "network", "overloaded", "timeout", "tls")
)


class Condition(StrEnum):
    """How a lane is at a moment, in the operator's words; the worst first."""

    OPEN = "breaker_open"  #: rests, since its receiver is in trouble
    RESTS = "rests"  #: since its receiver asked for that
    PROBES = "probes"  #: its breaker is open and its rest is over: one delivery at a time, until a success
    PROVES = "proves"  #: has a window
    STEADY = "steady"


@dataclass(frozen=True, slots=True)
class LaneState:
    """What the lane's row says. No window: steady, up to the limit; then there are no failures and nothing is open."""

    limit: int | None = None  #: most under way at once, as configured; None = any number
    window: int | None = None  #: most under way at once until it is proven
    failures: int = 0  #: in a row
    open: bool = False  #: the breaker; only a success closes it
    rest_until: datetime | None = None
    rest_reason: str | None = None

    @property
    def full(self) -> int:
        """Where the window ends."""
        return self.limit if self.limit is not None else FULL_WINDOW

    def rests(self, now: datetime) -> bool:
        """Whether nothing is claimed from it now."""
        return self.rest_until is not None and self.rest_until > now

    def condition(self, now: datetime) -> Condition:
        """How it is now."""
        if self.rests(now):
            return Condition.OPEN if self.open else Condition.RESTS
        if self.open:
            return Condition.PROBES
        return Condition.STEADY if self.window is None else Condition.PROVES


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane's row."""

    key: LaneKey
    state: LaneState


@dataclass(frozen=True, slots=True)
class LaneChange:
    """Lanes of one receiver came to rest together, or are back from their rest: told once, whatever it was about."""

    tenant: TenantId
    channel: ChannelName
    target: str
    priorities: tuple[Priority, ...]
    state: LaneState  #: of the first of them, now

    @property
    def rests(self) -> bool:
        """Whether they rest; else they are back."""
        return self.state.rest_until is not None


@dataclass(frozen=True, slots=True)
class Told:
    """What one attempt tells of its lane."""

    sign: LaneSign
    at: datetime
    reason: str | None = None
    rest_until: datetime | None = None  #: with BUSY: when the receiver wants to hear from us again
    chance: float = 0.5  #: uniform in [0, 1): spreads the probes of lanes that failed together


def sign_of(error: DeliveryError | None, channel: ChannelName) -> LaneSign:
    """Return what an answer (None: the receiver took it) tells of the lane."""
    if error is None:
        return LaneSign.WELL
    if getattr(error, "lane_wide", False):
        return LaneSign.BUSY
    if error.reason in TROUBLES:
        return LaneSign.TROUBLE
    if error.code is None:
        return LaneSign.NONE  # it never came to the receiver, for a reason of ours
    broken = channel is not ChannelName.EMAIL and len(error.code) == 3 and error.code.startswith("5")
    return LaneSign.TROUBLE if broken else LaneSign.WELL


def after(state: LaneState, told: Told) -> LaneState:
    """Return the lane's state after an answer. What was begun before a rest and ends in it says nothing new."""
    match told.sign:
        case LaneSign.BUSY if told.rest_until is not None:
            return rested(state, told.rest_until, told.reason)
        case LaneSign.WELL if not state.rests(told.at):
            return _grown(state)
        case LaneSign.TROUBLE if not state.rests(told.at):
            return _failed(state, told)
    return state


def rested(state: LaneState, until: datetime, reason: str | None) -> LaneState:
    """Return the lane at rest until then, or for longer if it rests longer already. It comes back gently."""
    longer = state.rest_until is not None and state.rest_until >= until
    if longer:
        until, reason = state.rest_until or until, state.rest_reason
    return replace(state, window=1, rest_until=until, rest_reason=reason)


def released(state: LaneState) -> LaneState:
    """Return the lane as it comes back when somebody ends its rest."""
    return replace(state, window=1, rest_until=None, rest_reason=None)


def beside(state: LaneState, sibling: LaneState) -> LaneState:
    """Return a lane as it stands after a lane with the same receiver came to rest."""
    if sibling.rest_until is None:
        return state
    at_rest = rested(state, sibling.rest_until, sibling.rest_reason)
    if not sibling.open:
        return at_rest
    return replace(at_rest, open=True, failures=max(state.failures, sibling.failures))


def turned(before: LaneState, now: LaneState, at: datetime) -> bool:
    """Whether an answer brought the lane to rest or back. One that only makes its rest longer is nothing new."""
    if now.rests(at):
        return not before.rests(at)
    return (before.open or before.rest_until is not None) and not now.open and now.rest_until is None


def _grown(state: LaneState) -> LaneState:
    if state.window is None:
        return state
    twice = 2 * state.window
    return LaneState(limit=state.limit, window=twice if twice < state.full else None)


def _failed(state: LaneState, told: Told) -> LaneState:
    failures = state.failures + 1
    half = max(1, min(state.full, state.window or state.full) // 2)
    failed = replace(state, failures=failures, window=half)
    if failures < OPENS_AFTER and not state.open:
        return failed
    rest = min(LONGEST_REST, FIRST_REST * 2.0 ** min(20, max(0, failures - OPENS_AFTER)))
    until = told.at + timedelta(seconds=rest * (0.75 + told.chance / 2))
    return replace(rested(failed, until, f"breaker: {told.reason}"), open=True)


@dataclass(frozen=True, slots=True)
class ReadyLane:
    """A lane with due rows, as a claim sees it."""

    id: LaneId
    tenant: TenantId
    room: int  #: how many more may be under way
    trust: Trust


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A delivery that holds a slot."""

    trust: Trust
    seconds: float  #: since it was claimed


def most_of_one_tenant(slots: int) -> int:
    """Return how many of a worker's slots one tenant may hold. At most one tenant is ever that far."""
    return slots - slots // TENANT_PART


def doubtful_slots(slots: int, under_way: Sequence[UnderWay]) -> DoubtfulSlots:
    """Return how many more of a worker's slots lanes in doubt may have.

    Those that failed have half, so that who is new gets a try however many are dead. A receiver that keeps silent makes
    the others wait only until it is known to be slow: then it holds one of as many slots once more.
    """
    doubtful = [one for one in under_way if one.trust is not Trust.PROVEN]
    failing = [one for one in doubtful if one.trust is Trust.FAILING]
    part = max(2, slots // DOUBTFUL_PART)  # with one, a slow one would keep all others from a try
    most = _left(part, doubtful)
    return DoubtfulSlots(most, min(most, _left(part // 2, failing)))


def silent_in(under_way: Sequence[UnderWay]) -> float | None:
    """Return the seconds until the next delivery in doubt counts apart; None = none will."""
    waits = (SILENT - one.seconds for one in under_way if one.trust is not Trust.PROVEN)
    return min((wait for wait in waits if wait > 0), default=None)


def _left(part: int, doubtful: Sequence[UnderWay]) -> int:
    silent = sum(one.seconds >= SILENT for one in doubtful)
    return max(0, part - (len(doubtful) - silent) - max(0, silent - part))


def shares(
    lanes: Sequence[ReadyLane],
    slots: int,
    per_lane: int,
    doubtful: DoubtfulSlots | None = None,
    room_of: Callable[[TenantId], int] | None = None,
) -> list[int]:
    """Return how many rows each lane may give. Tenants take turns, and of a tenant its lanes, in the order given.

    Lanes in doubt share what is kept for them: what waits for the dead takes no slot from the living.
    """
    given = [0] * len(lanes)
    left = {Trust.PROVEN: slots, Trust.NEW: slots, Trust.FAILING: slots}
    if doubtful is not None:
        left |= {Trust.NEW: doubtful.all, Trust.FAILING: min(doubtful.all, doubtful.failing)}
    tenants = deque(_by_tenant(lanes))
    rooms = {lane.tenant: slots if room_of is None else room_of(lane.tenant) for lane in lanes}
    while tenants and slots > 0:
        turn = tenants.popleft()
        index = turn.popleft()
        lane = lanes[index]
        if rooms[lane.tenant] <= 0:
            continue
        if given[index] < min(lane.room, per_lane) and left[lane.trust] > 0:
            given[index] += 1
            slots -= 1
            rooms[lane.tenant] -= 1
            _take(left, lane.trust)
            turn.append(index)
        if turn:
            tenants.append(turn)
    return given


def _take(left: dict[Trust, int], trust: Trust) -> None:
    """One slot. Who failed takes of what all in doubt have, and the other way round."""
    match trust:
        case Trust.NEW:
            left[Trust.NEW] -= 1
            left[Trust.FAILING] = min(left[Trust.FAILING], left[Trust.NEW])
        case Trust.FAILING:
            left[Trust.NEW] -= 1
            left[Trust.FAILING] -= 1


def _by_tenant(lanes: Sequence[ReadyLane]) -> Iterable[deque[int]]:
    tenants: dict[TenantId, deque[int]] = {}
    for index, lane in enumerate(lanes):
        tenants.setdefault(lane.tenant, deque()).append(index)
    return tenants.values()
