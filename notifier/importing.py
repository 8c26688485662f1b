"""Import outlets and contacts from CSV or JSON: repeatable, in small transactions, bad rows listed and skipped.

Nothing is ever removed: a person who is not in the file stays as he or she is; `Active` = no switches somebody off.
Two rows that say different things of one outlet or person are a mistake in the file, not a change: else the same file
would change something every time.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from notifier.core.directory_rows import (
    RowProblem,
    heading_problem,
    ignored,
    is_contacts,
    outlet_of,
    read_contact,
    read_outlet,
)
from notifier.core.ids import OutletCode
from notifier.core.model import Contact, Outlet, Recipient
from notifier.core.policy import TenantPolicy
from notifier.ports import Store
from notifier.unit import CommitPoint, Writer

CHUNK = 100  #: rows per transaction
MOST_BYTES = 50_000_000
MOST_ROWS = 200_000
MOST_PROBLEMS = 1000  #: rows listed; the rest is counted

Row = tuple[int, Mapping[str, Any]]  #: with its number as a person counts
Progress = Callable[[int, int], object]  #: told rows done and rows in all


@dataclass(slots=True)
class ImportReport:
    """What an import did."""

    file: str
    created: int = 0
    changed: int = 0
    unchanged: int = 0
    refused: int = 0
    problems: list[RowProblem] = field(default_factory=list)  #: of refused rows, at most MOST_PROBLEMS
    ignored: list[str] = field(default_factory=list)  #: columns that are not read

    def refuse(self, problem: RowProblem) -> None:
        """Count a row that is not imported."""
        self.refused += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "file": self.file,
            "created": self.created,
            "changed": self.changed,
            "unchanged": self.unchanged,
            "refused": self.refused,
            "problems": [problem.facts() for problem in self.problems],
            "ignored_columns": self.ignored,
        }


class _DryRun(Exception):
    """Rolls the transaction of a dry run back."""


@dataclass(slots=True)
class Importer:
    """Imports one tenant's files, one after another: outlets of the first are known to the contacts of the next."""

    store: Store
    policy: TenantPolicy
    dry_run: bool = False
    outlets: dict[OutletCode, Outlet] = field(default_factory=dict)  #: of the files read so far

    def file(self, path: Path, progress: Progress = lambda done, total: None) -> ImportReport:
        """Import one file. What cannot be read at all is a problem in row 0."""
        try:
            if path.stat().st_size > MOST_BYTES:
                return _unreadable(path.name, f"larger than {MOST_BYTES:,} bytes")
            text = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            return _unreadable(path.name, error.strerror or str(error))
        except UnicodeDecodeError as error:
            return _unreadable(path.name, f"not UTF-8 (byte {error.start}); save the file as UTF-8")
        return self.text(text, path.name, progress)

    def text(self, text: str, file: str, progress: Progress = lambda done, total: None) -> ImportReport:
        """Import the text of a CSV or JSON file."""
        try:
            table = _table(text, file)
        except RecursionError:
            return _unreadable(file, "nested too deep")
        except ValueError as error:
            return _unreadable(file, str(error))
        names, rows = table.names, table.rows
        if rows and (reason := heading_problem(names)) is not None:
            return _unreadable(file, reason)
        report = ImportReport(file, ignored=ignored(names))
        for misfit in table.misfits:
            report.refuse(misfit)
        work = _Contacts(self, report) if is_contacts(names) else _Outlets(self, report)
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            self._chunk(work, chunk)
            progress(start + len(chunk), len(rows))
        return report

    def _chunk(self, work: _Outlets | _Contacts, chunk: Sequence[Row]) -> None:
        try:
            with self.store.write(CommitPoint.ADMIN) as tx:
                work.take(tx, chunk)
                if self.dry_run:
                    raise _DryRun
        except _DryRun:
            pass


@dataclass(slots=True)
class _Outlets:
    """Rows that are outlets."""

    importer: Importer
    report: ImportReport
    seen: dict[OutletCode, tuple[int, Outlet]] = field(default_factory=dict)  #: first row of each in this file

    def take(self, tx: Writer, chunk: Sequence[Row]) -> None:
        good = [outlet for number, row in chunk if (outlet := self._read(number, row)) is not None]
        _count(self.report, len(good), tx.save_outlets(good))

    def _read(self, number: int, row: Mapping[str, Any]) -> Outlet | None:
        outlet = read_outlet(row, number, self.importer.policy)
        if isinstance(outlet, RowProblem):
            self.report.refuse(outlet)
            return None
        first, before = self.seen.setdefault(outlet.code, (number, outlet))
        if before != outlet:
            self.report.refuse(RowProblem(number, "code", f"row {first} says something else of {outlet.code}"))
            return None
        self.importer.outlets[outlet.code] = outlet
        return outlet


