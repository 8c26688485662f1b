"""The rules of the house as tests: who may import whom, what belongs together, what must not be written anywhere."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

from notifier.cli.run import Worker, worker_options
from notifier.worker.app import DELIVER, QUEUES

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "notifier"
SOURCES = sorted(path for path in PACKAGE.rglob("*.py"))
LONGEST = 450  #: lines; a module near that usually holds two ideas

#: A wait in Celery dies with the broker or runs twice after its visibility timeout; a raising task is acked (P1, P3).
FORBIDDEN_IN_TASKS = ("countdown", "eta", "autoretry_for", "retry_backoff")
#: Read the environment: what builds a process. Everybody else is handed settings.
MAY_READ_ENVIRONMENT = ("bootstrap.py", "cli/", "embedded/")
CHANNELS = sorted(path.stem for path in (PACKAGE / "channels").glob("[!_]*.py"))


def test_imports_point_inwards() -> None:
    """The contracts of import-linter in pyproject.toml: layers, independent channels, no driver in the core."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]


def test_the_tables_of_the_demo_are_reckoned_without_the_product() -> None:
    """What the demo compares with must not come from the code it checks."""
    for path in (ROOT / "demo").glob("*.py"):
        assert not [name for name in _imported(path) if name.split(".")[0] == "notifier"], path.name


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_channel_is_one_file_a_template_folder_a_contract_test_and_a_page(channel: str) -> None:
    if channel != "callback":  # what machines get is data: the event as it was frozen
        assert any((ROOT / "templates" / channel).iterdir())
    assert (ROOT / "docs" / "reference" / "channels" / f"{channel}.md").is_file()
    test = ROOT / "tests" / "channels" / f"test_{channel}.py"
    bases = [
        base for node in ast.walk(ast.parse(test.read_text())) if isinstance(node, ast.ClassDef) for base in node.bases
    ]
    assert "ChannelContract" in [ast.unparse(base).split(".")[-1] for base in bases]


def test_there_are_channels_to_check() -> None:
    assert {"callback", "email", "sms"} <= set(CHANNELS)


def test_the_procfile_serves_every_queue_exactly_once() -> None:
    """A queue nobody serves fills up in silence; one served by two kinds of worker blurs what each may block on."""
    served = [queue for kind in _workers_of_the_procfile() for queue in _queues(worker_options(kind, 1))]
    assert sorted(served) == sorted(QUEUES)
    assert _queues(worker_options(Worker.DELIVER, 1)) == [DELIVER]


def _workers_of_the_procfile() -> list[Worker]:
    commands = [line.split(": ", 1)[1].split() for line in (ROOT / "Procfile").read_text().splitlines()]
    return [Worker(words[2]) for words in commands if words[:2] == ["notifier", "worker"]]


def _queues(options: list[str]) -> list[str]:
    return options[options.index("-Q") + 1].split(",")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_holds_one_idea_and_says_which(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST
    migration = "versions" in path.parts
    assert migration or not text.strip() or ast.get_docstring(ast.parse(text)), "a module docstring: what it is for"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_task_waits_in_the_broker_or_retries_by_itself(path: Path) -> None:
    """P1, P3: due times are rows."""
    tree = ast.parse(path.read_text())
    words = [keyword.arg for node in ast.walk(tree) if isinstance(node, ast.Call) for keyword in node.keywords]
    assert not set(words) & set(FORBIDDEN_IN_TASKS)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_transaction_names_its_commit_point(path: Path) -> None:
    """P1 to P6: the tests that kill the process find every place where it can leave something half done."""
    nameless = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[0].endswith("store")
        if ast.unparse(node.func).endswith(".write") and not node.args
    ]
    assert nameless == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_environment_is_read_where_a_process_is_built(path: Path) -> None:
    if str(path.relative_to(PACKAGE)).startswith(MAY_READ_ENVIRONMENT):
        return
    assert list(_environment_reads(ast.parse(path.read_text()))) == []


def _environment_reads(tree: ast.AST) -> Iterator[int]:
    """Lines that look into os.environ; handing it whole to `load` or `build` is no look."""
    handed_on = [
        argument
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("load", "build")
        for argument in node.args
    ]
    for node in ast.walk(tree):
        if ast.unparse(node) in ("os.environ", "os.getenv") and node not in handed_on:
            yield node.lineno  # type: ignore[attr-defined]  # an expression, and these have one


@pytest.mark.parametrize("source", ["x = os.environ['A']", "x = os.getenv('A')", "load({**os.environ})"])
def test_the_rule_about_the_environment_sees_a_look(source: str) -> None:
    assert list(_environment_reads(ast.parse(source))) == [1]


@pytest.mark.parametrize("path", sorted((PACKAGE / "core").glob("*.py")), ids=lambda path: path.stem)
def test_the_core_is_handed_the_time(path: Path) -> None:
    calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    clocks = {"datetime.now", "datetime.utcnow", "date.today", "datetime.today", "time.time", "time.monotonic"}
    assert not clocks & set(calls)


IMPORT_ALL = """
import importlib, os, socket, sys
def refuse(*arguments, **named): raise AssertionError("an import opened a connection")
socket.socket.connect = refuse
os.environ["NOTIFIER_SLOTS"] = "whoever loads the settings now fails"
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def test_no_import_connects_or_loads_the_settings() -> None:
    scripts = {"notifier.__main__", "notifier.store.migrations.env"}  # made to be run
    modules = {name for name in grimp.build_graph("notifier").modules if ".versions" not in name} - scripts
    run = _python(IMPORT_ALL, *sorted(modules))
    assert run.returncode == 0, run.stderr[-3000:]


def test_workers_start_without_the_web_stack() -> None:
    """It costs a process about 100 MB; a worker has no use for it."""
    run = _python("import sys, notifier.worker.tasks, notifier.worker.bootstep; print(*sys.modules)")
    assert "notifier.bootstrap" in run.stdout.split(), run.stderr[-3000:]
    assert not {"fastapi", "starlette", "uvicorn"} & set(run.stdout.split())


def _python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
