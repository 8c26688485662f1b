"""The documentation holds together: every link leads somewhere, every page can be found, what it shows is real."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+)$", re.MULTILINE)
TEST_PATH = re.compile(r"`(tests/[\w/.]+)`")
COMMAND = re.compile(r"^\$ (?:\w+='?[^ ]*'? )*notifier ([a-z]+)", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The fragments of a page's headings, as repository hosts make them."""
    titles = HEADING.findall(page.read_text())
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page: Path) -> Iterator[tuple[Path, str]]:
    for target in LINK.findall(page.read_text()):
        path, _, fragment = target.partition("#")
        if not re.match(r"[a-z]+:", target):
            yield (page.parent / path).resolve() if path else page, fragment


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for path, fragment in links(page):
        assert path.exists(), f"{path} does not exist"
        assert not fragment or fragment in anchors(path), f"{path} has no heading #{fragment}"


def test_every_page_can_be_found_from_the_index() -> None:
    found, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in found and page.suffix == ".md":
            found.add(page)
            waiting += [path for path, _ in links(page)]
    assert set(PAGES) <= found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_is_shown_exists(page: Path) -> None:
    from notifier.cli import app

    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    known |= {str(group.name) for group in app.registered_groups}
    assert set(COMMAND.findall(page.read_text())) <= known


def test_every_promise_stands_on_the_reliability_page_with_tests_that_exist() -> None:
    page = (ROOT / "docs" / "explanation" / "reliability.md").read_text()
    sections = re.split(r"^### ", page, flags=re.MULTILINE)[1:]
    assert [section.split()[0] for section in sections] == [f"P{number}" for number in range(1, 13)]
    for section in sections:
        assert TEST_PATH.findall(section), f"{section.split()[0]} names no test"
    assert [path for path in TEST_PATH.findall(page) if not (ROOT / path).exists()] == []
