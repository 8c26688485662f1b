"""The command line `notifier`: one sub-application per subject, each in its own module.

Prints for people by default and JSON with `--json`; event data is escaped for terminals. Exit codes: 0 done,
1 something was wrong with the input (it says what), 2 wrong usage, 3 a needed part is not reachable.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from notifier.cli import config, data, demo, inspect, keys, lanes, quarantine, run, switch
from notifier.cli.printing import complain
from notifier.errors import ConfigError, NotifierError, StoreError
from notifier.logs import set_up


class Speaking(TyperGroup):
    """Says what a person can act on in a sentence, never as a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; our own errors become a sentence and an exit code."""
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            for problem in error.problems:
                complain(str(problem))
            raise typer.Exit(1) from None
        except StoreError as error:
            complain(f"database: {error}{_remedy(str(error))}")
            raise typer.Exit(3) from None
        except NotifierError as error:
            complain(str(error))
            raise typer.Exit(1) from None


app = typer.Typer(
    name="notifier",
    cls=Speaking,
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
app.add_typer(lanes.app, name="lanes", help="Receivers in trouble: what rests, and go on before its time.")
app.add_typer(switch.app, name="switch", help="Stop sending, and go on again.")


def main() -> None:
    """Entry point. Logs go to stderr as text, warnings only: a command prints what it has to say itself."""
    set_up("text", "WARNING")
    app()


def _remedy(text: str) -> str:
    """What helps against the two databases' word for tables that were never made."""
    missing = "no such table" in text or "UndefinedTable" in text
    return "; create the tables with `notifier migrate`" if missing else ""
