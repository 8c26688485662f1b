"""Which events wait for routing, and whose are taken next: tenants take turns.

The tenants that wait are found by one look at the index for each of them, however many events each of them has.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import chain, zip_longest

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    FromClause,
    Integer,
    RowMapping,
    ScalarSelect,
    Select,
    and_,
    bindparam,
    column,
    func,
    literal_column,
    select,
    true,
)

from notifier.core.ids import TenantId
from notifier.store.base import Base
from notifier.store.tables import events
from notifier.store.types import Word

_MOST = bindparam("most", type_=Integer())
_SHARE = bindparam("share", type_=Integer())
_ALL = true()


class UnroutedReads(Base):
    """Questions about them."""

    def count_unrouted(self) -> int:
        """How many accepted events wait for routing."""
        query = select(func.count()).select_from(events).where(_in_order(events))
        return int(self.connection.execute(query).scalar_one())

    def unrouted_since(self) -> datetime | None:
        """When the first event that waits for routing was received; None = nothing waits."""
        return self.connection.execute(_RECEIVED).scalar_one_or_none()


class UnroutedWrites(Base):
    """Taking them."""

    def next_unrouted(self, limit: int, shared: int) -> list[RowMapping]:
        """The next events, locked; other routers skip them. Of each subject only the first in line.

        One tenant alone may give `limit`. Several give `shared` together and at least one each, the tenant with the
        oldest event first: a transaction that others wait for is short. They come in turns, of each tenant the oldest.
        """
        tenants = [TenantId(row.tenant) for row in self.connection.execute(WAITING)]
        if not tenants:
            return []
        share = limit if len(tenants) == 1 else max(1, shared // len(tenants))
        rows = self._taken(tenants, share, limit)
        return _in_turns(tenants, rows)

    def _taken(self, tenants: Sequence[TenantId], share: int, limit: int) -> Sequence[RowMapping]:
        if self.on_postgresql:
            values = {"tenants": tenants, "share": share, "most": limit}
            return self.connection.execute(TAKE_OF_ALL, values).mappings().all()
        rows: list[RowMapping] = []
        for tenant in tenants:
            if room := limit - len(rows):
                rows += self.connection.execute(TAKE, {"owner": tenant, "share": min(share, room)}).mappings()
        return rows


def _in_turns(tenants: Sequence[TenantId], rows: Sequence[RowMapping]) -> list[RowMapping]:
    by_tenant: dict[str, list[RowMapping]] = {tenant: [] for tenant in tenants}
    for row in sorted(rows, key=lambda row: str(row["id"])):
        by_tenant[row["tenant"]].append(row)
    return [row for row in chain.from_iterable(zip_longest(*by_tenant.values())) if row is not None]


# -- the statements, built once --------------------------------------------------------------------------------------


def _waiting() -> Select[tuple[str, str]]:
    """Tenants with events to route, each with its oldest: by jumps from one tenant to the next in the index."""
    first = events.alias("first")
    start = select(_next(first.c.tenant, first).label("tenant"), _next(first.c.id, first).label("oldest"))
    jumps = start.cte("jumps", recursive=True)
    later = events.alias("later")
    beyond = later.c.tenant > jumps.c.tenant
    jump = select(_next(later.c.tenant, later, beyond, of=jumps), _next(later.c.id, later, beyond, of=jumps))
    jumps = jumps.union_all(jump.where(jumps.c.tenant.is_not(None)))
    return select(jumps.c.tenant, jumps.c.oldest).where(jumps.c.tenant.is_not(None)).order_by(jumps.c.oldest)


def _next(
    wanted: ColumnElement[str], table: FromClause, *beyond: ColumnElement[bool], of: FromClause | None = None
) -> ScalarSelect[str]:
    query = select(wanted).where(_in_order(table), *beyond)
    return query.order_by(table.c.tenant, table.c.id).limit(literal_column("1")).correlate(of).scalar_subquery()


def _in_order(table: FromClause) -> ColumnElement[bool]:
    """Not routed, in the words of the index in the order of ids (`UNROUTED_IN_ORDER`); no event has an empty id."""
    return and_(table.c.routed_at.is_(None), table.c.id != literal_column("''"))


def _of_subject(table: FromClause) -> ColumnElement[bool]:
    """Not routed, in the words of the index by subject (`UNROUTED_OF_SUBJECT`); no event has an empty subject."""
    return and_(table.c.routed_at.is_(None), table.c.subject != literal_column("''"))


def _first_in_line() -> ColumnElement[bool]:
    """Asked of each event by itself: of a join PostgreSQL may think that it is cheaper to compare all with all."""
    line = events.alias("line")
    same = and_(line.c.tenant == events.c.tenant, line.c.subject == events.c.subject, _of_subject(line))
    return events.c.sequence == select(func.min(line.c.sequence)).where(same).correlate(events).scalar_subquery()


def _take(tenant: ColumnElement[str]) -> Select[tuple[object, ...]]:
    """Written as a range: a planner that sees a single value walks all tenants' events in the order of their ids."""
    own = and_(events.c.tenant >= tenant, events.c.tenant <= tenant)
    unrouted = select(events).where(own, _in_order(events), _first_in_line())
    return unrouted.order_by(events.c.tenant, events.c.id).limit(_SHARE)


def _take_of_all() -> Select[tuple[object, ...]]:
    """PostgreSQL: those of many tenants in one statement. In no said order: a sort locks more rows than it returns."""
    of = (
        func.unnest(bindparam("tenants", type_=ARRAY(Word())))
        .table_valued(column("tenant", Word()))
        .render_derived("of")
    )
    taken = _take(of.c.tenant).correlate(of).with_for_update(skip_locked=True, key_share=True).lateral("taken")
    return select(taken).select_from(of.join(taken, true())).limit(_MOST)


WAITING = _waiting()
TAKE = _take(bindparam("owner", type_=Word()))
TAKE_OF_ALL = _take_of_all()
_OLDEST = _waiting().limit(1).subquery("first")
_RECEIVED = select(events.c.received_at).where(events.c.id == select(_OLDEST.c.oldest).scalar_subquery())
