"""The embedded system as a whole: which parts, with which settings, and `run_system` that `notifier up` calls.

Whatever the environment already names (a database, a broker, SMTP, Twilio) replaces its embedded part. The parts are
the same commands production runs; only their settings differ.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from notifier.config import Settings, load
from notifier.embedded.folder import Folder, open_folder, write_private
from notifier.embedded.part import Part
from notifier.embedded.ports import Ports, choose
from notifier.embedded.probes import web_answers, worker_answers
from notifier.embedded.secrets import Secrets, load_secrets
from notifier.embedded.settings import embedded_settings, local, twilio_credentials
from notifier.embedded.supervisor import Supervisor, Tell, sole_user
from notifier.embedded.valkey import broker_part, embedded_broker
from notifier.outbox.settings import is_public

DELIVER_GRACE = 40.0  #: seconds; a warm shutdown may wait 35 s for sends in flight
INTAKE_GRACE = 25.0  #: a task returns within 20 s


@dataclass(frozen=True, slots=True)
class Running:
    """What a job needs to know of the system it works on."""

    folder: Folder
    ports: Ports
    environment: Mapping[str, str] = field(repr=False)  #: of the parts; holds secrets
    stopping: Callable[[], bool]  #: everything is being stopped: give up soon

    @property
    def web_url(self) -> str:
        """Address of the web application on this machine."""
        return local(self.ports.web)

    @property
    def outbox_url(self) -> str:
        """The page that shows what was caught."""
        return local(self.ports.outbox) + "/dev/outbox"

    @property
    def callbacks_url(self) -> str:
        """Base address of the callback receiver; an endpoint's URL is this and /hooks/NAME."""
        return local(self.ports.outbox)


#: Work done while the system is up; what it returns becomes the exit code.
SystemJob = Callable[[Running], int]


def run_system(
    data_dir: Path,
    environ: Mapping[str, str] | None = None,
    job: SystemJob | None = None,
    tell: Tell | None = None,
) -> int:
    """Run the whole system until a signal (or the end of the job), then stop it in order; returns the exit code.

    Must be called from the main thread. Raises ConfigError when the folder is in use, a port is taken or a secret file
    can be read by others.
    """
    given = dict(os.environ if environ is None else environ)
    tell = tell or _print
    folder = open_folder(data_dir)
    with sole_user(folder, tell):
        secrets = load_secrets(folder)
        ports = choose(given, folder.run / "ports.json")
        own = embedded_settings(folder, ports, secrets, given)
        environment = {**given, **own}
        settings = load(environment)
        _record(folder, {name: value for name, value in environment.items() if name.startswith("NOTIFIER_")})
        try:
            supervisor = Supervisor(embedded_parts(folder, ports, settings, environment, secrets), folder, tell)
            run = None if job is None else _with_facts(job, folder, ports, environment)
            return supervisor.run(lambda: _welcome(folder, ports, settings.base_url, tell), run)
        finally:
            _record(folder, own)  # secrets the user gave are not kept


def _with_facts(
    job: SystemJob, folder: Folder, ports: Ports, environment: Mapping[str, str]
) -> Callable[[Callable[[], bool]], int]:
    return lambda stopping: job(Running(folder, ports, environment, stopping))


# -- what other commands may know ----------------------------------------------------------------------------------


def recorded_environment(data_dir: Path) -> dict[str, str]:
    """Return the NOTIFIER_* settings of the system that runs on that folder or last did; {} when none ever did."""
    try:
        found = json.loads((data_dir / "run" / "environment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _record(folder: Folder, settings: Mapping[str, str]) -> None:
    write_private(folder.run / "environment.json", json.dumps(settings, indent=2))


# -- parts -------------------------------------------------------------------------------------------------------------


def embedded_parts(
    folder: Folder, ports: Ports, settings: Settings, environment: Mapping[str, str], secrets: Secrets
) -> list[Part]:
    """Return the parts in the order in which they start; `environment` is what `settings` was loaded from."""
    web = local(ports.web)
    embedded = settings.broker_url == embedded_broker(folder).broker_url
    parts = [broker_part(folder, environment)] if embedded else []
    if not is_public(settings.base_url):
        # A real Twilio account, if the user has set one, is none of the outbox's business.
        parts.append(_outbox(ports, {**environment, **twilio_credentials(secrets)}))
    return [
        *parts,
        _part("migrate", environment, once=True, ready_within=120),
        _part(
            "web",
            environment,
            "--port",
            str(ports.web),
            ready=lambda: web_answers(f"{web}/healthz"),
            ports={"web": ports.web},
            address=web,
            grace=20,
        ),
        _worker("intake", environment, settings.broker_url, INTAKE_GRACE),
        _worker("deliver", environment, settings.broker_url, DELIVER_GRACE),
        _part("beat", environment, alongside=True),
    ]


def _outbox(ports: Ports, environment: Mapping[str, str]) -> Part:
    url = local(ports.outbox)
    return _part(
        "outbox",
        environment,
        ready=lambda: web_answers(f"{url}/dev/outbox/healthz"),
        ports={"outbox": ports.outbox, "smtp": ports.smtp},
        address=f"{url}/dev/outbox",
    )


def _worker(kind: str, environment: Mapping[str, str], broker_url: str, grace: float) -> Part:
    command = [sys.executable, "-m", "notifier", "worker", kind]
    return Part(
        name=kind,
        command=command,
        environment=environment,
        ready=lambda: worker_answers(broker_url, kind),
        ready_within=60,
        alongside=True,
        grace=grace,
    )


def _part(
    name: str,
    environment: Mapping[str, str],
    *options: str,
    ready: Callable[[], bool] = lambda: True,
    ready_within: float = 60,
    once: bool = False,
    alongside: bool = False,
    grace: float = 10,
    ports: Mapping[str, int] | None = None,
    address: str = "",
) -> Part:
    return Part(
        name=name,
        command=[sys.executable, "-m", "notifier", name, *options],
        environment=environment,
        ready=ready,
        ready_within=ready_within,
        once=once,
        alongside=alongside,
        grace=grace,
        ports=ports or {},
        address=address,
    )


# -- console -----------------------------------------------------------------------------------------------------------


def _welcome(folder: Folder, ports: Ports, base_url: str, tell: Tell) -> None:
    tell("")
    if is_public(base_url):
        tell("No outbox: NOTIFIER_BASE_URL is public. Mail, SMS and callbacks go where your settings say.")
    else:
        tell(f"Outbox  {local(ports.outbox)}/dev/outbox")
    tell(f"Links   {base_url}")
    tell(f"Logs    {folder.logs}")
    tell("Ctrl-C stops everything.")


def _print(line: str) -> None:
    Console().print(escape(line), soft_wrap=True)
