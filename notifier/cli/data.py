"""`notifier import|send`: data in."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from notifier.cli.current import environment, system
from notifier.cli.printing import errors, fail, print_json, safe, say
from notifier.core.ids import TenantId
from notifier.importing import Importer, ImportReport

MOST_SENT = 10_000_000  #: bytes of one request
AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("import")(import_files)
    app.command()(send)


def import_files(
    tenant: str,
    files: Annotated[list[Path], typer.Argument(help="CSV or JSON with outlets or contacts; outlets first.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Import outlets and contacts. Repeating it changes nothing; bad rows are listed and the good ones imported."""
    policy = system().policies.current().tenants.get(TenantId(tenant))
    if policy is None:
        fail(f"no tenant named {tenant} in the applied configuration")
    importer = Importer(system().store, policy, dry_run)
    with Progress(console=errors, transient=True) as bar:
        reports = [importer.file(path, _shown_on(bar, path)) for path in files]
    _report(reports, as_json, dry_run)


def _shown_on(bar: Progress, path: Path) -> Callable[[int, int], None]:
    task = bar.add_task(safe(path.name), total=None)

    def progress(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)

    return progress


def _report(reports: Sequence[ImportReport], as_json: bool, dry_run: bool) -> None:
    if as_json:
        print_json([report.facts() for report in reports])
    else:
        for report in reports:
            _print_report(report, dry_run)
    if any(report.refused for report in reports):
        raise typer.Exit(1)


def _print_report(report: ImportReport, dry_run: bool) -> None:
    counts = f"{report.created} new, {report.changed} changed, {report.unchanged} as before"
    say(f"{safe(report.file)}: {counts}{' (nothing was changed: a dry run)' if dry_run else ''}")
    if report.ignored:
        say(f"columns that are not read: {safe(', '.join(report.ignored))}")
    if report.refused:
        say(f"[bold]{report.refused} rows not imported[/bold]")
    for problem in report.problems:
        where = f"row {problem.row}" + (f", {problem.column}" if problem.column else "") if problem.row else "the file"
        say(f"  {safe(where)}: {safe(problem.reason)}")
    if report.refused > len(report.problems):
        say(f"  and {report.refused - len(report.problems)} more")


def send(
    file: Annotated[Path, typer.Argument(help="JSON file: one event, a list, or Coolr's own records.")],
    key: Annotated[str, typer.Option(envvar="NOTIFIER_API_KEY", help="API key.")] = "",
) -> None:
    """Send events from a file to the running web application and print what was answered."""
    import httpx

    if not key:
        fail("an API key is needed: NOTIFIER_API_KEY or --key (make one with `notifier keys create`)", 2)
    body = _body(file)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    base = environment().get("NOTIFIER_BASE_URL", system().settings.base_url)
    try:
        answer = httpx.post(f"{base}/v1/events", content=body, headers=headers, trust_env=False, timeout=30)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        fail(f"{base}: {error}", 3)
    _answered(answer.status_code, answer.text)


def _body(file: Path) -> bytes:
    try:
        if file.stat().st_size > MOST_SENT:
            fail(f"{file}: larger than {MOST_SENT:,} bytes; send fewer events at once")
        return file.read_bytes()
    except OSError as error:
        fail(f"{file}: {error.strerror}")


def _answered(status: int, text: str) -> None:
    """Print the answer; leave with 1 when an event was refused, with 3 when something else than us answered."""
    try:
        answer = json.loads(text)
    except ValueError:
        fail(f"status {status}, and no JSON: is this the notifier's web application?", 3)
    print_json(answer)
    refused = answer.get("rejected", 0) + answer.get("conflict", 0) if isinstance(answer, dict) else 0
    if status >= 400 or refused:
        raise typer.Exit(1)
