"""The system a command works on, built from the environment when first needed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from notifier.bootstrap import System, build
from notifier.config import load


def environment() -> Mapping[str, str]:
    """The environment, completed by that of a running embedded system in the data folder (`notifier up` wrote it)."""
    folder = Path(os.environ.get("NOTIFIER_DATA_DIR", ".notifier"))
    from notifier.embedded.system import recorded_environment

    recorded = recorded_environment(folder)
    # A secret that is given here in one form replaces the recorded one in its other form.
    return {name: value for name, value in recorded.items() if not _in_other_form(name)} | os.environ


def _in_other_form(name: str) -> bool:
    other = name.removesuffix("_FILE") if name.endswith("_FILE") else f"{name}_FILE"
    return bool(os.environ.get(other))


@cache
def system() -> System:
    """Return the system for commands: hints are published when there is a broker."""
    environ = environment()
    settings = load(environ)

    def publish(task: str) -> None:
        from notifier.worker.app import app

        app.conf.broker_url = settings.broker_url
        app.send_task(task, retry=False, ignore_result=True, expires=30)

    return build(settings, environ, publish)
