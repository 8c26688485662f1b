"""`notifier config check|apply|show`."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from notifier.bootstrap import utc_now
from notifier.cli.current import system
from notifier.cli.printing import errors, fail, safe, say
from notifier.core.policy_file import check, parse

app = typer.Typer(no_args_is_help=True)
File = Annotated[Path | None, typer.Argument(help="The file; default: NOTIFIER_CONFIG, else notifier.toml.")]
LARGEST = 5_000_000  #: bytes


@app.command("check")
def check_file(file: File = None) -> None:
    """List every mistake in the file at once, with its line. Changes nothing."""
    path, text = _read(file)
    warnings = check(text, path.name)
    for warning in warnings:
        errors.print(f"[yellow]warning:[/yellow] {safe(warning)}")
    policy = parse(text, path.name)
    rules = sum(len(tenant.rules) for tenant in policy.tenants.values())
    say(f"{safe(path)}: {len(policy.tenants)} tenants, {rules} rules, no mistake")


@app.command("apply")
def apply_file(file: File = None) -> None:
    """Check the file and make it the configuration in force; running processes follow within a second."""
    path, text = _read(file)
    policy = parse(text, path.name)
    with system().store.write() as tx:
        version = tx.save_policy(text, getpass.getuser(), utc_now())
        tx.save_tenants({tenant.id: tenant.name for tenant in policy.tenants.values()})
    say(f"configuration {version} is in force ({len(policy.tenants)} tenants)")


@app.command("show")
def show() -> None:
    """Print the configuration in force as it was applied."""
    with system().store.read() as tx:
        stored = tx.policy_text()
    if stored is None:
        fail("no configuration was applied yet: run `notifier config apply`")
    version, text = stored
    say(f"# version {version}")
    typer.echo(text)


def _read(file: Path | None) -> tuple[Path, str]:
    path = file or system().settings.config
    try:
        if path.stat().st_size > LARGEST:
            fail(f"{path}: larger than {LARGEST:,} bytes")
        return path, path.read_text(encoding="utf-8")
    except OSError as error:
        fail(f"{path}: {error.strerror}")
    except UnicodeDecodeError as error:
        fail(f"{path}: not UTF-8 (byte {error.start})")
