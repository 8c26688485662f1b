"""Directory files become outlets and contacts: repeatable, bad rows named, good ones imported, nothing removed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from notifier.core.ids import OutletCode, TenantId
from notifier.core.model import Contact
from notifier.core.policy import TenantPolicy
from notifier.importing import MOST_PROBLEMS, MOST_ROWS, Importer, ImportReport
from notifier.ports import Store
from notifier.store import SqlStore

ACME = TenantPolicy(TenantId("acme"), "Acme", timezone="Europe/Madrid")
OUTLETS = "Code,Name,Country\nES-1,Main St,ES\nES-2,Side St,ES\n"
CONTACTS = """\
OutletCode,Role,Name,Email,Phone
ES-1,Owner,Alice,alice@example.com,600 000 001
ES-2,Owner,Bob,bob@example.com,
ES-2,Regional Manager,Alice,alice@example.com,600 000 001
"""


@pytest.fixture
def importer(store: SqlStore) -> Importer:
    """Acme's files into a database with the tenant in it."""
    with store.write() as tx:
        tx.save_tenants({ACME.id: ACME.name})
    return Importer(store, ACME)


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    return report.created, report.changed, report.unchanged, report.refused


def said(report: ImportReport) -> list[tuple[int, str, str]]:
    return [(problem.row, problem.column, problem.reason) for problem in report.problems]


def contacts(store: Store, code: str) -> list[Contact]:
    with store.read() as tx:
        return tx.contacts(ACME.id, [OutletCode(code)]).get(OutletCode(code), [])


def test_importing_twice_changes_nothing_the_second_time(importer: Importer) -> None:
    assert counts(importer.text(OUTLETS, "outlets.csv")) == (2, 0, 0, 0)
    assert counts(importer.text(CONTACTS, "contacts.csv")) == (3, 0, 0, 0)
    assert counts(importer.text(OUTLETS, "outlets.csv")) == (0, 0, 2, 0)
    assert counts(importer.text(CONTACTS, "contacts.csv")) == (0, 0, 3, 0)


def test_a_person_in_two_roles_is_one_recipient_p2(importer: Importer) -> None:
    importer.text(OUTLETS, "outlets.csv")
    importer.text(CONTACTS, "contacts.csv")
    (alice,), (bob, manager) = contacts(importer.store, "ES-1"), contacts(importer.store, "ES-2")
    assert alice.recipient == manager.recipient != bob.recipient
    assert (alice.recipient.phone, manager.role) == ("+34600000001", "regional_manager")


def test_what_changed_in_the_file_changes_in_the_directory(importer: Importer) -> None:
    importer.text(OUTLETS, "outlets.csv")
    importer.text(CONTACTS, "contacts.csv")
    assert counts(importer.text(OUTLETS.replace("Side St", "Side Street"), "outlets.csv")) == (0, 1, 1, 0)
    report = importer.text("OutletCode,Role,Name,Email,Active\nES-2,owner,Bob,bob@example.com,no\n", "c.csv")
    assert counts(report) == (0, 1, 0, 0)
    assert [item.recipient.active for item in contacts(importer.store, "ES-2") if item.recipient.name == "Bob"] == [
        False
    ]


def test_nobody_is_removed_by_not_being_in_the_file(importer: Importer) -> None:
    importer.text(OUTLETS, "outlets.csv")
    importer.text(CONTACTS, "contacts.csv")
    importer.text("\n".join(CONTACTS.splitlines()[:2]), "contacts.csv")
    assert {(item.role, item.recipient.active) for item in contacts(importer.store, "ES-2")} == {
        ("owner", True),
        ("regional_manager", True),
    }


def test_bad_rows_are_named_by_row_and_column_and_the_good_ones_imported(importer: Importer) -> None:
    importer.text(OUTLETS, "outlets.csv")
    rows = [
        "OutletCode,Role,Name,Email,Phone",
        "ES-1,Owner,Alice,alice@example.com,12",
        "",
        "ES-9,Owner,Carl,carl@example.com,",
        'ES-2,Owner,"Dora',
        'Vega",dora@example.com,',
        "ES-2,Owner,Ed,ed@example.com,,oops",
        "ES-2,Owner,Flo,flo@example.com,",
    ]
    report = importer.text("\n".join(rows), "contacts.csv")
    assert [(row, column) for row, column, _ in sorted(said(report))] == [
        (2, "Phone"),
        (4, "OutletCode"),  # the blank row counts, as in a spreadsheet
        (6, ""),  # the cell of two lines is one row
    ]
    assert [item.recipient.name for item in contacts(importer.store, "ES-2")] == ["Dora Vega", "Flo"]


def test_rows_that_contradict_each_other_are_a_mistake_and_no_change(importer: Importer) -> None:
    """Else the same file would change something every time it is imported."""
    doubled = OUTLETS + "ES-1,Another name,ES\nES-2,Side St,ES\n"
    report = importer.text(doubled, "outlets.csv")
    assert counts(report) == (2, 0, 1, 1)
    assert said(report) == [(4, "code", "row 2 says something else of ES-1")]
    assert counts(importer.text(doubled, "outlets.csv")) == (0, 0, 3, 1)
    report = importer.text(CONTACTS + "ES-1,Driver,Alicia,ALICE@example.com,600 000 001\n", "contacts.csv")
    assert counts(report) == (3, 0, 0, 1)
    assert said(report) == [(5, "name", "row 2 says something else of the same person")]


