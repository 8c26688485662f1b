"""`notifier quarantine list|show|release`: events that could not be accepted, kept whole (P8)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from notifier.bootstrap import utc_now
from notifier.cli.current import system
from notifier.cli.printing import fail, print_json, print_table, safe, say
from notifier.core.acceptance import AnswerStatus
from notifier.core.events import item_from_quarantine
from notifier.core.ids import TenantId
from notifier.core.model import Credential
from notifier.core.records import QuarantineEntry

app = typer.Typer(no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]
COLUMNS = ["id", "received_at", "code", "field", "reason", "source_id", "released_at"]


@app.command("list")
def list_entries(tenant: str, limit: int = 50, as_json: AsJson = False) -> None:
    """List what waits in quarantine, newest first."""
    with system().store.read() as tx:
        rows, total = tx.list_rows("quarantine", TenantId(tenant), start=0, limit=limit, filters={})
    if as_json:
        print_json({"records": rows, "totalRecords": total})
    else:
        print_table(f"{total} in quarantine", rows, COLUMNS)


@app.command()
def show(tenant: str, entry_id: str) -> None:
    """Print one entry with its body."""
    entry = _entry(tenant, entry_id)
    say(f"[bold]{safe(entry.code)}[/bold] {safe(entry.field or '')}: {safe(entry.reason)}")
    say(f"received {entry.received_at.isoformat(timespec='seconds')} with key {safe(entry.key_id)}")
    typer.echo(entry.body.encode("ascii", "backslashreplace").decode())


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
    item = item_from_quarantine(entry, corrected.read_bytes() if corrected else None)
    answer = system().pipeline.accept([item], _credential(entry))[0]
    if answer.id is None or answer.status not in (AnswerStatus.ACCEPTED, AnswerStatus.DUPLICATE):
        fail(f"{answer.status}: {answer.field or ''} {answer.reason or ''}")
    with system().store.write() as tx:
        tx.mark_released(entry.tenant, entry.id, answer.id, utc_now())
    say(f"{answer.status}: event {answer.id}")


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
