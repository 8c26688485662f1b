"""Who does something by hand, and why: asked of operators wherever the audit keeps it."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from notifier.cli.printing import fail

Reason = Annotated[str, typer.Option(help="Why; kept in the audit and shown to everybody who asks.")]
By = Annotated[str, typer.Option(help="Who; default: the user of this machine.")]
MOST_REASON = 500  #: characters


def told(reason: str) -> str:
    """The reason. Leaves with a sentence when there is none."""
    if not reason.strip():
        fail("say why with --reason: the next one on duty will ask")
    return reason.strip()[:MOST_REASON]


def actor(by: str) -> str:
    """The operator, as the audit names him or her."""
    return f"operator:{by or getpass.getuser()}"
