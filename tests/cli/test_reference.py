"""The reference pages say what there is, and nothing else: commands and options, settings, keys, columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from notifier.cli import app
from notifier.config import SECRET, Settings
from notifier.core.directory_rows import CONTACT_COLUMNS, OUTLET_COLUMNS
from notifier.core.policy_file import KEYS

REFERENCE = Path(__file__).parent.parent.parent / "docs" / "reference"
ROW = re.compile(r"^\| (`[^|]+) \| ", re.MULTILINE)


def page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def sections(text: str, mark: str) -> dict[str, str]:
    """Heading → what stands under it."""
    parts = re.split(rf"^{mark} (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def words(text: str) -> list[str]:
    """The words in the first cells of a section's table."""
    return [word for cell in ROW.findall(text) for word in re.findall(r"`([^`]+)`", cell)]


# -- command line ---------------------------------------------------------------------------


def commands(command: Any, path: str = "notifier") -> Iterator[tuple[str, list[str]]]:
    """Every command with its options."""
    inner = getattr(command, "commands", None)
    if inner is None:
        options = [name for given in command.params for name in given.opts if name.startswith("--")]
        yield path, [name for name in options if name != "--help"]
        return
    for name, one in inner.items():
        yield from commands(one, f"{path} {name}")


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_every_command_has_its_section_and_no_other_does() -> None:
    found = sections(page("cli.md"), "###")
    assert sorted(found) == sorted(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_of_a_command_is_explained(name: str) -> None:
    assert sorted(words(sections(page("cli.md"), "###")[name].partition("\n## ")[0])) == sorted(COMMANDS[name])


# -- settings ---------------------------------------------------------------------------


def test_every_setting_is_explained_with_its_default_and_whether_it_is_secret() -> None:
    rows = re.findall(r"^\| `NOTIFIER_(\w+)` \|(.*?)\| (.*) \|$", page("settings.md"), re.MULTILINE)
    told = {name.lower(): (default.strip(" `"), meaning) for name, default, meaning in rows}
    assert list(told) and sorted(told) == sorted(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        default = field.default
        shown = "" if default in (None, (), "") or "Secret" in str(field.annotation) else str(default)
        assert told[name] == (shown, told[name][1]), name
    assert {name for name, (_, meaning) in told.items() if meaning.startswith("*Secret.*")} == set(SECRET)


# -- notifier.toml and directory files ---------------------------------------------------------------------------


def test_every_table_of_notifier_toml_has_its_section() -> None:
    assert set(KEYS) <= set(sections(page("notifier-toml.md"), "##"))


@pytest.mark.parametrize("table", sorted(KEYS))
def test_every_key_of_a_table_is_explained(table: str) -> None:
    assert sorted(words(sections(page("notifier-toml.md"), "##")[table])) == sorted(KEYS[table])


def test_the_example_of_notifier_toml_is_a_configuration() -> None:
    from notifier.core.policy_file import parse

    (example,) = re.findall(r"```toml\n(.*?)```", page("notifier-toml.md"), re.DOTALL)
    assert len(parse(example, "example").tenants["acme"].rules) == 2  # type: ignore[index]  # an id is a text


@pytest.mark.parametrize(("heading", "columns"), [("Outlets", OUTLET_COLUMNS), ("Contacts", CONTACT_COLUMNS)])
def test_every_column_is_named_in_one_of_its_spellings(heading: str, columns: dict[str, tuple[str, ...]]) -> None:
    section = sections(page("directory.md"), "##")[heading]
    cells = [" ".join(line.split("|")[1:3]) for line in section.splitlines() if line.startswith("| `")]
    told = {name.lower() for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    assert told == {spelling for spellings in columns.values() for spelling in spellings}
