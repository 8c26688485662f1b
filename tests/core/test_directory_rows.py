"""A row of a directory file is an outlet, a contact, or a problem with its column."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.directory_rows import (
    RowProblem,
    heading_problem,
    ignored,
    is_contacts,
    outlet_of,
    read_contact,
    read_outlet,
)
from notifier.core.ids import OutletCode, TenantId
from notifier.core.model import ChannelName, Contact, Outlet
from notifier.core.policy import TenantPolicy

ACME = TenantPolicy(TenantId("acme"), "Acme", timezone="Europe/Madrid")
STORE = Outlet(ACME.id, OutletCode("ES-1"), "Main St", country="ES")
OUTLETS = {STORE.code: STORE}
ROW = {"Code": "ES-1", "Name": "Main St"}
ALICE = {"OutletCode": "ES-1", "Role": "Owner", "Name": "Alice", "Email": "Alice@Example.com"}


def outlet(**more: Any) -> Outlet | RowProblem:
    return read_outlet(ROW | more, 7, ACME)


def contact(**more: Any) -> Contact | RowProblem:
    return read_contact(ALICE | more, 7, ACME, OUTLETS)


def test_a_full_outlet_is_read_under_coolrs_own_headings() -> None:
    row = {
        "LocationCode": "ES-1",
        "Location": "  Main   St\n",
        "External Location Code": "X1",
        "STREET": "Calle Mayor 5",
        "City": "Madrid",
        "Postal Code": "28013",
        "Country Code": "es",
        "Time Zone": "Romance Standard Time",
        "Language": "es",
        "Primary Phone": "+34 600 111 222",
        "Market Name": "Iberia",
        "LocationType": "Kiosk",
        "Classification": "Gold",
        "IsActive": "No",
        "Suggested ordering paused": "yes",
    }
    assert read_outlet(row, 2, ACME) == Outlet(
        tenant=ACME.id,
        code=OutletCode("ES-1"),
        name="Main St",
        external_code="X1",
        street="Calle Mayor 5",
        city="Madrid",
        postal_code="28013",
        country="ES",
        timezone="Europe/Paris",
        language="es",
        phone="+34 600 111 222",
        market="Iberia",
        channel="Kiosk",
        classification="Gold",
        active=False,
        ordering_paused=True,
    )


ZONES = [
    ("", "Europe/Madrid"),  # the tenant's
    ("America/Bogota", "America/Bogota"),
    ("pacific standard time", "America/Los_Angeles"),
    ("Line Islands Standard Time", "Pacific/Kiritimati"),  # one that hardly anybody lists
]


def test_json_may_hold_numbers_and_true_or_false() -> None:
    made = outlet(Code=1001, Active=False)
    assert isinstance(made, Outlet) and (made.code, made.active) == ("1001", False)
    assert outlet(Name=["Main St"]) == RowProblem(7, "Name", "must be a text")


@pytest.mark.parametrize(("written", "zone"), ZONES)
def test_time_zones_are_iana_or_windows_names(written: str, zone: str) -> None:
    made = outlet(TimeZone=written)
    assert isinstance(made, Outlet) and made.timezone == zone


BAD_OUTLETS: list[tuple[dict[str, Any], str, str]] = [
    ({"Code": ""}, "Code", "is missing"),
    ({"Code": None}, "Code", "is missing"),
    ({"Name": " \u200b "}, "Name", "is missing"),
    ({"Code": "x" * 101}, "Code", "longer than 100 characters"),
    ({"TimeZone": "Madrid"}, "TimeZone", "no time zone is named 'Madrid'"),
    ({"Country": "Spain"}, "Country", "'Spain' is not a country code"),
    ({"Country": "XX"}, "Country", "'XX' is not a country code"),
    ({"Is Active": "perhaps"}, "Is Active", "'perhaps' is neither yes nor no"),
    ({"Language": "Spanish"}, "Language", "'Spanish' is no language code"),
]


@pytest.mark.parametrize(("row", "column", "reason"), BAD_OUTLETS)
def test_a_bad_outlet_names_the_row_the_column_as_written_and_the_reason(
    row: dict[str, Any], column: str, reason: str
) -> None:
    problem = outlet(**row)
    assert isinstance(problem, RowProblem)
    assert (problem.row, problem.column) == (7, column)
    assert reason in problem.reason


def test_a_contact_is_somebody_in_a_role_with_normal_addresses_p2() -> None:
    made = contact(**{"First Name": "x", "Last Name": "Vega", "Phone": "600 000 001", "Role": "Sales Rep"})
    assert isinstance(made, Contact)
    assert (made.role, made.outlet, made.recipient.name) == ("sales_rep", "ES-1", "Alice Vega")
    assert (made.recipient.email, made.recipient.phone) == ("alice@example.com", "+34600000001")


WANTED: list[tuple[str, tuple[ChannelName, ...]]] = [
    ("", ()),
    ("Preferred", ()),  # Coolr's word for "as usual"
    ("Email", (ChannelName.EMAIL,)),
    ("e-mail + Text", (ChannelName.EMAIL, ChannelName.SMS)),
    ("SMS/email", (ChannelName.SMS, ChannelName.EMAIL)),
    ("both", (ChannelName.EMAIL, ChannelName.SMS)),
]


@pytest.mark.parametrize(("written", "channels"), WANTED)
def test_wanted_channels_are_read_in_coolrs_words(written: str, channels: tuple[ChannelName, ...]) -> None:
    made = contact(PreferredNotificationType=written)
    assert isinstance(made, Contact) and made.recipient.channels == channels


BAD_CONTACTS: list[tuple[dict[str, Any], str, str]] = [
    ({"OutletCode": "ES-9"}, "OutletCode", "no outlet 'ES-9'; import outlets first"),
    ({"OutletCode": ""}, "OutletCode", "is missing"),
    ({"Role": ""}, "Role", "is missing"),
    ({"Email": "nobody"}, "Email", "@-sign"),
    ({"Email": ""}, "Email", "neither an e-mail address nor a phone number"),
    ({"Mobile": "", "Primary Phone": "12"}, "Primary Phone", "no phone number has this form"),
    ({"Phone": "803 123 456"}, "Phone", "premium numbers are never written to"),
    ({"Preferred Notification Type": "none"}, "Preferred Notification Type", "'none' is not understood"),
    ({"Active": "2"}, "Active", "'2' is neither yes nor no"),
]


@pytest.mark.parametrize(("row", "column", "reason"), BAD_CONTACTS)
def test_a_bad_contact_names_the_row_the_column_as_written_and_the_reason(
    row: dict[str, Any], column: str, reason: str
) -> None:
    problem = contact(**row)
    assert isinstance(problem, RowProblem)
    assert (problem.row, problem.column) == (7, column)
    assert reason in problem.reason


def test_a_national_number_at_an_outlet_without_country_says_what_to_write() -> None:
    nowhere = {STORE.code: Outlet(ACME.id, STORE.code, "Main St")}
    problem = read_contact(ALICE | {"Phone": "600000001"}, 2, ACME, nowhere)
    assert isinstance(problem, RowProblem) and "write the number with + and its country code" in problem.reason


def test_the_outlet_of_a_row_is_read_as_the_row_is() -> None:
    assert outlet_of({"Location Code": " ES-1 "}) == "ES-1"
    assert outlet_of({"Role": "owner"}) == ""


HEADINGS: list[tuple[list[str], str | None]] = [
    (["Code", "Name"], None),
    (["outlet code", "ROLE", "e-mail"], None),
    (["Name"], "no column Code; it is needed for outlets"),
    (["Role", "Email"], "no column OutletCode; it is needed for contacts"),
    (["Code", "Name", "Na-me"], "two columns are named 'Name'"),
    # a table without any heading, its first row taken for one
    (["ES-1", "Main St"], "no column Code; it is needed for outlets"),
]


@pytest.mark.parametrize(("names", "reason"), HEADINGS)
def test_a_heading_that_cannot_work_is_told_once_and_not_in_every_row(names: list[str], reason: str | None) -> None:
    problem = heading_problem(names)
    assert problem is None if reason is None else problem is not None and problem.startswith(reason)


def test_columns_that_are_not_read_are_named() -> None:
    assert ignored(["Code", "Name", "Emial", "Distributor"]) == ["Emial", "Distributor"]
    assert is_contacts(["Role"]) and ignored(["Role", "Emial"]) == ["Emial"]


CELLS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30), st.lists(st.text(), max_size=2)
)
NAMES = st.sampled_from(["Code", "Name", "OutletCode", "Role", "Email", "Phone", "Country", "TimeZone", "Active"])


@given(st.dictionaries(NAMES | st.text(max_size=8), CELLS, max_size=8))
def test_any_row_is_a_value_or_a_problem(row: dict[str, Any]) -> None:
    assert isinstance(read_outlet(row, 2, ACME), (Outlet, RowProblem))
    assert isinstance(read_contact(row, 2, ACME, OUTLETS), (Contact, RowProblem))
