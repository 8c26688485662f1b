"""`notifier demo|simulate`: the fleet of coolers that nobody owns."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from notifier.cli.current import environment
from notifier.cli.printing import console, fail, safe, say

#: What `demo --once` still takes from the environment; everything else would make it another test.
KEPT = (
    "NOTIFIER_DATABASE_URL",  # an empty database of another kind
    "NOTIFIER_TEMPLATES_DIR",
    "NOTIFIER_OUTBOX_PORT",
    "NOTIFIER_OUTBOX_SMTP_PORT",
)
INTERRUPTED = 130
Minutes = Annotated[float, typer.Option(min=0.0, max=600, help="Real minutes the simulated hour takes; 0 = at once.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(demo)
    app.command()(simulate)


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Fixed hours on a fresh folder, everything checked; exit 0 = no problem.")
    ] = False,
    minutes: Minutes = 6.0,
) -> None:
    """Run the whole system on this machine and feed it an hour of a fleet of coolers (twenty outlets, two tenants)."""
    raise typer.Exit(_once() if once else _show(minutes))


def _show(minutes: float) -> int:
    from notifier.embedded.demo import showing
    from notifier.embedded.system import run_system

    folder = Path(os.environ.get("NOTIFIER_DATA_DIR", ".notifier"))
    code = run_system(folder, job=showing(minutes, _tell), tell=_tell)
    return 0 if code == INTERRUPTED else code


def _once() -> int:
    from notifier.embedded.demo import VERDICT, checking
    from notifier.embedded.system import run_system

    environ = {name: value for name, value in os.environ.items() if not name.startswith("NOTIFIER_") or name in KEPT}
    folder = Path(tempfile.mkdtemp(prefix="notifier-demo-"))
    code = run_system(folder, environ, job=checking(_tell), tell=_tell)
    if code != 0:
        say(f"Everything that happened is kept in {safe(folder)}")
    if (folder / VERDICT).exists():
        typer.echo((folder / VERDICT).read_text(encoding="utf-8"), nl=False)  # its last line is the verdict
    if code == 0:
        shutil.rmtree(folder)
    return code


def simulate(seed: int = 1, minutes: Minutes = 6.0) -> None:
    """Feed the running embedded system one hour of the demo's fleet; the same seed again is all duplicates."""
    import httpx

    from notifier.embedded.demo import simulate as feed_hour

    folder = Path(os.environ.get("NOTIFIER_DATA_DIR", ".notifier"))
    environ = environment()
    if "NOTIFIER_OUTBOX_PORT" not in environ:
        fail(f"no embedded system has run on {folder}: start one with `notifier up`", 3)
    try:
        sent = feed_hour(folder, environ, seed, minutes)
    except httpx.HTTPError as error:
        fail(f"{environ['NOTIFIER_BASE_URL']}: {error}; is `notifier up` running?", 3)
    say(f"{sent} events sent")


def _tell(line: str) -> None:
    console.print(safe(line), soft_wrap=True)
