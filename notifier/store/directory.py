"""Outlets, recipients in their roles, and addresses that must not be written to any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select

from notifier.core.ids import OutletCode, RecipientId, TenantId, new_id
from notifier.core.model import ChannelName, Contact, Outlet, Recipient
from notifier.store.base import Base, chunks
from notifier.store.tables import outlet_contacts, outlets, recipients, suppressions

OUTLET_FIELDS = tuple(field.name for field in fields(Outlet))


class DirectoryReads(Base):
    """Who is where."""

    def outlets(self, tenant: TenantId, codes: Sequence[OutletCode]) -> dict[OutletCode, Outlet]:
        """Outlets by code."""
        found: dict[OutletCode, Outlet] = {}
        for some in chunks(list(codes)):
            query = select(outlets).where(outlets.c.tenant == tenant, outlets.c.code.in_(some))
            for row in self.connection.execute(query).mappings():
                found[OutletCode(row["code"])] = Outlet(**{name: row[name] for name in OUTLET_FIELDS})
        return found

    def contacts(self, tenant: TenantId, codes: Sequence[OutletCode]) -> dict[OutletCode, list[Contact]]:
        """Contacts by outlet, in the order in which they were imported."""
        found: dict[OutletCode, list[Contact]] = {}
        for some in chunks(list(codes)):
            query = (
                select(outlet_contacts.c.outlet, outlet_contacts.c.role, recipients)
                .join(recipients, recipients.c.id == outlet_contacts.c.recipient_id)
                .where(outlet_contacts.c.tenant == tenant, recipients.c.tenant == tenant)
                .where(outlet_contacts.c.outlet.in_(some))
                .order_by(outlet_contacts.c.outlet, outlet_contacts.c.position, recipients.c.id)
            )
            for row in self.connection.execute(query):
                contact = Contact(_recipient(row), OutletCode(row.outlet), row.role)
                found.setdefault(contact.outlet, []).append(contact)
        return found

    def suppressed_addresses(self, tenant: TenantId) -> frozenset[tuple[ChannelName, str]]:
        """Addresses that asked or bounced."""
        query = select(suppressions.c.channel, suppressions.c.address).where(suppressions.c.tenant == tenant)
        return frozenset((ChannelName(channel), address) for channel, address in self.connection.execute(query))

    def outlet_countries(self, tenant: TenantId) -> frozenset[str]:
        """Where the tenant has outlets."""
        query = select(outlets.c.country).where(outlets.c.tenant == tenant, outlets.c.country != "").distinct()
        return frozenset(self.connection.execute(query).scalars())

    def roles(self, tenant: TenantId) -> frozenset[str]:
        """Roles that somebody has."""
        query = select(outlet_contacts.c.role).where(outlet_contacts.c.tenant == tenant).distinct()
        return frozenset(self.connection.execute(query).scalars())


class DirectoryWrites(DirectoryReads):
    """Import and suppression."""

    def save_outlets(self, new: Sequence[Outlet]) -> tuple[int, int]:
        """Upsert by (tenant, code); returns (created, changed)."""
        created = changed = 0
        for outlet in new:
            known = self.outlets(outlet.tenant, [outlet.code]).get(outlet.code)
            created += known is None
            changed += known is not None and known != outlet
            if known != outlet:
                self.upsert(outlets, [asdict(outlet)], ["tenant", "code"])
        return created, changed

    def save_contacts(self, contacts: Sequence[Contact]) -> tuple[int, int]:
        """Upsert each recipient by its normalised address, and its role at the outlet; returns (created, changed)."""
        created = changed = 0
        for position, contact in enumerate(contacts):
            person = contact.recipient
            known = self._known(person)
            if known is None:
                person_id = RecipientId(new_id())
                self.connection.execute(recipients.insert().values(_person_row(person, person_id)))
            else:
                person_id = known.id
            differs = known is not None and _facts(known) != _facts(person)
            if differs:
                query = recipients.update().where(recipients.c.id == person_id, recipients.c.tenant == person.tenant)
                self.connection.execute(query.values(_person_row(person, person_id)))
            fresh = self._place(contact, person_id, position)
            created += fresh
            changed += differs and not fresh
        return created, changed

    def _known(self, person: Recipient) -> Recipient | None:
        query = select(recipients).where(
            recipients.c.tenant == person.tenant, recipients.c.identity == (person.email or person.phone)
        )
        row = self.connection.execute(query).one_or_none()
        return None if row is None else _recipient(row)

    def _place(self, contact: Contact, person_id: RecipientId, position: int) -> bool:
        """Put the person into the role; returns whether that is new."""
        row = {
            "tenant": contact.recipient.tenant,
            "outlet": contact.outlet,
            "role": contact.role,
            "recipient_id": person_id,
        }
        table = outlet_contacts
        query = select(table.c.role).where(*(table.c[name] == value for name, value in row.items()))
        if self.connection.execute(query).one_or_none() is not None:
            return False
        self.connection.execute(table.insert().values(row | {"position": position}))
        return True

    def suppress_address(
        self, tenant: TenantId, channel: ChannelName, address: str, reason: str, now: datetime
    ) -> None:
        """Never write to that address again (until somebody removes the row)."""
        row = {"tenant": tenant, "channel": channel, "address": address, "reason": reason, "created_at": now}
        self.insert_new(suppressions, [row])


def _recipient(row: Row[*tuple[Any, ...]]) -> Recipient:
    return Recipient(
        id=RecipientId(row.id),
        tenant=TenantId(row.tenant),
        name=row.name,
        email=row.email,
        phone=row.phone,
        language=row.language,
        timezone=row.timezone,
        channels=tuple(ChannelName(name) for name in row.channels),
        active=row.active,
    )


def _facts(person: Recipient) -> dict[str, Any]:
    return {name: value for name, value in asdict(person).items() if name != "id"}


def _person_row(person: Recipient, person_id: RecipientId) -> dict[str, Any]:
    row = asdict(person) | {"id": person_id, "identity": person.email or person.phone}
    return row | {"channels": [channel.value for channel in person.channels]}
