"""`notifier import` and `notifier send`: errors by row, exit codes that mean something, hostile text kept still."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from notifier.core.ids import OutletCode
from notifier.testing import ACME
from tests.cli.conftest import Cli

OUTLETS = "Code,Name,Country\nES-1,Main St,ES\nES-2,Side St,ES\n"
CONTACTS = "OutletCode,Role,Name,Email,Phone\nES-1,Owner,Eve,eve@acme.example,600 000 001\n"


def test_several_files_are_imported_in_one_go_and_again_without_a_change(cli: Cli) -> None:
    files = (cli.write("outlets.csv", OUTLETS), cli.write("contacts.csv", CONTACTS))
    assert cli("import", ACME, *files).out == (
        "outlets.csv: 2 new, 0 changed, 0 as before\ncontacts.csv: 1 new, 0 changed, 0 as before\n"
    )
    assert [(one["created"], one["unchanged"]) for one in cli("import", ACME, *files, "--json").json()] == [
        (0, 2),
        (0, 1),
    ]


def test_bad_rows_are_listed_by_row_and_column_and_the_exit_code_says_so(cli: Cli) -> None:
    path = cli.write("outlets.csv", OUTLETS + "ES-3,Bad,Spain\n")
    out = cli("import", ACME, path, code=1).out
    assert "1 rows not imported" in out
    assert "  row 4, Country: 'Spain' is not a country code" in out
    (told,) = cli("import", ACME, path, "--json", code=1).json()
    assert (told["refused"], told["problems"][0]["row"], told["problems"][0]["column"]) == (1, 4, "Country")


def test_a_dry_run_says_so_and_changes_nothing(cli: Cli) -> None:
    files = (cli.write("outlets.csv", OUTLETS), cli.write("contacts.csv", CONTACTS))
    out = cli("import", ACME, *files, "--dry-run").out
    assert out.splitlines()[0] == "outlets.csv: 2 new, 0 changed, 0 as before (nothing was changed: a dry run)"
    with cli.system.store.read() as tx:
        assert tx.outlets(ACME, [OutletCode("ES-1")]) == {}


def test_columns_that_are_not_read_are_named(cli: Cli) -> None:
    path = cli.write("outlets.csv", "Code,Name,Contry\nES-1,Main St,ES\n")
    assert "columns that are not read: Contry" in cli("import", ACME, path).out


def test_hostile_cells_cannot_steer_a_terminal(cli: Cli) -> None:
    path = cli.write("o.csv", "Code,Name,Time Zone\nES-1,x,\x1b]0;owned\x07[link=https://evil.example]\u202ezone\n")
    out = cli("import", ACME, path, code=1).out
    assert not set("\x1b\x07\u202e") & set(out)
    assert "[link=https://evil.example]" in out


def test_an_unknown_tenant_and_a_missing_file_say_so(cli: Cli) -> None:
    assert "no tenant named zeta" in cli("import", "zeta", "x.csv", code=1).err
    assert "the file: No such file or directory" in cli("import", ACME, cli.folder / "x.csv", code=1).out


def test_a_tenant_with_markup_in_its_name_is_printed_as_it_is(cli: Cli) -> None:
    assert "no tenant named [red]x" in cli("import", "[red]x", "x.csv", code=1).err


# -- send -------------------------------------------------------------------------------------------------------------


@contextmanager
def answering(status: int, body: bytes) -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """A web application that always answers the same; yields its address and what it was sent."""
    seen: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # as http.server names it
            content = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((dict(self.headers), content))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


ANSWERS: list[tuple[int, bytes, int]] = [
    (202, b'{"accepted": 1, "rejected": 0, "conflict": 0, "results": []}', 0),
    # one of a batch was refused
    (202, b'{"accepted": 1, "rejected": 1, "conflict": 0, "results": []}', 1),
    (202, b'{"accepted": 0, "rejected": 0, "conflict": 1, "results": []}', 1),
    # a single event was
    (422, b'{"title": "no", "detail": "data.value: not a number"}', 1),
    # a proxy's page
    (502, b"<html>Bad gateway</html>", 3),
]


@pytest.mark.parametrize(("status", "body", "code"), ANSWERS)
def test_the_exit_code_of_send_says_what_became_of_the_events(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, code: int
) -> None:
    event = '{"id": "1",  "amount": 1.10}'
    with answering(status, body) as (address, seen):
        monkeypatch.setenv("NOTIFIER_BASE_URL", address)
        monkeypatch.setenv("NOTIFIER_API_KEY", "nk_secret")
        cli.restart()
        cli("send", cli.write("e.json", event), code=code)
    ((headers, sent),) = seen
    assert sent.decode() == event  # as it stands in the file
    assert headers["Authorization"] == "Bearer nk_secret"


def test_send_without_a_key_or_application_says_what_is_missing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cli.write("e.json", "{}")
    assert "make one with `notifier keys create`" in cli("send", path, code=2).err
    monkeypatch.setenv("NOTIFIER_BASE_URL", "http://127.0.0.1:9")
    cli.restart()
    assert "http://127.0.0.1:9" in cli("send", path, "--key", "nk_x", code=3).err
    assert "No such file" in cli("send", cli.folder / "absent", "--key", "nk_x", code=1).err
    assert json.loads(path.read_text()) == {}