@dataclass(slots=True)
class _Contacts:
    """Rows that are contacts."""

    importer: Importer
    report: ImportReport
    seen: dict[str, tuple[int, Recipient]] = field(default_factory=dict)  #: first row of each person, by address

    def take(self, tx: Writer, chunk: Sequence[Row]) -> None:
        codes = sorted({code for _, row in chunk if (code := outlet_of(row))})
        outlets = {**tx.outlets(self.importer.policy.id, codes), **self.importer.outlets}
        good = [contact for number, row in chunk if (contact := self._read(number, row, outlets)) is not None]
        _count(self.report, len(good), self._save(tx, good))

    def _save(self, tx: Writer, good: Sequence[Contact]) -> tuple[int, int]:
        if self.importer.dry_run:  # outlets of a dry run's earlier file are not in the database
            tx.save_outlets(
                [self.importer.outlets[item.outlet] for item in good if item.outlet in self.importer.outlets]
            )
        return tx.save_contacts(good)

    def _read(self, number: int, row: Mapping[str, Any], outlets: Mapping[OutletCode, Outlet]) -> Contact | None:
        contact = read_contact(row, number, self.importer.policy, outlets)
        if isinstance(contact, RowProblem):
            self.report.refuse(contact)
            return None
        person = contact.recipient
        address = person.email or person.phone
        first, before = self.seen.setdefault(address, (number, person))
        if before != person:
            differs = ", ".join(name for name in _SAID if getattr(before, name) != getattr(person, name))
            self.report.refuse(RowProblem(number, differs, f"row {first} says something else of the same person"))
            return None
        return replace(contact, recipient=person)


_SAID = ("name", "email", "phone", "language", "channels", "active")


def _unreadable(file: str, reason: str) -> ImportReport:
    return ImportReport(file, refused=1, problems=[RowProblem(0, "", reason)])


@dataclass(frozen=True, slots=True)
class _Table:
    """A file as rows under headings, with the rows that do not fit under them."""

    names: list[str]
    rows: list[Row]
    misfits: list[RowProblem] = field(default_factory=list)


def _table(text: str, file: str) -> _Table:
    """Read a file. Raises ValueError or RecursionError."""
    table = _json_table(text) if file.lower().endswith(".json") else _csv_table(text)
    if len(table.rows) > MOST_ROWS:
        raise ValueError(f"more than {MOST_ROWS:,} rows; split the file")
    return table


def _json_table(text: str) -> _Table:
    found = json.loads(text)
    listed = found.get("data", found.get("records")) if isinstance(found, dict) else found
    if not isinstance(listed, list) or not all(isinstance(row, dict) for row in listed):
        raise ValueError('must be a list of objects, or {"data": [...]}')
    return _Table(list(dict.fromkeys(name for row in listed for name in row)), list(enumerate(listed, 1)))


def _csv_table(text: str) -> _Table:
    rows = _cells(text)
    names = next(([cell.strip() for cell in cells] for _, cells in rows), None)
    if names is None:
        raise ValueError("the file is empty")
    table = _Table(names, [])
    for number, cells in rows:
        if any(cells[len(names) :]):
            reason = f"{len(cells)} cells under {len(names)} headings; is a comma in a name without quotes?"
            table.misfits.append(RowProblem(number, "", reason))
        else:
            table.rows.append((number, dict(zip(names, cells, strict=False))))
    return table


def _cells(text: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with something in them, numbered as a spreadsheet does: blank rows count, a cell of several lines is one.

    A quote that is never closed would swallow the rest of the file as one cell; `strict` refuses it.
    """
    heading = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=heading.count), strict=True)
    try:
        for number, cells in enumerate(reader, 1):
            if any(cell.strip() for cell in cells):
                yield number, cells
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from None


def _count(report: ImportReport, good: int, saved: tuple[int, int]) -> None:
    created, changed = saved
    report.created += created
    report.changed += changed
    report.unchanged += good - created - changed
