"""`notifier config check|apply|show`."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from notifier.bootstrap import utc_now
from notifier.cli import checking
from notifier.cli.current import environment, system
from notifier.cli.printing import block, complain, fail, print_json, safe, say, warn
from notifier.core import samples
from notifier.core.policy import Policy
from notifier.core.policy_file import parse
from notifier.core.policy_warnings import located, warnings
from notifier.errors import ConfigError, Problem, RenderError
from notifier.unit import CommitPoint

app = typer.Typer(no_args_is_help=True)
File = Annotated[Path | None, typer.Argument(help="The file; default: NOTIFIER_CONFIG, else notifier.toml.")]
AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]
LARGEST = 5_000_000  #: bytes


@app.command("check")
def check_file(file: File = None, as_json: AsJson = False) -> None:
    """List every mistake at once, with its line, and what looks like one. Renders every template. Changes nothing."""
    path, text = _read(file)
    policy, mistakes = _parsed(text, path.name)
    mistakes += [Problem("templates", mistake) for mistake in _broken_templates()]
    doubts = _doubts(policy, text, path.name) if policy else []
    if as_json:
        print_json({"mistakes": [_facts(item) for item in mistakes], "warnings": [_facts(item) for item in doubts]})
    else:
        _print(path, policy, mistakes, doubts)
    if mistakes:
        raise typer.Exit(1)


@app.command("apply")
def apply_file(file: File = None) -> None:
    """Check the file and make it the configuration in force; running processes follow within a second."""
    path, text = _read(file)
    policy = parse(text, path.name)
    for doubt in _doubts(policy, text, path.name):
        warn(str(doubt))
    with system().store.write(CommitPoint.ADMIN) as tx:
        before = tx.policy_text()
        same = before is not None and before[1] == text
        version = before[0] if before is not None and same else tx.save_policy(text, getpass.getuser(), utc_now())
        tx.save_tenants({tenant.id: tenant.name for tenant in policy.tenants.values()})
        tx.limit_lanes(
            {(tenant.id, item.name): item.in_flight for tenant in policy.tenants.values() for item in tenant.endpoints}
        )
    already = " already" if same else ""
    say(f"configuration {version} is{already} in force ({len(policy.tenants)} tenants)")


@app.command("show")
def show() -> None:
    """Print the configuration in force as it was applied."""
    with system().store.read() as tx:
        stored = tx.policy_text()
    if stored is None:
        fail("no configuration was applied yet: run `notifier config apply`")
    version, text = stored
    say(f"# version {version}")
    block(text)


def _parsed(text: str, file: str) -> tuple[Policy | None, list[Problem]]:
    try:
        return parse(text, file), []
    except ConfigError as error:
        return None, list(error.problems)


def _broken_templates() -> list[str]:
    try:
        return system().templates.check(samples.messages())
    except RenderError as error:
        return [str(error)]


def _doubts(policy: Policy, text: str, file: str) -> list[Problem]:
    found = [*warnings(policy), *checking.doubts(policy, system())]
    return located(text, file, found) + [Problem(name, message) for name, message in checking.misspelt(environment())]


def _print(path: Path, policy: Policy | None, mistakes: list[Problem], doubts: list[Problem]) -> None:
    for mistake in mistakes:
        complain(str(mistake))
    for doubt in doubts:
        warn(str(doubt))
    if policy is not None and not mistakes:
        rules = sum(len(tenant.rules) for tenant in policy.tenants.values())
        say(f"{safe(path)}: {len(policy.tenants)} tenants, {rules} rules, no mistake, {len(doubts)} warnings")


def _facts(problem: Problem) -> dict[str, str]:
    return {"where": problem.where, "message": problem.message}


def _read(file: Path | None) -> tuple[Path, str]:
    path = file or system().settings.config
    try:
        if path.stat().st_size > LARGEST:
            fail(f"{path}: larger than {LARGEST:,} bytes")
        return path, path.read_text(encoding="utf-8-sig")
    except OSError as error:
        fail(f"{path}: {error.strerror}")
    except UnicodeDecodeError as error:
        fail(f"{path}: not UTF-8 (byte {error.start})")
