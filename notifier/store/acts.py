"""act: decisions, wrong numbers, audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import select

from notifier.core.ids import OrderId, RecipientKey, TenantId
from notifier.core.orders import Decision
from notifier.core.records import AuditEntry
from notifier.store.base import Base
from notifier.store.rows import decision_from
from notifier.store.tables import audit, decisions, order_numbers


class ActWrites(Base):
    """What people do by link."""

    def decision_by_nonce(self, tenant: TenantId, order_id: OrderId, nonce: str) -> Decision | None:
        """The decision that this very form led to before."""
        query = select(decisions).where(
            decisions.c.tenant == tenant, decisions.c.order_id == order_id, decisions.c.nonce == nonce
        )
        row = self.connection.execute(query).mappings().one_or_none()
        return None if row is None else decision_from(row)

    def decision_by_undo_nonce(self, tenant: TenantId, order_id: OrderId, nonce: str) -> Decision | None:
        """The decision that this very form took back before."""
        query = select(decisions).where(
            decisions.c.tenant == tenant, decisions.c.order_id == order_id, decisions.c.undo_nonce == nonce
        )
        row = self.connection.execute(query).mappings().one_or_none()
        return None if row is None else decision_from(row)

    def save_undo(self, decision: Decision) -> None:
        """Who took the decision back, when and by which form."""
        mine = (decisions.c.tenant == decision.tenant, decisions.c.id == decision.id, decisions.c.undone_at.is_(None))
        facts = {name: getattr(decision, name) for name in ("undone_at", "undone_by", "undone_via", "undo_nonce")}
        self.connection.execute(decisions.update().where(*mine).values(facts))

    def save_decision(self, decision: Decision) -> bool:
        """Insert; False when this form, or somebody else, decided the order before (unique indexes say so)."""
        row = asdict(decision) | {"quantities": dict(decision.quantities), "action": decision.action.value}
        self.insert_new(decisions, [row])
        query = select(decisions.c.id).where(decisions.c.tenant == decision.tenant, decisions.c.id == decision.id)
        return self.connection.execute(query).one_or_none() is not None

    def count_wrong_number(self, tenant: TenantId, order_id: OrderId, key: RecipientKey, nonce: str, limit: int) -> int:
        """One conditional UPDATE, so that tries in parallel cannot share a count; a doubled form counts once."""
        mine = (
            order_numbers.c.tenant == tenant,
            order_numbers.c.order_id == order_id,
            order_numbers.c.recipient_key == key,
        )
        table = order_numbers
        query = table.update().where(*mine, table.c.wrong < limit, table.c.last_nonce != nonce)
        self.connection.execute(query.values(wrong=table.c.wrong + 1, last_nonce=nonce))
        return int(self.connection.execute(select(table.c.wrong).where(*mine)).scalar_one_or_none() or 0)

    def save_audit(self, entries: Sequence[AuditEntry]) -> None:
        """Append."""
        if entries:
            rows = [asdict(entry) | {"detail": dict(entry.detail)} for entry in entries]
            self.connection.execute(audit.insert(), rows)
