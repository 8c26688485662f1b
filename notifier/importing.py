"""Import outlets and contacts from CSV or JSON: repeatable, in small transactions, bad rows listed and skipped."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from notifier.core.directory_rows import RowProblem, is_contacts, read_contact, read_outlet
from notifier.core.ids import OutletCode
from notifier.core.model import Contact, Outlet
from notifier.core.policy import TenantPolicy
from notifier.ports import Store
from notifier.unit import Writer

CHUNK = 100  #: rows per transaction
MOST_BYTES = 50_000_000
MOST_ROWS = 200_000


@dataclass(slots=True)
class ImportReport:
    """What an import did."""

    file: str
    created: int = 0
    changed: int = 0
    unchanged: int = 0
    problems: list[RowProblem] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        problems = [problem.facts() for problem in self.problems]
        return {
            "file": self.file,
            "created": self.created,
            "changed": self.changed,
            "unchanged": self.unchanged,
            "problems": problems,
        }


class _DryRun(Exception):
    """Rolls the transaction of a dry run back."""


def import_file(
    store: Store,
    path: Path,
    policy: TenantPolicy,
    *,
    dry_run: bool = False,
    progress: Callable[[int], object] = lambda _: None,
) -> ImportReport:
    """Import one file. What cannot be read at all is a problem in row 0."""
    try:
        if path.stat().st_size > MOST_BYTES:
            return _unreadable(path.name, f"larger than {MOST_BYTES:,} bytes")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        return _unreadable(path.name, error.strerror or str(error))
    except UnicodeDecodeError as error:
        return _unreadable(path.name, f"not UTF-8 (byte {error.start}); save the file as UTF-8")
    return import_text(store, text, path.name, policy, dry_run=dry_run, progress=progress)


def import_text(
    store: Store,
    text: str,
    file: str,
    policy: TenantPolicy,
    *,
    dry_run: bool = False,
    progress: Callable[[int], object] = lambda _: None,
) -> ImportReport:
    """Import the text of a CSV or JSON file."""
    try:
        rows = list(_rows(text, file))
    except (csv.Error, ValueError) as error:
        return _unreadable(file, str(error))
    report = ImportReport(file)
    contacts = bool(rows) and is_contacts(list(rows[0][1]))
    for start in range(0, len(rows), CHUNK):
        try:
            with store.write() as tx:
                chunk = rows[start : start + CHUNK]
                _import_contacts(tx, chunk, policy, report) if contacts else _import_outlets(tx, chunk, policy, report)
                if dry_run:
                    raise _DryRun
        except _DryRun:
            pass
        progress(start + len(chunk))
    return report


def _unreadable(file: str, reason: str) -> ImportReport:
    return ImportReport(file, problems=[RowProblem(0, "", reason)])


def _rows(text: str, file: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Rows with their number as a person counts. Raises ValueError or csv.Error."""
    if file.lower().endswith(".json"):
        found = json.loads(text)
        listed = found.get("data", found.get("records")) if isinstance(found, dict) else found
        if not isinstance(listed, list) or not all(isinstance(row, dict) for row in listed):
            raise ValueError('must be a list of objects, or {"data": [...]}')
        yield from enumerate(listed, 1)
        return
    heading = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text), delimiter=";" if heading.count(";") > heading.count(",") else ",")
    for number, row in enumerate(reader, 2):
        if number > MOST_ROWS:
            raise ValueError(f"more than {MOST_ROWS:,} rows")
        yield number, row


def _import_outlets(
    tx: Writer, chunk: Sequence[tuple[int, Mapping[str, Any]]], policy: TenantPolicy, report: ImportReport
) -> None:
    read = [read_outlet(row, number, policy) for number, row in chunk]
    good = [item for item in read if isinstance(item, Outlet)]
    _count(report, read, len(good), tx.save_outlets(good))


def _import_contacts(
    tx: Writer, chunk: Sequence[tuple[int, Mapping[str, Any]]], policy: TenantPolicy, report: ImportReport
) -> None:
    codes = [OutletCode(str(value)) for _, row in chunk for value in row.values() if value]
    outlets = tx.outlets(policy.id, codes)
    read = [read_contact(row, number, policy, outlets) for number, row in chunk]  # type: ignore[arg-type]  # keys are texts
    good = [item for item in read if isinstance(item, Contact)]
    _count(report, read, len(good), tx.save_contacts(good))


def _count(report: ImportReport, read: Sequence[object], good: int, saved: tuple[int, int]) -> None:
    created, changed = saved
    report.problems += [item for item in read if isinstance(item, RowProblem)]
    report.created += created
    report.changed += changed
    report.unchanged += good - created - changed
