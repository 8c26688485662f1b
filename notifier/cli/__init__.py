"""The command line `notifier`: one sub-application per subject, each in its own module.

Prints for people by default and JSON with `--json`; event data is escaped for terminals. Exit codes: 0 done,
1 something was wrong with the input (it says what), 2 wrong usage, 3 a needed part is not reachable.
"""

from __future__ import annotations

import sys

import typer

from notifier.cli import config, data, demo, inspect, keys, quarantine, run
from notifier.cli.printing import complain
from notifier.errors import ConfigError, NotifierError, StoreError

app = typer.Typer(
    name="notifier",
    help="Turns Coolr's cooler events into delivered messages with links people can act on.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for module in (run, demo, data, inspect):
    module.register(app)
app.add_typer(config.app, name="config", help="Check and apply notifier.toml.")
app.add_typer(keys.app, name="keys", help="API keys and link keys.")
app.add_typer(quarantine.app, name="quarantine", help="Events that could not be accepted.")


def main() -> None:
    """Entry point: what a person can act on is printed as a sentence, never as a traceback."""
    try:
        app()
    except ConfigError as error:
        for problem in error.problems:
            complain(str(problem))
        sys.exit(1)
    except StoreError as error:
        complain(f"database: {error}{_remedy(str(error))}")
        sys.exit(3)
    except NotifierError as error:
        complain(str(error))
        sys.exit(1)


def _remedy(text: str) -> str:
    """What helps against the two databases' word for tables that were never made."""
    missing = "no such table" in text or "UndefinedTable" in text
    return "; create the tables with `notifier migrate`" if missing else ""
