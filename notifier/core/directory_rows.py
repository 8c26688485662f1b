"""Rows of a directory file → outlets and contacts. Pure; a bad row is a value, so that the good ones are imported.

Column names are Coolr's (Outlet and User import); spaces and case do not matter. Time zones may be IANA names or the
Windows-style names that Coolr uses ("Pacific Standard Time"; Unicode CLDR, windowsZones, as Babel carries it).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from zoneinfo import available_timezones

import phonenumbers
from babel.core import get_global

from notifier.core.addresses import AddressError, normalise_email, normalise_phone
from notifier.core.clean import one_line
from notifier.core.formatting import is_language
from notifier.core.ids import OutletCode, RecipientId
from notifier.core.model import ChannelName, Contact, Outlet, Recipient
from notifier.core.policy import TenantPolicy, role_slug

#: Ours → names a column may have.
OUTLET_COLUMNS = {
    "code": ("code", "locationcode", "outletcode"),
    "name": ("name", "location", "outlet"),
    "external_code": ("externallocationcode", "externalcode"),
    "street": ("street",),
    "city": ("city",),
    "postal_code": ("postalcode", "zip"),
    "country": ("country", "countrycode"),
    "timezone": ("timezone",),
    "language": ("language",),
    "phone": ("primaryphone", "phone"),
    "market": ("market", "marketname"),
    "channel": ("channel", "locationtype"),
    "classification": ("classification",),
    "active": ("active", "isactive"),
    "ordering_paused": ("orderingpaused", "suggestedorderingpaused"),
}
CONTACT_COLUMNS = {
    "outlet": ("outletcode", "locationcode", "code"),
    "role": ("role",),
    "name": ("name", "firstname"),
    "last_name": ("lastname",),
    "email": ("email", "primaryemail"),
    "phone": ("phone", "primaryphone"),
    "language": ("language",),
    "wants": ("preferrednotificationtype",),
    "active": ("active", "isactive"),
}
#: Words of "Preferred Notification Type", Coolr's own among them; () = whatever the rules say.
WANTED: Mapping[str, tuple[ChannelName, ...]] = {
    "email": (ChannelName.EMAIL,),
    "sms": (ChannelName.SMS,),
    "text": (ChannelName.SMS,),
    "both": (ChannelName.EMAIL, ChannelName.SMS),
    "preferred": (),
    "mobilenotification": (),
}
NEEDED = {False: ("code", "name"), True: ("outlet", "role")}  #: columns of outlets and of contacts
MOST_NUMBER = 10**15  #: a whole number in JSON that may be a code or a phone number
TITLES = {"code": "Code", "name": "Name", "outlet": "OutletCode", "role": "Role"}
_TRUE, _FALSE = {"yes", "true", "1", "y"}, {"no", "false", "0", "n"}


@dataclass(frozen=True, slots=True)
class RowProblem:
    """Why a row was not imported."""

    row: int  #: as a person counts in the file, the heading included
    column: str
    reason: str

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {"row": self.row, "column": self.column, "reason": self.reason}


class _Bad(Exception):
    def __init__(self, column: str, reason: str) -> None:
        super().__init__(reason)
        self.column = column
        self.reason = reason


def is_contacts(names: Sequence[str]) -> bool:
    """Whether a table with these columns holds contacts (else outlets)."""
    return "role" in {_plain(name) for name in names}


def heading_problem(names: Sequence[str]) -> str | None:
    """What makes a table with these columns unusable: a needed one is missing, or two mean the same."""
    contacts = is_contacts(names)
    columns, plain = CONTACT_COLUMNS if contacts else OUTLET_COLUMNS, [_plain(name) for name in names]
    if twice := next((name for name, one in zip(names, plain, strict=True) if one and plain.count(one) > 1), None):
        return f"two columns are named {twice!r}"
    for ours in NEEDED[contacts]:
        if not set(columns[ours]) & set(plain):
            of = "contacts" if contacts else "outlets (a table with a column Role would hold contacts)"
            return f"no column {TITLES[ours]}; it is needed for {of}"
    return None


def ignored(names: Sequence[str]) -> list[str]:
    """Columns that are not read."""
    columns = CONTACT_COLUMNS if is_contacts(names) else OUTLET_COLUMNS
    read = {name for known in columns.values() for name in known}
    return [name for name in names if _plain(name) not in read]


def outlet_of(row: Mapping[str, Any]) -> OutletCode:
    """The outlet that a row of contacts names; "" for none."""
    try:
        return OutletCode(_named(row, {"outlet": CONTACT_COLUMNS["outlet"]})["outlet"])
    except _Bad:
        return OutletCode("")


def read_outlet(row: Mapping[str, Any], number: int, policy: TenantPolicy) -> Outlet | RowProblem:
    """Return the outlet of a row."""
    try:
        values = _named(row, OUTLET_COLUMNS)
        return Outlet(
            tenant=policy.id,
            code=OutletCode(_needed(values, "code", 100)),
            name=_needed(values, "name", 200),
            external_code=values["external_code"],
            street=values["street"],
            city=values["city"],
            postal_code=values["postal_code"],
            country=_country(values["country"]),
            timezone=_zone(values["timezone"] or policy.timezone),
            language=_language(values["language"]),
            phone=values["phone"][:40],
            market=values["market"],
            channel=values["channel"],
            classification=values["classification"],
            active=_flag(values, "active", default=True),
            ordering_paused=_flag(values, "ordering_paused", default=False),
        )
    except _Bad as error:
        return RowProblem(number, _heading(row, OUTLET_COLUMNS, error.column), error.reason)


def read_contact(
    row: Mapping[str, Any], number: int, policy: TenantPolicy, outlets: Mapping[OutletCode, Outlet]
) -> Contact | RowProblem:
    """Return the contact of a row; its outlet must be known."""
    try:
        values = _named(row, CONTACT_COLUMNS)
        code = OutletCode(_needed(values, "outlet", 100))
        if code not in outlets:
            raise _Bad("outlet", f"no outlet {code!r}; import outlets first")
        role = role_slug(_needed(values, "role", 60))
        email, phone = _email(values["email"]), _phone(values["phone"], outlets[code].country)
        if not email and not phone:
            raise _Bad("email", "neither an e-mail address nor a phone number")
        person = Recipient(
            id=RecipientId(""),
            tenant=policy.id,
            name=" ".join(part for part in (values["name"], values["last_name"]) if part),
            email=email,
            phone=phone,
            language=_language(values["language"]),
            channels=_wants(values["wants"]),
            active=_flag(values, "active", default=True),
        )
        return Contact(person, code, role)
    except _Bad as error:
        return RowProblem(number, _heading(row, CONTACT_COLUMNS, error.column), error.reason)


def _heading(row: Mapping[str, Any], columns: Mapping[str, tuple[str, ...]], ours: str) -> str:
    """The column as the file spells it."""
    return next((str(name) for name in row if _plain(str(name)) in columns[ours]), ours)


def _named(row: Mapping[str, Any], columns: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    given = {_plain(str(name)): value for name, value in row.items()}
    return {
        ours: next((text for name in names if (text := _text(given.get(name), ours))), "")
        for ours, names in columns.items()
    }


def _text(value: Any, column: str) -> str:
    """A cell as one line; JSON may hold numbers and true or false as well."""
    if value is None or isinstance(value, str):
        return one_line(value or "", 200)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and abs(value) < MOST_NUMBER:
        return str(value)
    raise _Bad(column, "must be a text")


def _plain(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())


def _needed(values: Mapping[str, str], name: str, most: int) -> str:
    value = values[name]
    if not value:
        raise _Bad(name, "is missing")
    if len(value) > most:
        raise _Bad(name, f"longer than {most} characters")
    return value


def _country(text: str) -> str:
    code = text.upper()
    if code and code not in phonenumbers.SUPPORTED_REGIONS:
        raise _Bad("country", f"{text!r} is not a country code such as ES (ISO 3166-1 alpha-2)")
    return code


def _zone(text: str) -> str:
    name = _windows_zones().get(text.lower(), text)
    if name not in _zones():
        raise _Bad("timezone", f"no time zone is named {text!r}; write Europe/Madrid or Romance Standard Time")
    return name


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())  # looks through the files of the system every time


@cache
def _windows_zones() -> dict[str, str]:
    return {name.lower(): zone for name, zone in get_global("windows_zone_mapping").items()}


def _language(text: str) -> str:
    if text and not is_language(text):
        raise _Bad("language", f"{text!r} is no language code such as en or es-MX (BCP 47)")
    return text


def _flag(values: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = values[name].lower()
    if text == "":
        return default
    if text in _TRUE | _FALSE:
        return text in _TRUE
    raise _Bad(name, f"{text!r} is neither yes nor no")


def _email(text: str) -> str:
    try:
        return normalise_email(text) if text else ""
    except AddressError as error:
        raise _Bad("email", str(error)) from None


def _phone(text: str, country: str) -> str:
    try:
        return normalise_phone(text, country) if text else ""
    except AddressError as error:
        known = country or text.startswith("+")
        hint = "" if known else "; the outlet has no country, so write the number with + and its country code"
        raise _Bad("phone", f"{error}{hint}") from None


def _wants(text: str) -> tuple[ChannelName, ...]:
    """Channels by name, several joined by comma, plus or slash. A word that is not understood is no silent "all"."""
    found: dict[ChannelName, None] = {}
    for word in filter(None, (_plain(part) for part in re.split(r"[,+/;]", text))):
        if word not in WANTED:
            raise _Bad("wants", f"{word!r} is not understood; it may be {', '.join(WANTED)}")
        found |= dict.fromkeys(WANTED[word])
    return tuple(found)
