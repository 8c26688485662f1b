"""What is shipped: the wheel with its templates, working outside the checkout, and locks that name no host."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import notifier

ROOT = Path(__file__).parent.parent
PIN = re.compile(r"^(?P<name>[\w.-]+)(\[.*\])?==(?P<version>[^\s;]+)")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without isolation and so without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    _run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], ROOT)
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment outside the checkout with the wheel in it; its libraries are those of this one."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder)
    [packages] = folder.glob("lib/python*/site-packages")
    # A .pth adds the folder to the path but not the folder's own .pth files: the editable install stays out.
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "--disable-pip-version-check"]
    _run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], folder)
    return folder


def _run(command: list[str], folder: Path, environ: Mapping[str, str] | None = None) -> str:
    run = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-3000:]
    return run.stdout


def test_every_template_and_module_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    templates = {f"notifier/_templates/{path.relative_to(ROOT / 'templates')}" for path in _files("templates")}
    assert templates <= names
    assert {str(path.relative_to(ROOT)) for path in _files("notifier")} <= names


def _files(folder: str) -> list[Path]:
    found = [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert found
    return found


def test_nothing_but_the_product_is_in_the_wheel(wheel: Path) -> None:
    folders = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert folders == {"notifier", f"coolr_notifier-{notifier.__version__}.dist-info"}


def test_the_installed_wheel_is_itself_and_not_the_checkout(installed: Path) -> None:
    code = "import notifier; print(notifier.__file__)"
    assert _run([str(installed / "bin/python"), "-c", code], installed).startswith(str(installed))


def test_the_installed_command_runs(installed: Path) -> None:
    assert "notifier" in _run([str(installed / "bin/notifier"), "--help"], installed)


def test_the_installed_wheel_turns_an_event_into_a_mail(installed: Path, tmp_path: Path) -> None:
    environ = {
        "NOTIFIER_DATABASE_URL": f"sqlite:///{tmp_path}/notifier.db",
        "NOTIFIER_BASE_URL": "https://n.example.com",
        "NOTIFIER_LINK_KEYS": base64.b64encode(bytes(32)).decode(),
    }
    command = [str(installed / "bin/python"), "-P", str(ROOT / "tests/mail_from_wheel.py")]
    mail = json.loads(_run(command, tmp_path, environ).splitlines()[-1])
    assert mail["templates"].startswith(str(installed))
    assert "Main St" in mail["subject"]
    assert "Door Open" in mail["text"]
    assert "<style" in mail["html"], "the mail itself, not the plain form that a broken template falls back to"


def test_dev_lock_holds_the_other_locks_at_the_same_versions() -> None:
    dev = _pins("requirements-dev.lock")
    assert _pins("requirements.lock").items() <= dev.items()
    assert _pins("requirements-build.lock").items() <= dev.items()
    bench = _pins("requirements-bench.lock")
    assert _pins("requirements.lock").items() <= bench.items()
    assert all(dev[name] == version for name, version in bench.items() if name in dev)


@pytest.mark.parametrize(
    ("lock", "table"),
    [
        ("requirements.lock", "dependencies"),
        ("requirements-dev.lock", "dev"),
        ("requirements-build.lock", "build"),
        ("requirements-bench.lock", "bench"),
    ],
)
def test_lock_knows_every_package_that_pyproject_asks_for(lock: str, table: str) -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = document["project"]
    tables = {**document["dependency-groups"], **project["optional-dependencies"], **project}
    wanted = {canonicalize_name(Requirement(line).name) for line in tables[table]}
    assert wanted <= _pins(lock).keys()


@pytest.mark.parametrize("lock", [f"requirements{part}.lock" for part in ("", "-dev", "-build", "-bench")])
def test_lock_names_hashes_and_neither_host_nor_path(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "//" not in text
    assert not re.search(r"(?m)^#|^--|(?<![\w])/\w", text)
    packages = re.split(r"(?m)^(?=\w)", text)
    assert all("--hash=sha256:" in package for package in packages if package.strip())


def test_npm_lock_pins_by_hash_and_names_no_registry() -> None:
    document = json.loads((ROOT / "tests/peers/node/package-lock.json").read_text())
    packages = [entry for place, entry in document["packages"].items() if place]
    assert all("integrity" in entry and "resolved" not in entry for entry in packages)


def _pins(lock: str) -> dict[str, str]:
    matches = [PIN.match(line) for line in (ROOT / lock).read_text().splitlines()]
    return {canonicalize_name(match["name"]): match["version"] for match in matches if match}
