"""The command as people start it: streams, exit codes, sentences instead of tracebacks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes


def notifier(folder: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command in that folder, with no setting but these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NOTIFIER_")}
    command = [sys.executable, "-m", "notifier", *words]
    return subprocess.run(
        command, cwd=folder, env=kept | environ, capture_output=True, text=True, timeout=60, check=False
    )


def test_from_nothing_to_an_imported_directory(tmp_path: Path) -> None:
    (tmp_path / "notifier.toml").write_text('[tenants.acme]\ndefault = [{ to = "role:owner" }]\n')
    (tmp_path / "outlets.csv").write_text("Code,Name,Country\nES-1,Main St,ES\n")
    (tmp_path / "contacts.csv").write_text(
        "OutletCode,Role,Email\nES-1,owner,alice@example.com\nES-9,owner,b@example.com\n"
    )
    before = notifier(tmp_path, "keys", "list")
    assert (before.returncode, before.stdout) == (3, "")
    assert before.stderr.startswith("error: database: ") and "`notifier migrate`" in before.stderr
    assert notifier(tmp_path, "migrate").returncode == 0
    assert notifier(tmp_path, "config", "apply").stdout == "configuration 1 is in force (1 tenants)\n"
    ran = notifier(tmp_path, "import", "acme", "outlets.csv", "contacts.csv")
    assert ran.returncode == 1
    assert "contacts.csv: 1 new, 0 changed, 0 as before\n" in ran.stdout
    assert "row 3, OutletCode: no outlet 'ES-9'; import outlets first" in ran.stdout
    assert "Traceback" not in ran.stderr


CASES: list[tuple[list[str], dict[str, str], int, str]] = [
    # every wrong setting at once
    (["keys", "list"], {"NOTIFIER_SLOTS": "x", "NOTIFIER_BASE_URL": "y"}, 1, "error: NOTIFIER_SLOTS: "),
    # a database that is not there
    (["keys", "list"], {"NOTIFIER_DATABASE_URL": "postgresql://u:s3cret@127.0.0.1:9/n"}, 3, "error: database: "),
    (["keys", "list"], {"NOTIFIER_DATABASE_URL": "mysql://u:s3cret@h/n"}, 3, "error: database: "),
    # no templates
    (
        ["preview", "--sample", "alert_opened"],
        {"NOTIFIER_TEMPLATES_DIR": "/absent"},
        1,
        "error: no templates in /absent",
    ),
    # a worker without broker
    (["worker", "deliver"], {}, 3, "error: NOTIFIER_BROKER_URL is not set"),
    # wrong usage
    (["worker", "everything"], {}, 2, "everything"),
    (["orders"], {}, 2, "No such command"),
]


@pytest.mark.parametrize(("words", "environ", "code", "said"), CASES, ids=[" ".join(case[0]) for case in CASES])
def test_what_is_wrong_is_a_sentence_on_stderr_and_an_exit_code_p10(
    tmp_path: Path, words: list[str], environ: dict[str, str], code: int, said: str
) -> None:
    ran = notifier(tmp_path, *words, **environ)
    assert (ran.returncode, ran.stdout) == (code, "")
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr and "s3cret" not in ran.stderr


@pytest.mark.parametrize(("options", "back"), [((), 10), (("--nice", "0"), 0)])
def test_a_worker_stands_back_for_the_web(options: tuple[str, ...], back: int) -> None:
    """What was accepted is sent later; what is not accepted in time is the sender's trouble."""
    starts = "from notifier.cli import app, run; run._become = lambda *_: print(os.nice(0)); app()"
    ran = subprocess.run(
        [sys.executable, "-c", f"import os; {starts}", "worker", "deliver", *options],
        env=os.environ | {"NOTIFIER_BROKER_URL": "redis://127.0.0.1:9/0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert int(ran.stdout) == os.nice(0) + back