def test_a_dry_run_checks_outlets_and_their_contacts_together_and_changes_nothing(importer: Importer) -> None:
    dry = Importer(importer.store, ACME, dry_run=True)
    assert counts(dry.text(OUTLETS, "outlets.csv")) == (2, 0, 0, 0)
    assert counts(dry.text(CONTACTS, "contacts.csv")) == (3, 0, 0, 0)
    with importer.store.read() as tx:
        assert tx.outlets(ACME.id, [OutletCode("ES-1")]) == {} and tx.roles(ACME.id) == frozenset()


SPELLINGS: list[tuple[str, bytes]] = [
    # Excel's "CSV UTF-8": byte order mark, Windows line ends
    ("outlets.csv", b"\xef\xbb\xbf" + OUTLETS.replace("\n", "\r\n").encode()),
    # Excel in most of Europe
    ("outlets.csv", OUTLETS.replace(",", ";").encode()),
    ("outlets.csv", OUTLETS.replace(",", "\t").encode()),
    # blank lines first, quotes around everything
    ("outlets.csv", b'\n\n"Code","Name"\n"ES-1","Main St"\n"ES-2","Side, St"\n'),
    ("OUTLETS.JSON", b'{"data": [{"Code": "ES-1", "Name": "a"}, {"Code": "ES-2", "Name": "b", "Active": false}]}'),
    ("outlets.json", b'[{"LocationCode": "ES-1", "Location": "a"}, {"code": 2, "name": "b"}]'),
]


@pytest.mark.parametrize(("name", "content"), SPELLINGS)
def test_files_as_spreadsheets_and_systems_write_them_are_read(
    importer: Importer, tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    assert counts(importer.file(tmp_path / name)) == (2, 0, 0, 0)


UNREADABLE: list[tuple[str, bytes, str]] = [
    ("o.csv", b"", "the file is empty"),
    ("o.csv", b"\n \n", "the file is empty"),
    ("o.csv", b"Code;Name\nES-1;Caf\xe9\n", "not UTF-8 (byte 18); save the file as UTF-8"),
    ("o.csv", OUTLETS.encode("utf-16"), "not UTF-8 (byte 0); save the file as UTF-8"),
    ("o.csv", b"ES-1,Main St\nES-2,Side St\n", "no column Code; it is needed for outlets"),
    # a quote that is never closed would swallow all that follows
    ("o.csv", b'Code,Name\nES-1,"Main\nES-2,Side St\n', "line 3: unexpected end of data"),
    ("o.json", b'[{"Code": ', "Expecting value"),
    ("o.json", b'"Code"', "must be a list of objects"),
    ("o.json", b"[1]", "must be a list of objects"),
    ("o.json", b"[" * 100_000, "nested too deep"),
]


@pytest.mark.parametrize(("name", "content", "reason"), UNREADABLE, ids=range(len(UNREADABLE)))
def test_a_file_that_cannot_be_read_says_why(
    importer: Importer, tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    report = importer.file(tmp_path / name)
    (problem,) = report.problems
    assert counts(report) == (0, 0, 0, 1)
    assert problem.row == 0 and reason in problem.reason


def test_a_missing_file_and_a_folder_say_so(importer: Importer, tmp_path: Path) -> None:
    assert said(importer.file(tmp_path / "absent.csv")) == [(0, "", "No such file or directory")]
    assert said(importer.file(tmp_path)) == [(0, "", "Is a directory")]


def test_huge_files_are_refused_before_they_are_read(importer: Importer, tmp_path: Path) -> None:
    with (tmp_path / "big.csv").open("wb") as file:
        os.truncate(file.fileno(), 50_000_001)
    assert said(importer.file(tmp_path / "big.csv")) == [(0, "", "larger than 50,000,000 bytes")]
    rows = "Code,Name\n" + "a,b\n" * (MOST_ROWS + 1)
    assert said(importer.text(rows, "long.csv")) == [(0, "", "more than 200,000 rows; split the file")]


def test_a_file_full_of_mistakes_lists_the_first_and_counts_the_rest(importer: Importer) -> None:
    report = importer.text("Code,Name\n" + "X,\n" * (MOST_PROBLEMS + 5), "outlets.csv")
    assert (report.refused, len(report.problems)) == (MOST_PROBLEMS + 5, MOST_PROBLEMS)


def test_progress_is_told_after_every_transaction(importer: Importer) -> None:
    steps: list[tuple[int, int]] = []
    rows = "".join(f"ES-{number},Store,ES\n" for number in range(250))
    importer.text(f"Code,Name,Country\n{rows}", "outlets.csv", lambda done, total: steps.append((done, total)))
    assert steps == [(100, 250), (200, 250), (250, 250)]


def test_another_tenants_outlets_are_none_of_ours_p11(importer: Importer) -> None:
    importer.text(OUTLETS, "outlets.csv")
    with importer.store.write() as tx:
        tx.save_tenants({TenantId("other"): "Other"})
    other = Importer(importer.store, TenantPolicy(TenantId("other"), "Other"))
    assert counts(other.text(CONTACTS, "contacts.csv")) == (0, 0, 0, 3)


def test_columns_that_are_not_read_are_named(importer: Importer) -> None:
    report = importer.text("Code,Name,Contry\nES-1,Main St,ES\n", "outlets.csv")
    assert report.ignored == ["Contry"]
    assert json.loads(json.dumps(report.facts()))["ignored_columns"] == ["Contry"]


def test_formulas_and_hostile_names_stay_plain_text(importer: Importer) -> None:
    importer.text('Code,Name\nES-1,"=HYPERLINK(""https://evil.example"")\u202e\x1b[31m"\n', "outlets.csv")
    with importer.store.read() as tx:
        (outlet,) = tx.outlets(ACME.id, [OutletCode("ES-1")]).values()
    assert outlet.name == '=HYPERLINK("https://evil.example")[31m'
