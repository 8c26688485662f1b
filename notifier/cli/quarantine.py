"""`notifier quarantine list|show|release`: events that could not be accepted, kept whole (P8)."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from notifier.bootstrap import utc_now
from notifier.cli.current import system
from notifier.cli.printing import block, fail, print_json, print_table, safe, say
from notifier.core.acceptance import AnswerStatus
from notifier.core.addresses import mask_all
from notifier.core.events import MOST_BODY, Rejection, item_from_quarantine, read
from notifier.core.ids import TenantId
from notifier.core.model import Credential
from notifier.core.records import QuarantineEntry
from notifier.sources.coolr import adapt_record
from notifier.unit import CommitPoint

app = typer.Typer(no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]
FACTS = (
    "id",
    "received_at",
    "key_id",
    "code",
    "field",
    "reason",
    "source",
    "source_id",
    "released_at",
    "released_event_id",
)
MOST_CORRECTED = 1_000_000  #: bytes of a corrected event
COLUMNS = ["id", "received_at", "code", "field", "reason", "source_id", "released_at"]


@app.command("list")
def list_entries(
    tenant: str,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, the newest first.")] = 50,
    start: Annotated[int, typer.Option(min=0, help="How many of the newest to leave out.")] = 0,
    waiting: Annotated[bool, typer.Option("--waiting", help="Without what was released already.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what is in quarantine, newest first."""
    _require_tenant(tenant)
    filters = {"released_at": None} if waiting else {}
    with system().store.read() as tx:
        rows, total = tx.list_rows("quarantine", TenantId(tenant), start=start, limit=limit, filters=filters)
    if as_json:
        print_json({"records": rows, "totalRecords": total})
    else:
        print_table(f"{total} in quarantine", rows, COLUMNS)


@app.command()
def show(tenant: str, entry_id: str, as_json: AsJson = False) -> None:
    """Print one entry with its body; addresses in it are masked."""
    entry = _entry(tenant, entry_id)
    facts = {name: _shown(getattr(entry, name)) for name in FACTS} | {"body": mask_all(entry.body)}
    if as_json:
        print_json(facts)
        return
    for name in FACTS:
        if facts[name]:
            say(f"{name.replace('_', ' '):<17} {safe(facts[name])}")
    block(facts["body"] or "")
    if len(entry.body) >= MOST_BODY:
        say("(the body was cut here: release it with --corrected and the whole event)")


@app.command()
def release(
    tenant: str,
    entry_id: str,
    corrected: Annotated[Path | None, typer.Option(help="File with the corrected event; default: as it came.")] = None,
) -> None:
    """Offer an entry to the accept step again, under the rights of the key it came with."""
    entry = _entry(tenant, entry_id)
    if entry.released_at is not None:
        fail(f"released already at {entry.released_at.isoformat(timespec='seconds')}")
    credential = _credential(entry)
    item = item_from_quarantine(entry, _content(corrected) if corrected else None)
    # Looked at first, so that what is still wrong does not go into quarantine a second time.
    reading = read(item, credential, utc_now(), adapt_record)
    if isinstance(reading, Rejection):
        fail(f"still {reading.code}: {f'{reading.field}: ' if reading.field else ''}{reading.reason}")
    answer = system().pipeline.accept([item], credential)[0]
    if answer.status is AnswerStatus.UNCHANGED:
        fail("nothing new: it changes neither the status nor the value of its alert")
    if answer.id is None:
        fail(f"{answer.status}: {f'{answer.field}: ' if answer.field else ''}{answer.reason or ''}")
    with system().store.write(CommitPoint.ADMIN) as tx:
        tx.mark_released(entry.tenant, entry.id, answer.id, utc_now())
    say(f"{answer.status}: event {answer.id}")


def _shown(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value or "")


def _content(file: Path) -> bytes:
    try:
        if file.stat().st_size > MOST_CORRECTED:
            fail(f"{file}: larger than {MOST_CORRECTED:,} bytes")
        return file.read_bytes()
    except OSError as error:
        fail(f"{file}: {error.strerror}")


def _require_tenant(tenant: str) -> None:
    if TenantId(tenant) not in system().policies.current().tenants:
        fail(f"no tenant named {tenant} in the applied configuration")


def _entry(tenant: str, entry_id: str) -> QuarantineEntry:
    with system().store.read() as tx:
        entry = tx.quarantined(TenantId(tenant), entry_id)
    if entry is None:
        fail(f"no entry {entry_id} in the quarantine of {tenant}")
    return entry


def _credential(entry: QuarantineEntry) -> Credential:
    with system().store.read() as tx:
        key = next((key for key in tx.api_keys(entry.tenant) if key.id == entry.key_id), None)
    if key is None or key.disabled_at is not None:
        fail(f"the key it came with ({entry.key_id}) is disabled or gone; send the event with another key instead")
    return Credential(key.id, key.tenant, key.sources, key.types, key.may_address, key.may_read)
