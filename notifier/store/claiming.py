"""claim: due rows become a session's, fair by tenant. Never waits for a lock (SKIP LOCKED on PostgreSQL).

Who is next is asked of the lane rows alone, however many notifications wait. Only lanes that get a turn are locked, so
that two claims at once find different ones; what a lane may still have under way is counted from its rows after that,
over all sessions: there is no counter that could drift.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from itertools import product
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    CursorResult,
    Integer,
    Row,
    Select,
    Subquery,
    and_,
    bindparam,
    case,
    column,
    exists,
    func,
    literal_column,
    or_,
    select,
    true,
    type_coerce,
)

from notifier.core.ids import LaneId, NotificationId, SessionId, TenantId
from notifier.core.lanes import PROVEN_FOR, ReadyLane, shares
from notifier.core.limits import Allowances, Asking, within
from notifier.core.model import (
    ChannelName,
    Claimed,
    ClaimRequest,
    Claims,
    DoubtfulSlots,
    NotificationStatus,
    Priority,
    Trust,
)
from notifier.store.base import Base, chunks
from notifier.store.lanes import DUE, refresh_lanes, window_from
from notifier.store.limiting import OUTSIDE, named
from notifier.store.rows import claimed_from
from notifier.store.switches import SwitchWrites, any_kind_off, no_lane_switch
from notifier.store.tables import lanes, messages, notifications, workers
from notifier.store.types import Id, UtcTime, Word

ANY_NUMBER = 1_000_000  #: where nothing limits
#: Of a tenant's lanes the urgent first, equals in turn: in one number, since a claim sorts all ready lanes by it.
A_RANK = literal_column(str(10**17), BigInteger())  #: microseconds: later than any turn
RANK = case((lanes.c.priority == Priority.HIGH.value, 0), (lanes.c.priority == Priority.NORMAL.value, 1), else_=2)
URGENCY = func.coalesce(type_coerce(lanes.c.claimed_at, BigInteger), 0) + A_RANK * RANK
CLAIMED = literal_column(f"'{NotificationStatus.CLAIMED}'", Word())  #: written out for the same reason as DUE
NOW = bindparam("now", type_=UtcTime)
STALE = bindparam("stale", type_=UtcTime)
WINDOW = window_from(STALE)
LIMIT = func.coalesce(lanes.c.in_flight_limit, ANY_NUMBER)
CEILING = case((WINDOW < LIMIT, WINDOW), else_=LIMIT)  #: most rows of the lane under way at once
DOUBT = case((lanes.c.failures > 0, Trust.FAILING.value), else_=Trust.NEW.value)
TRUST = case((WINDOW == 1, DOUBT), else_=Trust.PROVEN.value)


_MINE = lanes.c.channel.in_(bindparam("channels", expanding=True))


class ClaimReads(Base):
    """Who is left."""

    def what_is_left(self, request: ClaimRequest, now: datetime) -> Claims:
        """What a claim says that brings nothing: whether another one would, or a free slot, and until when not."""
        left = self.connection.execute(_LEFT[_kind(request)], _facts(request, now)).one()
        wakes_in = None if left.wakes is None else (left.wakes - now).total_seconds()
        return Claims((), bool(left.ready), bool(left.more), wakes_in)


class ClaimWrites(SwitchWrites, ClaimReads):
    """Who is next."""

    def claim(self, request: ClaimRequest, now: datetime) -> Claims:
        """Take due rows: ready lanes round-robin by tenant, at most `per_lane` from each, the oldest first.

        A session that was buried gets nothing. With rows it is not asked what is left: they are to go out first.
        """
        query = (_LOCKED if self.on_postgresql else _PLACED)[_kind(request)]
        ready = self.connection.execute(query, _facts(request, now)).all()
        wanted = shares(_ready(ready), request.slots, request.per_lane, request.doubtful, request.room_of)
        given = _within(request.allowances, ready, wanted)
        taken = self._take(ready, given, now)
        if any(row.kind_off for row in ready):
            taken = self.hold_stopped(taken)
        rows = self._claimed(taken, request.session, {row.id: Trust(row.trust) for row in ready})
        # A lane for which no slot or no token was left had no turn: it goes on waiting longest.
        turns = [LaneId(row.id) for row, share in zip(ready, given, strict=True) if share]
        refresh_lanes(self.connection, turns, now)
        return Claims(tuple(rows), left=True) if rows else self.what_is_left(request, now)

    def _take(self, ready: Sequence[Row[Any]], given: Sequence[int], now: datetime) -> list[NotificationId]:
        asked = [(row, share) for row, share in zip(ready, given, strict=True) if share]
        if not asked:
            return []
        if not self.on_postgresql:  # alone in the database: the room is what it was
            found = [self.connection.execute(_DUE, {"lane": row.id, "most": share, "now": now}) for row, share in asked]
            return [NotificationId(row.id) for rows in found for row in rows]
        values = {
            "lanes": [row.id for row, _ in asked],
            "shares": [share for _, share in asked],
            "ceilings": [row.ceiling for row, _ in asked],
            "most": max(given),
            "now": now,
        }
        return [NotificationId(row.id) for row in self.connection.execute(_DUE_OF_ALL, values)]

    def _claimed(
        self, taken: Sequence[NotificationId], session: SessionId, trust: Mapping[str, Trust]
    ) -> list[Claimed]:
        found: dict[str, Claimed] = {}
        for some in chunks(taken):
            for row in self._marked(some, session).mappings():
                if row["context"] is not None:
                    found[row["id"]] = claimed_from(row, session, trust[row["lane_id"]])
        self._fail_without_message([lost for lost in taken if lost not in found])
        return _interleaved([found[notification] for notification in taken if notification in found])

    def _marked(self, some: Sequence[NotificationId], session: SessionId) -> CursorResult[Any]:
        """Theirs from now on, with what is needed to send them; PostgreSQL does both in one statement."""
        if self.on_postgresql:
            return self.connection.execute(_MARK_AND_TELL, {"taken": some, "holder": session})
        self.connection.execute(_MARK, {"taken": some, "holder": session})
        return self.connection.execute(_CONTENT, {"taken": some})

    def _fail_without_message(self, lost: Sequence[NotificationId]) -> None:
        """A row whose content is gone can never be sent: it ends here, and does not stop its neighbours."""
        for some in chunks(lost):
            values = {"status": NotificationStatus.FAILED, "reason": "no_message", "claimed_by": None}
            self.connection.execute(notifications.update().where(notifications.c.id.in_(some)).values(values))


def _facts(request: ClaimRequest, now: datetime) -> dict[str, Any]:
    return {
        "now": now,
        "stale": now - PROVEN_FOR,
        "session": request.session,
        "channels": [name.value for name in request.channels],
        "full": next((tenant for tenant in request.held if not request.room_of(tenant)), None),
        "most_doubtful": _most(request).all,
        "most_failing": _most(request).failing,
        "slots": request.slots,
        **(named(request.allowances.exhausted()) if request.allowances is not None else {}),
    }


def _ready(rows: Sequence[Row[Any]]) -> list[ReadyLane]:
    return [ReadyLane(LaneId(r.id), TenantId(r.tenant), r.room, Trust(r.trust)) for r in rows]


def _interleaved(rows: Sequence[Claimed]) -> list[Claimed]:
    """The first of every lane, then the second of every lane...: in this order they are prepared and sent."""
    seen = Counter[LaneId]()
    places: list[int] = []
    for row in rows:
        places.append(seen[row.lane_id])
        seen[row.lane_id] += 1
    return [row for _, row in sorted(zip(places, rows, strict=True), key=itemgetter(0))]


def _within(allowances: Allowances | None, rows: Sequence[Row[Any]], wanted: Sequence[int]) -> Sequence[int]:
    """The shares, cut to the tokens of rate limits."""
    if allowances is None:
        return wanted
    asking = [
        Asking(TenantId(row.tenant), ChannelName(row.channel), row.target, row.rank, row.claimed_at, share)
        for row, share in zip(rows, wanted, strict=True)
    ]
    return within(allowances, asking)


class Gate(Enum):
    """Which lanes get in. SOME costs one more sort of all ready lanes: asked for only when it matters."""

    ALL = "all"
    PROVEN = "proven"
    SOME = "some"  #: as many in doubt as there are slots kept for such


def _gate(request: ClaimRequest) -> Gate:
    most = _most(request)
    if min(most.all, most.failing) >= request.slots:
        return Gate.ALL
    return Gate.SOME if most.all else Gate.PROVEN


def _kind(request: ClaimRequest) -> tuple[bool, Gate]:
    return request.allowances is not None, _gate(request)


def _most(request: ClaimRequest) -> DoubtfulSlots:
    return request.doubtful or DoubtfulSlots(ANY_NUMBER, ANY_NUMBER)


# -- the statements, built once --------------------------------------------------------------------------------------


def _awake() -> ColumnElement[bool]:
    return and_(lanes.c.next_due_at <= NOW, or_(lanes.c.paused_until.is_(None), lanes.c.paused_until <= NOW))


def _alive_and_due(lane: ColumnElement[str]) -> ColumnElement[bool]:
    table = notifications
    alive = or_(table.c.expires_at.is_(None), table.c.expires_at > NOW)
    return and_(table.c.lane_id == lane, table.c.status == DUE, table.c.due_at <= NOW, alive)


def _placed(*, limited: bool, gate: Gate) -> Select[Any]:
    """Lanes with due rows and room for them, those to be served first. Tenants take turns, who waited longest first.

    Of a tenant's lanes the urgent come first, equals in turn. The turns are kept in the lanes themselves: a claim is
    often for one free slot, and a flood with the oldest rows must not win every one of them.
    """
    table = notifications
    under_way = (
        select(table.c.lane_id, func.count().label("held"))
        .where(table.c.status == CLAIMED)
        .group_by(table.c.lane_id)
        .subquery("under_way")
    )
    ready = (
        select(
            lanes.c.id,
            lanes.c.tenant,
            lanes.c.channel,
            lanes.c.target,
            RANK.label("rank"),
            URGENCY.label("urgency"),
            lanes.c.claimed_at,
            lanes.c.next_due_at,
            TRUST.label("trust"),
            CEILING.label("ceiling"),
            (CEILING - func.coalesce(under_way.c.held, 0)).label("room"),
        )
        .join(under_way, under_way.c.lane_id == lanes.c.id, isouter=True)
        .where(_awake(), _MINE, no_lane_switch())
        .where(lanes.c.tenant.is_distinct_from(bindparam("full", type_=Word())))
        .where(OUTSIDE if limited else true())
        .where(exists().where(workers.c.id == bindparam("session", type_=Id())))
        .subquery("ready")
    )
    among = [ready.c.urgency, ready.c.next_due_at]
    turns = (
        select(
            ready,
            func.row_number().over(partition_by=ready.c.tenant, order_by=among).label("turn"),
            func.max(ready.c.claimed_at).over(partition_by=ready.c.tenant).label("waited"),
        )
        .where(ready.c.room > 0, true() if gate is not Gate.PROVEN else ready.c.trust == Trust.PROVEN.value)
        .subquery("turns")
    )
    places = _with_places(turns) if gate is Gate.SOME else turns
    query = select(places, any_kind_off().label("kind_off"))
    if gate is Gate.SOME:
        query = query.where(places.c.place <= _most_of(places.c.trust))
    return query.order_by(*_in_turn(places)).limit(bindparam("slots", type_=Integer()))


def _with_places(turns: Subquery) -> Subquery:
    """Numbered, those proven, those in doubt and, of them, those that failed apart."""
    place = func.row_number().over(partition_by=turns.c.trust, order_by=_in_turn(turns))
    return select(turns, place.label("place")).subquery("places")


def _most_of(trust: ColumnElement[int]) -> ColumnElement[int]:
    """So many lanes of a kind can get a turn."""
    few = {
        Trust.NEW.value: bindparam("most_doubtful", type_=Integer()),
        Trust.FAILING.value: bindparam("most_failing", type_=Integer()),
    }
    return case(few, value=trust, else_=bindparam("slots", type_=Integer()))


def _in_turn(turns: Subquery) -> list[ColumnElement[Any]]:
    return [turns.c.turn, turns.c.waited.nulls_first(), turns.c.next_due_at]


def _locked(*, limited: bool, gate: Gate) -> Select[Any]:
    """The same, each lane locked and looked at once more; lanes that another claim holds are left out."""
    places = _PLACED[limited, gate].limit(None).subquery("placed")
    now = (lanes.c.id, lanes.c.tenant, lanes.c.channel, lanes.c.target)  # not as they were before the lock
    state = (TRUST.label("trust"), CEILING.label("ceiling"), lanes.c.claimed_at)
    seen = (places.c.room, places.c.rank, places.c.kind_off)
    query = (
        select(*now, *state, *seen).join(places, lanes.c.id == places.c.id).where(_awake()).order_by(*_in_turn(places))
    )
    some = query.limit(bindparam("slots", type_=Integer()))
    return some.with_for_update(of=lanes, skip_locked=True, key_share=True)


def _due_of_all() -> Select[Any]:
    """PostgreSQL: the due rows of many lanes in one statement, locked; rows that somebody else holds are left out.

    The inner limit is a plain number for the planner; the outer one is the lane's share, and its room as it is now
    that the lane is locked.
    """
    table = notifications
    wanted = (
        func.unnest(
            bindparam("lanes", type_=ARRAY(Word())),
            bindparam("shares", type_=ARRAY(Integer())),
            bindparam("ceilings", type_=ARRAY(Integer())),
        )
        .table_valued(
            column("lane", Word()), column("share", Integer()), column("ceiling", Integer()), with_ordinality="place"
        )
        .render_derived("wanted")
    )
    under_way = and_(table.c.lane_id == wanted.c.lane, table.c.status == CLAIMED)
    held = select(func.count()).select_from(table).where(under_way).correlate(wanted).scalar_subquery()
    room = func.greatest(0, func.least(wanted.c.share, wanted.c.ceiling - held))
    oldest = (
        select(table.c.id, table.c.due_at)
        .where(_alive_and_due(wanted.c.lane))
        .correlate(wanted)
        .order_by(table.c.due_at)
        .limit(bindparam("most", type_=Integer()))
        .with_for_update(skip_locked=True, key_share=True)
        .lateral("oldest")
    )
    some = select(oldest.c.id, oldest.c.due_at).limit(room).correlate(wanted).lateral("some")
    return select(some.c.id).select_from(wanted.join(some, true())).order_by(wanted.c.place, some.c.due_at)


def _left(placed: Select[Any]) -> Select[Any]:
    """After a claim: whether it could have gone on, whether any lane is ready, and when the next one wakes up."""
    ready = exists().where(_awake(), _MINE)
    wakes = case((lanes.c.paused_until > lanes.c.next_due_at, lanes.c.paused_until), else_=lanes.c.next_due_at)
    next_one = select(func.min(wakes)).where(wakes > NOW).scalar_subquery()
    return select(
        placed.limit(literal_column("1", Integer())).exists().label("more"),
        ready.label("ready"),
        next_one.label("wakes"),
    )


#: With and without rate limits in force.
_KINDS = list(product((False, True), Gate))
_PLACED = {(limited, gate): _placed(limited=limited, gate=gate) for limited, gate in _KINDS}
_LEFT = {kind: _left(placed) for kind, placed in _PLACED.items()}
_LOCKED = {(limited, gate): _locked(limited=limited, gate=gate) for limited, gate in _KINDS}
_DUE = (
    select(notifications.c.id)
    .where(_alive_and_due(bindparam("lane", type_=Id())))
    .order_by(notifications.c.due_at)
    .limit(bindparam("most", type_=Integer()))
)
_DUE_OF_ALL = _due_of_all()
_FACTS = [
    *(
        notifications.c[name]
        for name in (
            "id",
            "tenant",
            "event_id",
            "kind",
            "channel",
            "purpose",
            "address",
            "recipient_key",
            "lane_id",
            "message_id",
            "tries",
            "waits",
            "created_at",
            "expires_at",
            "last_outcome",
        )
    ),
    *(lanes.c[name] for name in ("priority", "target")),
    *(messages.c[name] for name in ("locale", "template_hash", "context")),
]
_MARKED = {"status": NotificationStatus.CLAIMED.value, "claimed_by": bindparam("holder", type_=Id())}
_MARK = notifications.update().where(notifications.c.id.in_(bindparam("taken", expanding=True))).values(_MARKED)
_CONTENT = (
    select(*_FACTS)
    .join(lanes, lanes.c.id == notifications.c.lane_id)
    .join(messages, messages.c.id == notifications.c.message_id, isouter=True)
    .where(notifications.c.id.in_(bindparam("taken", expanding=True)))
)
#: A row whose message is gone is not marked, and so not told: the caller ends it.
_MARK_AND_TELL = (
    notifications.update()
    .where(
        notifications.c.id == func.any(bindparam("taken", type_=ARRAY(Id()))),
        lanes.c.id == notifications.c.lane_id,
        messages.c.id == notifications.c.message_id,
    )
    .values(_MARKED)
    .returning(*_FACTS)
)
