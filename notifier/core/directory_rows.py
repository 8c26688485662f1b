"""Rows of a directory file → outlets and contacts. Pure; a bad row is a value, so that the good ones are imported.

Column names are Coolr's (Outlet and User import); spaces and case do not matter. Time zones may be IANA names or the
Windows-style names that Coolr uses ("Pacific Standard Time").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import available_timezones

from notifier.core.addresses import AddressError, normalise_email, normalise_phone
from notifier.core.clean import one_line
from notifier.core.ids import OutletCode, RecipientId
from notifier.core.model import ChannelName, Contact, Outlet, Recipient
from notifier.core.policy import TenantPolicy

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
#: Windows names of Coolr's markets (Unicode CLDR, windowsZones).
WINDOWS_ZONES = {
    "AUS Eastern Standard Time": "Australia/Sydney",
    "Arab Standard Time": "Asia/Riyadh",
    "Arabian Standard Time": "Asia/Dubai",
    "Argentina Standard Time": "America/Buenos_Aires",
    "Atlantic Standard Time": "America/Halifax",
    "Canada Central Standard Time": "America/Regina",
    "Central America Standard Time": "America/Guatemala",
    "Central Europe Standard Time": "Europe/Budapest",
    "Central European Standard Time": "Europe/Warsaw",
    "Central Standard Time (Mexico)": "America/Mexico_City",
    "Central Standard Time": "America/Chicago",
    "China Standard Time": "Asia/Shanghai",
    "E. South America Standard Time": "America/Sao_Paulo",
    "Eastern Standard Time": "America/New_York",
    "Egypt Standard Time": "Africa/Cairo",
    "GMT Standard Time": "Europe/London",
    "GTB Standard Time": "Europe/Bucharest",
    "India Standard Time": "Asia/Calcutta",
    "Mountain Standard Time": "America/Denver",
    "Pacific SA Standard Time": "America/Santiago",
    "Pacific Standard Time": "America/Los_Angeles",
    "Romance Standard Time": "Europe/Paris",
    "SA Pacific Standard Time": "America/Bogota",
    "SE Asia Standard Time": "Asia/Bangkok",
    "Singapore Standard Time": "Asia/Singapore",
    "South Africa Standard Time": "Africa/Johannesburg",
    "Tokyo Standard Time": "Asia/Tokyo",
    "Turkey Standard Time": "Europe/Istanbul",
    "US Mountain Standard Time": "America/Phoenix",
    "UTC": "UTC",
    "W. Europe Standard Time": "Europe/Berlin",
}
_TRUE, _FALSE = {"yes", "true", "1", "y", ""}, {"no", "false", "0", "n"}


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


def is_contacts(names: list[str]) -> bool:
    """Whether a table with these columns holds contacts (else outlets)."""
    return "role" in {_plain(name) for name in names}


def read_outlet(row: Mapping[str, Any], number: int, policy: TenantPolicy) -> Outlet | RowProblem:
    """Return the outlet of a row."""
    values = _named(row, OUTLET_COLUMNS)
    try:
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
            language=values["language"][:20],
            phone=values["phone"][:40],
            market=values["market"],
            channel=values["channel"],
            classification=values["classification"],
            active=_flag(values, "active", default=True),
            ordering_paused=_flag(values, "ordering_paused", default=False),
        )
    except _Bad as error:
        return RowProblem(number, error.column, error.reason)


def read_contact(
    row: Mapping[str, Any], number: int, policy: TenantPolicy, outlets: Mapping[str, Outlet]
) -> Contact | RowProblem:
    """Return the contact of a row; its outlet must be known."""
    values = _named(row, CONTACT_COLUMNS)
    try:
        code = _needed(values, "outlet", 100)
        if code not in outlets:
            raise _Bad("OutletCode", f"no outlet {code!r}; import outlets first")
        role = _needed(values, "role", 60).lower().replace(" ", "_").replace("-", "_")
        email, phone = _email(values["email"]), _phone(values["phone"], outlets[code].country)
        if not email and not phone:
            raise _Bad("Email", "neither an e-mail address nor a phone number")
        person = Recipient(
            id=RecipientId(""),
            tenant=policy.id,
            name=" ".join(part for part in (values["name"], values["last_name"]) if part),
            email=email,
            phone=phone,
            language=values["language"][:20],
            channels=_wants(values["wants"]),
            active=_flag(values, "active", default=True),
        )
        return Contact(person, OutletCode(code), role)
    except _Bad as error:
        return RowProblem(number, error.column, error.reason)


def _named(row: Mapping[str, Any], columns: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    given = {_plain(str(name)): value for name, value in row.items()}
    return {
        ours: next((one_line(given[name], 200) for name in names if given.get(name) not in (None, "")), "")
        for ours, names in columns.items()
    }


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
    if code and (len(code) != 2 or not code.isascii() or not code.isalpha()):
        raise _Bad("country", f"{text!r} is not a country code such as ES (ISO 3166-1 alpha-2)")
    return code


def _zone(text: str) -> str:
    name = WINDOWS_ZONES.get(text, text)
    if name not in available_timezones():
        raise _Bad("timezone", f"no time zone is named {text!r}")
    return name


def _flag(values: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = values[name].lower()
    if text == "":
        return default
    if text in _TRUE or text in _FALSE:
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
        raise _Bad("phone", str(error)) from None


def _wants(text: str) -> tuple[ChannelName, ...]:
    words = {"email": ChannelName.EMAIL, "e-mail": ChannelName.EMAIL, "sms": ChannelName.SMS, "text": ChannelName.SMS}
    return tuple(dict.fromkeys(words[word] for word in text.lower().replace("+", ",").split(",") if word in words))
