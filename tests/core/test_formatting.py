"""Times, money and numbers as people of a place write them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core import formatting

#: (UTC, zone, shown)
TIMES = (
    ("2026-11-27T13:00", "Europe/Madrid", "Fri 27 Nov, 14:00"),
    ("2026-11-27T13:00", "America/New_York", "Fri 27 Nov, 08:00"),
    ("2026-11-27T20:30", "Asia/Kolkata", "Sat 28 Nov, 02:00"),  # another day there
    ("2026-11-27T13:00", "Asia/Kathmandu", "Fri 27 Nov, 18:45"),
    ("2026-10-25T00:30", "Europe/Madrid", "Sun 25 Oct, 02:30 (UTC+2)"),  # the hour that comes twice: which one
    ("2026-10-25T01:30", "Europe/Madrid", "Sun 25 Oct, 02:30 (UTC+1)"),
    ("2026-03-29T01:00", "Europe/Madrid", "Sun 29 Mar, 03:00"),  # the hour that is left out
    ("2026-11-01T05:30", "America/New_York", "Sun 1 Nov, 01:30 (UTC-4)"),
    ("2026-11-27T13:00", "", "Fri 27 Nov, 13:00"),
    ("2026-11-27T13:00", "Nowhere/Land", "Fri 27 Nov, 13:00"),  # an unknown zone is UTC, never an error
    ("2026-11-27T13:00", "../../etc/passwd", "Fri 27 Nov, 13:00"),
)


@pytest.mark.parametrize(("moment", "zone", "shown"), TIMES)
def test_a_time_is_the_places_own(moment: str, zone: str, shown: str) -> None:
    assert formatting.local_time(datetime.fromisoformat(moment).replace(tzinfo=UTC), zone) == shown


def test_midnight_says_which_night_is_meant() -> None:
    midnight = datetime(2026, 11, 26, 23, 0, tzinfo=UTC)
    assert formatting.night_of(midnight, "Europe/Madrid") == "the night from Thu to Fri"
    assert formatting.night_of(midnight, "UTC") == ""


#: (minor units, currency, shown)
MONEY = (
    (41250, "EUR", "412.50 EUR"),
    (5, "EUR", "0.05 EUR"),
    (0, "USD", "0.00 USD"),
    (1234567890, "EUR", "12,345,678.90 EUR"),
    (41250, "JPY", "41,250 JPY"),  # no minor unit
    (41250, "KWD", "41.250 KWD"),  # a thousandth
    (41250, "CLF", "4.1250 CLF"),
    (41250, "IRR", "412.50 IRR"),  # two by ISO 4217, whatever is in use
    (41250, "XYZ", "412.50 XYZ"),  # an unknown currency
)


@pytest.mark.parametrize(("minor", "currency", "shown"), MONEY)
def test_minor_units_become_money_by_the_currencys_own_decimals(minor: int, currency: str, shown: str) -> None:
    assert formatting.money(minor, currency) == shown


@given(st.integers(min_value=0, max_value=10**13))
def test_no_amount_is_rounded(minor: int) -> None:
    amount, _, currency = formatting.money(minor, "EUR").partition(" ")
    assert Decimal(amount.replace(",", "")) * 100 == Decimal(minor)
    assert currency == "EUR"


#: (value, unit, shown)
MEASURED = (
    (None, "%", ""),
    (35.0, "%", "35%"),
    (9.25, "°C", "9.2 °C"),
    (-18.0, "°C", "-18 °C"),
    (36.0, "h", "36 h"),
    (0.0, "", "0"),
    (12345.6, "m", "12,345.6 m"),
    (1e9, "", "1,000,000,000"),
)


@pytest.mark.parametrize(("value", "unit", "shown"), MEASURED)
def test_a_value_stands_beside_its_unit(value: float | None, unit: str, shown: str) -> None:
    assert formatting.measured(value, unit) == shown


def test_a_day_and_a_language_we_do_not_have() -> None:
    assert formatting.local_day(date(2026, 10, 24)) == "24 Oct 2026"
    assert formatting.locale_of("xx", "en-GB") == "en"
    assert formatting.locale_of("") == "en"
    assert formatting.number(1.5, "not a locale") == "1.5"
    assert not formatting.is_zone("")
    assert formatting.is_zone("Europe/Madrid")


@given(st.text(max_size=40))
def test_no_zone_name_is_an_error(name: str) -> None:
    assert formatting.local_time(datetime(2026, 1, 1, tzinfo=UTC), name)
    assert formatting.is_zone(name) in (True, False)
