"""`notifier keys`: API keys (only their hash is stored) and keys that sign links."""

from __future__ import annotations

import base64
import secrets
from fnmatch import fnmatchcase
from typing import Annotated

import typer

from notifier.bootstrap import utc_now
from notifier.cli.current import system
from notifier.cli.printing import fail, print_json, print_table, say
from notifier.config import MIN_KEY_BYTES
from notifier.core.ids import TenantId
from notifier.core.keys import make_api_key
from notifier.core.model import EventType
from notifier.core.records import ApiKey
from notifier.unit import CommitPoint

app = typer.Typer(no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]


@app.command()
def create(
    tenant: str,
    name: Annotated[str, typer.Option(help='What it is for; "celery" gives events from Celery their rights.')] = "api",
    source: Annotated[list[str] | None, typer.Option(help="CloudEvents source it may name (pattern).")] = None,
    type_: Annotated[list[str] | None, typer.Option("--type", help="Event type it may send (pattern).")] = None,
    may_address: Annotated[bool, typer.Option(help="Its events may name recipients themselves.")] = False,
    read: Annotated[bool, typer.Option("--read", help="It may use the read API.")] = False,
) -> None:
    """Make an API key and print it once: it cannot be shown again."""
    if TenantId(tenant) not in system().policies.current().tenants:
        fail(f"no tenant named {tenant} in the applied configuration")
    for pattern in type_ or []:
        if not any(fnmatchcase(kind.value, pattern) for kind in EventType):
            fail(f"no event type matches {pattern}; known are {', '.join(EventType)}")
    made = make_api_key()
    key = ApiKey(
        id=made.id,
        tenant=TenantId(tenant),
        name=name,
        secret_hash=made.secret_hash,
        sources=tuple(source or ["*"]),
        types=tuple(type_ or ["coolr.*"]),
        may_address=may_address,
        may_read=read,
        created_at=utc_now(),
    )
    with system().store.write(CommitPoint.ADMIN) as tx:
        tx.save_api_key(key)
    typer.echo(made.plaintext)


@app.command("list")
def list_keys(tenant: str | None = None, as_json: AsJson = False) -> None:
    """List API keys without their secrets."""
    with system().store.read() as tx:
        keys = tx.api_keys(TenantId(tenant) if tenant else None)
    rows = [
        {
            "id": key.id,
            "tenant": key.tenant,
            "name": key.name,
            "sources": ", ".join(key.sources),
            "types": ", ".join(key.types),
            "rights": "send" + (", address" if key.may_address else "") + (", read" if key.may_read else ""),
            "created": key.created_at.isoformat(timespec="seconds"),
            "disabled": key.disabled_at.isoformat(timespec="seconds") if key.disabled_at else "",
        }
        for key in keys
    ]
    if as_json:
        print_json(rows)
    else:
        print_table("API keys", rows, list(rows[0]) if rows else ["id"])


@app.command()
def disable(key_id: str) -> None:
    """Switch an API key off; requests with it are refused at once."""
    with system().store.write(CommitPoint.ADMIN) as tx:
        if not tx.disable_api_key(key_id, utc_now()):
            fail(f"no enabled key with id {key_id}")
    say(f"key {key_id} is disabled")


@app.command()
def link() -> None:
    """Print a fresh key for NOTIFIER_LINK_KEYS; add it as the newest (last) and keep the older ones."""
    typer.echo(base64.urlsafe_b64encode(secrets.token_bytes(MIN_KEY_BYTES)).decode())
