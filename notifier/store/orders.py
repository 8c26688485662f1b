"""Orders with their versions, links, and the state of each person's number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select

from notifier.core.ids import DecisionId, LinkId, OrderId, RecipientKey, TenantId
from notifier.core.orders import Decision, NumberState, Order, OrderStatus
from notifier.core.records import LinkRow
from notifier.store.base import Base, chunks
from notifier.store.rows import decision_from, link_from, order_from, order_row
from notifier.store.tables import decisions, links, order_numbers, order_versions, orders


class OrderReads(Base):
    """What is ordered, by whom it may be decided, and where links point."""

    def order(self, tenant: TenantId, order_id: OrderId) -> Order | None:
        """One order with its newest data."""
        return next(iter(self._orders(and_(orders.c.tenant == tenant, orders.c.id == order_id))), None)

    def orders_by_number(self, tenant: TenantId, numbers: Sequence[str]) -> dict[str, Order]:
        """Newest order of each number."""
        found: dict[str, Order] = {}
        for some in chunks(list(numbers)):
            for order in self._orders(and_(orders.c.tenant == tenant, orders.c.number.in_(some))):
                found[order.number] = order  # sorted by id, so that the newest stays
        return found

    def _orders(self, condition: ColumnElement[bool]) -> list[Order]:
        same = and_(order_versions.c.order_id == orders.c.id, order_versions.c.version == orders.c.version)
        query = select(orders, order_versions.c.data).join(order_versions, same).where(condition).order_by(orders.c.id)
        return [order_from(row, row["data"]) for row in self.connection.execute(query).mappings()]

    def order_version(self, tenant: TenantId, order_id: OrderId, version: int) -> Mapping[str, Any] | None:
        """The order's data as it was in that version."""
        query = select(order_versions.c.data).where(
            order_versions.c.tenant == tenant,
            order_versions.c.order_id == order_id,
            order_versions.c.version == version,
        )
        return self.connection.execute(query).scalar_one_or_none()

    def decision(self, tenant: TenantId, decision_id: DecisionId) -> Decision | None:
        """One decision."""
        query = select(decisions).where(decisions.c.tenant == tenant, decisions.c.id == decision_id)
        row = self.connection.execute(query).mappings().one_or_none()
        return None if row is None else decision_from(row)

    def last_decision(self, tenant: TenantId, order_id: OrderId) -> Decision | None:
        """The order's newest decision, in force or undone."""
        mine = select(decisions).where(decisions.c.tenant == tenant, decisions.c.order_id == order_id)
        newest = mine.order_by(decisions.c.order_version.desc()).limit(1)
        row = self.connection.execute(newest).mappings().one_or_none()
        return None if row is None else decision_from(row)

    def times_undone(self, tenant: TenantId, order_id: OrderId) -> int:
        """How many decisions on the order were taken back."""
        mine = (decisions.c.tenant == tenant, decisions.c.order_id == order_id, decisions.c.undone_at.is_not(None))
        return self.connection.execute(select(func.count()).select_from(decisions).where(*mine)).scalar_one()

    def link(self, link_id: LinkId) -> LinkRow | None:
        """By id, for any tenant: the token's signature was verified before."""
        row = self.connection.execute(select(links).where(links.c.id == link_id)).mappings().one_or_none()
        return None if row is None else link_from(row)

    def link_by_code(self, code_hash: str) -> LinkRow | None:
        """By the hash of its short code."""
        row = self.connection.execute(select(links).where(links.c.code_hash == code_hash)).mappings().one_or_none()
        return None if row is None else link_from(row)

    def number_state(self, tenant: TenantId, order_id: OrderId, key: RecipientKey) -> NumberState | None:
        """How this person's number for this order derives, and how often it was got wrong."""
        return next(iter(self._numbers(and_(*_number_key(tenant, order_id, key)))), None)

    def open_numbers(self, tenant: TenantId, key: RecipientKey, now: datetime) -> list[NumberState]:
        """Numbers of this person's orders that can be answered, or whose answer can be undone."""
        pending = select(orders.c.id).where(orders.c.tenant == tenant, orders.c.status == OrderStatus.PENDING)
        undoable = select(decisions.c.order_id).where(decisions.c.tenant == tenant, decisions.c.final_at > now)
        ours = or_(order_numbers.c.order_id.in_(pending), order_numbers.c.order_id.in_(undoable))
        mine = and_(order_numbers.c.tenant == tenant, order_numbers.c.recipient_key == key)
        return self._numbers(and_(mine, ours))

    def _numbers(self, condition: ColumnElement[bool]) -> list[NumberState]:
        query = select(order_numbers).where(condition).order_by(order_numbers.c.order_id)
        return [
            NumberState(
                tenant=TenantId(row.tenant),
                order_id=OrderId(row.order_id),
                recipient_key=RecipientKey(row.recipient_key),
                round=row.round,
                key_id=row.key_id,
                wrong=row.wrong,
                last_nonce=row.last_nonce,
            )
            for row in self.connection.execute(query)
        ]


class OrderWrites(OrderReads):
    """Changes of orders happen inside the accept and act transactions."""

    def lock_order(self, tenant: TenantId, order_id: OrderId) -> Order | None:
        """Read an order for change."""
        # Locked first, read after: a joined read that waited would look for the new version in its old snapshot.
        lock = select(orders.c.id).where(orders.c.tenant == tenant, orders.c.id == order_id)
        self.connection.execute(self.locked(lock))
        return self.order(tenant, order_id)

    def save_order(self, order: Order) -> None:
        """Insert or update by id; keeps the data of each version."""
        self.upsert(orders, [order_row(order)], ["id"])
        data = order.data.model_dump(mode="json")
        version = {"tenant": order.tenant, "order_id": order.id, "version": order.version, "data": data}
        self.upsert(order_versions, [version], ["order_id", "version"])

    def save_number_state(self, state: NumberState) -> None:
        """Insert if absent: the first writer's number is the number."""
        self.insert_new(order_numbers, [asdict(state)])

    def revoke_links(self, tenant: TenantId, object: str, now: datetime) -> int:
        """Withdraw every link to an object."""
        mine = (links.c.tenant == tenant, links.c.object == object, links.c.revoked_at.is_(None))
        return self.connection.execute(links.update().where(*mine).values(revoked_at=now)).rowcount


def _number_key(tenant: TenantId, order_id: OrderId, key: RecipientKey) -> tuple[ColumnElement[bool], ...]:
    return (
        order_numbers.c.tenant == tenant,
        order_numbers.c.order_id == order_id,
        order_numbers.c.recipient_key == key,
    )
