"""Times, money and numbers as people of a place write them (Babel, CLDR); digits are always Western.

Messages are in English until templates of another language exist. Everything here is pure and remembered: what is the
same for all recipients of an event is formatted once.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_skeleton, format_time
from babel.numbers import NumberPattern, parse_pattern

AVAILABLE = ("en",)  #: languages that templates exist in

#: Currencies whose minor unit is not a hundredth (ISO 4217, list one). CLDR, and so Babel, differs for some: it
#: prints what is in use (no decimals for IRR or LBP) and would be wrong by a factor of 100 about what was sent to us.
# fmt: off
MINOR_DIGITS = {
    "BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0, "RWF": 0, "UGX": 0,
    "UYI": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
    "BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
    "CLF": 4, "UYW": 4,
}
# fmt: on
#: Units written without a space before them in English; all others stand apart ("9.2 °C").
_CLOSE_UNITS = ("%", "°")


def locale_of(*wanted: str, available: tuple[str, ...] = AVAILABLE) -> str:
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


def is_zone(name: str) -> bool:
    """Whether that is the name of a time zone."""
    try:
        return bool(name) and ZoneInfo(name) is not None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False


def is_language(tag: str) -> bool:
    """Whether that is a language code (BCP 47) that is known here."""
    try:
        return Locale.parse(tag, sep="-") is not None
    except (UnknownLocaleError, ValueError, TypeError):
        return False


@lru_cache(maxsize=4096)
def local_time(moment: datetime, zone: str, locale: str = "en") -> str:
    """Day and time in a place: "Fri 27 Nov, 14:00".

    In the hour that a clock change repeats, the offset says which of the two is meant: "Sun 25 Oct, 02:30 (UTC+1)".
    """
    there = moment.astimezone(zone_of(zone))
    day = _day_of_week(there.date(), locale)
    return f"{day}, {format_time(there, 'HH:mm', locale=_locale(locale))}{_which(there)}"


def night_of(moment: datetime, zone: str, locale: str = "en") -> str:
    """ "night from Thu to Fri" when the moment is midnight there, which people read as either day; else ""."""
    there = moment.astimezone(zone_of(zone))
    if (there.hour, there.minute) != (0, 0):
        return ""
    before, after = (format_date(day, "EEE", locale=_locale(locale)) for day in (there - timedelta(hours=1), there))
    return f"the night from {before} to {after}"


def _day_of_week(day: date, locale: str) -> str:
    if locale == "en":
        return str(format_date(day, "EEE d MMM", locale="en"))  # CLDR's "Fri, Nov 27" is the order of the US alone
    return str(format_skeleton("MMMEd", day, locale=_locale(locale)))


def _which(there: datetime) -> str:
    first, second = there.replace(fold=0).utcoffset(), there.replace(fold=1).utcoffset()
    if first == second:
        return ""
    minutes = int((there.utcoffset() or timedelta()).total_seconds()) // 60
    hours, rest = divmod(abs(minutes), 60)
    return f" (UTC{'-' if minutes < 0 else '+'}{hours}{f':{rest:02}' if rest else ''})"


@lru_cache(maxsize=1024)
def local_day(day: date, locale: str = "en") -> str:
    """A day: "24 Oct 2026"."""
    return str(format_date(day, "d MMM y", locale=_locale(locale)))


@lru_cache(maxsize=16384)
def money(minor: int, currency: str, locale: str = "en") -> str:
    """Minor units as money: 41250 EUR → "412.50 EUR", by the currency's number of decimals (ISO 4217)."""
    digits = MINOR_DIGITS.get(currency, 2)
    pattern = f"#,##0.{'0' * digits}" if digits else "#,##0"
    return f"{_written(Decimal(minor).scaleb(-digits), pattern, locale)} {currency}"


@lru_cache(maxsize=4096)
def number(value: float, locale: str = "en") -> str:
    """A number with at most one decimal."""
    return _written(Decimal(str(value)), "#,##0.#", locale)


def measured(value: float | None, unit: str, locale: str = "en") -> str:
    """A value with its unit: "12.5 °C", "35%", "37 h"; "" without a value."""
    if value is None:
        return ""
    return f"{number(value, locale)}{'' if unit in _CLOSE_UNITS else ' '}{unit}".strip()


def _written(value: Decimal, pattern: str, locale: str) -> str:
    return str(_pattern(pattern).apply(value, _locale(locale), numbering_system="latn"))


@lru_cache(maxsize=32)
def _pattern(pattern: str) -> NumberPattern:
    return parse_pattern(pattern)


@lru_cache(maxsize=64)
def _locale(name: str) -> Locale:
    try:
        return Locale.parse(name.replace("-", "_"))
    except (UnknownLocaleError, ValueError):
        return Locale("en")


def iso(moment: datetime) -> str:
    """RFC 3339 with Z for UTC."""
    return moment.isoformat().replace("+00:00", "Z")
