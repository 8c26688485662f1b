"""`notifier up|worker|beat|web|outbox|migrate`: what runs."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from notifier.cli.current import system
from notifier.cli.printing import fail, say
from notifier.config import load

#: uvicorn's options for what anybody may connect to.
WEB_LIMITS = (
    *("--http", "notifier.web.protocol:BoundedProtocol", "--h11-max-incomplete-event-size", "32768"),
    *("--timeout-keep-alive", "15", "--timeout-graceful-shutdown", "15"),
)


class Worker(StrEnum):
    """The two kinds of worker process."""

    INTAKE = "intake"
    DELIVER = "deliver"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(up)
    app.command()(worker)
    app.command()(beat)
    app.command()(web)
    app.command()(outbox)
    app.command()(migrate)


def up() -> None:
    """Run the whole system on this machine: embedded broker and SQLite unless the environment names others."""
    from notifier.embedded.system import run_system

    raise typer.Exit(run_system(Path(os.environ.get("NOTIFIER_DATA_DIR", ".notifier"))))


def worker(
    kind: Worker,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Pool processes of the intake worker.")] = 2,
    nice: Annotated[int, typer.Option(min=0, max=19, help="How far to stand back for the web on a busy machine.")] = 10,
) -> None:
    """Run a worker: `intake` accepts and routes, `deliver` sends (one per core)."""
    _require_broker()
    os.nice(nice)  # what is accepted will be sent, only later; what is not accepted in time is the sender's trouble
    _become("celery", "-A", "notifier.worker.app", "worker", *worker_options(kind, concurrency))


def worker_options(kind: Worker, concurrency: int) -> list[str]:
    """Celery's options for this kind of worker; the deliver queue has processes of its own, one event loop each."""
    quiet = ["--without-gossip", "--without-mingle", "--loglevel", "INFO"]
    if kind is Worker.INTAKE:
        return ["-P", "prefork", "-c", str(concurrency), "-Q", "intake,route,slow", "-n", "intake@%h", *quiet]
    return ["-P", "solo", "-Q", "deliver", "-n", f"deliver-{os.getpid()}@%h", *quiet]


def beat() -> None:
    """Run the clock that hints calendar work. Two of them are harmless; none is, too: workers look by themselves."""
    _require_broker()
    folder = load(os.environ).data_dir
    folder.mkdir(parents=True, exist_ok=True)
    schedule = str(folder / "beat-schedule")
    _become("celery", "-A", "notifier.worker.app", "beat", "--schedule", schedule, "--pidfile=", "--loglevel", "INFO")


def web(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
) -> None:
    """Run the web application: events in, link pages, provider call-backs, health and metrics."""
    options = ["--host", host, "--port", str(port), "--no-access-log", "--no-server-header", "--no-proxy-headers"]
    _become("uvicorn", "notifier.web.app:create", "--factory", *options, *WEB_LIMITS)


def outbox() -> None:
    """Run the outbox: loopback SMTP, Twilio-shaped and callback servers that keep what they get."""
    from notifier.outbox import main

    main(os.environ)


def migrate() -> None:
    """Create or upgrade the database schema. Safe to run twice, also at the same time."""
    from notifier.store import migrate as migrate_store

    version = migrate_store(system().settings.database_url)
    say(f"the database is at schema {version}")


def _require_broker() -> None:
    if not load(os.environ).broker_url:
        fail("NOTIFIER_BROKER_URL is not set; `notifier up` brings its own broker", 3)


def _become(module: str, *arguments: str) -> None:
    """Replace this process, so that signals reach the program itself."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606  # no shell is wanted
