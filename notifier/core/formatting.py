"""Times, money and numbers as people of a place write them (Babel, CLDR); digits are always Western."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_skeleton, format_time
from babel.numbers import format_currency, format_decimal, get_currency_precision


def locale_of(*wanted: str, available: tuple[str, ...] = ("en",)) -> str:
    """The first wanted language that is available, "en" otherwise."""
    for name in wanted:
        language = name.replace("-", "_").partition("_")[0].lower()
        if language in available:
            return language
    return "en"


def zone_of(name: str) -> ZoneInfo:
    """The zone of that name, UTC when there is none."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def local_time(moment: datetime, zone: str, locale: str = "en") -> str:
    """Day and time in a place: "Fri 27 Nov, 14:00"."""
    there = moment.astimezone(zone_of(zone))
    if locale == "en":
        return f"{format_date(there, 'EEE d MMM', locale='en')}, {there:%H:%M}"
    day = format_skeleton("MMMEd", there, locale=_locale(locale))
    return f"{day}, {format_time(there, 'HH:mm', locale=_locale(locale))}"


def local_day(day: date, locale: str = "en") -> str:
    """A day: "24 Oct 2026"."""
    return str(format_date(day, "d MMM y", locale=_locale(locale)))


def money(minor: int, currency: str, locale: str = "en") -> str:
    """Minor units as money: 41250 EUR → "412.50 EUR", by the currency's own number of decimals."""
    amount = minor / 10 ** get_currency_precision(currency)
    return str(format_currency(amount, currency, "#,##0.00 ¤¤", locale=_locale(locale), currency_digits=True))


def number(value: float, locale: str = "en") -> str:
    """A number with at most one decimal."""
    return str(format_decimal(round(value, 1), "#,##0.#", locale=_locale(locale)))


def measured(value: float | None, unit: str, locale: str = "en") -> str:
    """A value with its unit: "12.5 °C", "35 %", "37 h"; "" without a value."""
    return "" if value is None else f"{number(value, locale)} {unit}".strip()


def _locale(name: str) -> Locale:
    try:
        return Locale.parse(name.replace("-", "_"))
    except (UnknownLocaleError, ValueError):
        return Locale("en")
