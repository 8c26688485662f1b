"""Outlets, recipients in their roles, and addresses that must not be written to any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import BindParameter, Row, Select, bindparam, select

from notifier.core.ids import OutletCode, RecipientId, TenantId, new_id
from notifier.core.model import ChannelName, Contact, Outlet, Recipient
from notifier.store.base import Base, chunks, each_of
from notifier.store.tables import outlet_contacts, outlets, recipients, suppressions

OUTLET_FIELDS = tuple(field.name for field in fields(Outlet))
_OWNER: BindParameter[str] = bindparam("owner")
_SUPPRESSED = select(suppressions.c.channel, suppressions.c.address).where(suppressions.c.tenant == _OWNER)


@cache
def _outlets(on_postgresql: bool) -> Select[Any]:
    query = select(*(outlets.c[name] for name in OUTLET_FIELDS)).where(outlets.c.tenant == _OWNER)
    return each_of(query, outlets.c.code, "codes", on_postgresql=on_postgresql)


@cache
def _contacts(on_postgresql: bool) -> Select[Any]:
    query = (
        select(outlet_contacts.c.outlet, outlet_contacts.c.role, outlet_contacts.c.position, recipients)
        .join(recipients, recipients.c.id == outlet_contacts.c.recipient_id)
        .where(outlet_contacts.c.tenant == _OWNER, recipients.c.tenant == _OWNER)
    )
    found = each_of(query, outlet_contacts.c.outlet, "codes", on_postgresql=on_postgresql)
    return found.order_by(*(found.selected_columns[name] for name in ("outlet", "position", "id")))


class DirectoryReads(Base):
    """Who is where."""

    def outlets(self, tenant: TenantId, codes: Sequence[OutletCode]) -> dict[OutletCode, Outlet]:
        """Outlets by code."""
        query = _outlets(self.on_postgresql)
        rows = self.connection.execute(query, {"owner": tenant, "codes": self._many(codes)}) if codes else ()
        return {OutletCode(row.code): Outlet(**{name: getattr(row, name) for name in OUTLET_FIELDS}) for row in rows}

    def contacts(self, tenant: TenantId, codes: Sequence[OutletCode]) -> dict[OutletCode, list[Contact]]:
        """Contacts by outlet, in the order in which they were imported."""
        query = _contacts(self.on_postgresql)
        rows = self.connection.execute(query, {"owner": tenant, "codes": self._many(codes)}) if codes else ()
        found: dict[OutletCode, list[Contact]] = {}
        for row in rows:
            contact = Contact(_recipient(row), OutletCode(row.outlet), row.role)
            found.setdefault(contact.outlet, []).append(contact)
        return found

    def suppressed_addresses(self, tenant: TenantId) -> frozenset[tuple[ChannelName, str]]:
        """Addresses that asked or bounced."""
        found = self.connection.execute(_SUPPRESSED, {"owner": tenant})
        return frozenset((ChannelName(channel), address) for channel, address in found)

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
        known = {
            (tenant, code): outlet
            for tenant in {outlet.tenant for outlet in new}
            for code, outlet in self.outlets(tenant, [one.code for one in new if one.tenant == tenant]).items()
        }
        for outlet in new:
            before = known.get((outlet.tenant, outlet.code))
            created += before is None
            changed += before is not None and before != outlet
            if before != outlet:
                self.upsert(outlets, [asdict(outlet)], ["tenant", "code"])
                known[outlet.tenant, outlet.code] = outlet
        return created, changed

    def save_contacts(self, contacts: Sequence[Contact]) -> tuple[int, int]:
        """Upsert each recipient by its normalised address, and its role at the outlet; returns (created, changed)."""
        created = changed = 0
        for tenant in dict.fromkeys(contact.recipient.tenant for contact in contacts):
            mine = [contact for contact in contacts if contact.recipient.tenant == tenant]
            known, places = self._people(tenant, mine), self._places(tenant, mine)
            for position, contact in enumerate(mine):
                differs = self._save_person(contact.recipient, known)
                fresh = self._place(contact, known[_identity(contact.recipient)].id, places, position)
                created += fresh
                changed += differs and not fresh
        return created, changed

    def _people(self, tenant: TenantId, contacts: Sequence[Contact]) -> dict[str, Recipient]:
        """Who of these is known already, by address."""
        found: dict[str, Recipient] = {}
        for some in chunks(sorted({_identity(contact.recipient) for contact in contacts})):
            query = select(recipients).where(recipients.c.tenant == tenant, recipients.c.identity.in_(some))
            found |= {row.identity: _recipient(row) for row in self.connection.execute(query)}
        return found

    def _places(self, tenant: TenantId, contacts: Sequence[Contact]) -> set[tuple[str, str, str]]:
        """(outlet, role, recipient id) of everybody at the outlets of these."""
        table, found = outlet_contacts, set()
        for some in chunks(sorted({contact.outlet for contact in contacts})):
            query = select(table.c.outlet, table.c.role, table.c.recipient_id).where(
                table.c.tenant == tenant, table.c.outlet.in_(some)
            )
            found |= {(row.outlet, row.role, row.recipient_id) for row in self.connection.execute(query)}
        return found

    def _save_person(self, person: Recipient, known: dict[str, Recipient]) -> bool:
        """Insert or update; returns whether a known person changed."""
        before = known.get(_identity(person))
        if before is not None and _facts(before) == _facts(person):
            return False
        person_id = RecipientId(new_id()) if before is None else before.id
        row = _person_row(person, person_id)
        if before is None:
            self.connection.execute(recipients.insert().values(row))
        else:
            query = recipients.update().where(recipients.c.id == person_id, recipients.c.tenant == person.tenant)
            self.connection.execute(query.values(row))
        known[_identity(person)] = replace(person, id=person_id)
        return before is not None

    def _place(
        self, contact: Contact, person_id: RecipientId, places: set[tuple[str, str, str]], position: int
    ) -> bool:
        """Put the person into the role; returns whether that is new."""
        place = (contact.outlet, contact.role, person_id)
        if place in places:
            return False
        places.add(place)
        row = {
            "tenant": contact.recipient.tenant,
            "outlet": contact.outlet,
            "role": contact.role,
            "recipient_id": person_id,
            "position": position,
        }
        self.connection.execute(outlet_contacts.insert().values(row))
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


def _identity(person: Recipient) -> str:
    """What a person is known by."""
    return person.email or person.phone


def _facts(person: Recipient) -> dict[str, Any]:
    return {name: value for name, value in asdict(person).items() if name != "id"}


def _person_row(person: Recipient, person_id: RecipientId) -> dict[str, Any]:
    row = asdict(person) | {"id": person_id, "identity": _identity(person)}
    return row | {"channels": [channel.value for channel in person.channels]}
