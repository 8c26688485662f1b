"""`notifier import|send`: data in."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, TaskID

from notifier.cli.current import environment, system
from notifier.cli.printing import errors, fail, print_json, print_table, safe, say

AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("import")(import_files)
    app.command()(send)


def import_files(
    tenant: str,
    files: Annotated[list[Path], typer.Argument(help="CSV or JSON with outlets or contacts; outlets first.")],
    dry_run: Annotated[bool, typer.Option(help="Check everything, change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Import outlets and contacts. Repeating it changes nothing; bad rows are listed and the good ones imported."""
    from notifier.importing import import_file

    policy = system().policies.current().tenants.get(tenant)  # type: ignore[call-overload]
    if policy is None:
        fail(f"no tenant named {tenant} in the applied configuration")
    with Progress(console=errors, transient=True) as bar:

        def import_one(path: Path) -> Any:
            task = bar.add_task(safe(path.name), total=None)
            progress = partial(_advance, bar, task)
            return import_file(system().store, path, policy, dry_run=dry_run, progress=progress)

        reports = [import_one(path) for path in files]
    _report(reports, as_json)


def _advance(bar: Progress, task: TaskID, done: int) -> None:
    bar.update(task, completed=done)


def _report(reports: list[Any], as_json: bool) -> None:
    if as_json:
        print_json([report.facts() for report in reports])
    for report in reports if not as_json else []:
        say(f"{safe(report.file)}: {report.created} new, {report.changed} changed, {report.unchanged} as before")
        if report.problems:
            print_table(
                f"{len(report.problems)} rows not imported",
                [p.facts() for p in report.problems],
                ["row", "column", "reason"],
            )
    if any(report.problems for report in reports):
        raise typer.Exit(1)


def send(
    file: Annotated[Path, typer.Argument(help="JSON file: one event, a list, or Coolr's own records.")],
    key: Annotated[str, typer.Option(envvar="NOTIFIER_API_KEY", help="API key.")] = "",
) -> None:
    """Send events from a file to the running web application and print what was answered."""
    import httpx

    if not key:
        fail("an API key is needed: --key or NOTIFIER_API_KEY (make one with `notifier keys create`)")
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        fail(f"{file}: {error}")
    kind = "application/cloudevents-batch+json" if isinstance(body, list) else "application/cloudevents+json"
    if isinstance(body, dict) and "specversion" not in body:
        kind = "application/json"
    headers = {"Authorization": f"Bearer {key}", "Content-Type": kind}
    base = environment().get("NOTIFIER_BASE_URL", system().settings.base_url)
    try:
        answer = httpx.post(f"{base}/v1/events", content=json.dumps(body), headers=headers, trust_env=False, timeout=30)
    except httpx.HTTPError as error:
        fail(f"{base}: {error}", 3)
    print_json(answer.json())
    if answer.status_code >= 400:
        raise typer.Exit(1)
