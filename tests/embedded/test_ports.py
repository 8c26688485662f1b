"""Ports: the same as last time, else the default, else the next free one; what was asked for is never replaced."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from notifier.embedded.ports import Ports, choose, free
from notifier.errors import ConfigError
from tests.peers.process import find_free_port


def free_ports(count: int) -> list[int]:
    """Different ones: each is held until the last is found."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def listening(*ports: int) -> Iterator[None]:
    with ExitStack() as stack:
        for port in ports:
            server = stack.enter_context(socket.socket())
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("127.0.0.1", port))
            server.listen()
        yield


def test_the_ports_of_the_last_run_are_taken_again(tmp_path: Path) -> None:
    """Links in messages caught yesterday lead there."""
    last = Ports(*free_ports(3))
    record = tmp_path / "ports.json"
    record.write_text(json.dumps({"web": last.web, "outbox": last.outbox, "smtp": last.smtp}))
    assert choose({}, record) == last


def test_a_taken_port_gives_way_to_a_free_one_and_the_choice_is_recorded(tmp_path: Path) -> None:
    record, port = tmp_path / "ports.json", find_free_port()
    record.write_text(json.dumps({"web": port}))
    with listening(port):
        chosen = choose({}, record)
    assert chosen.web != port
    assert len({chosen.web, chosen.outbox, chosen.smtp}) == 3
    assert json.loads(record.read_text())["web"] == chosen.web


def test_ports_asked_for_are_used(tmp_path: Path) -> None:
    web, outbox, smtp = free_ports(3)
    environ = {
        "NOTIFIER_BASE_URL": f"http://localhost:{web}",
        "NOTIFIER_OUTBOX_PORT": str(outbox),
        "NOTIFIER_OUTBOX_SMTP_PORT": str(smtp),
    }
    assert choose(environ, tmp_path / "ports.json") == Ports(web, outbox, smtp)


def test_taken_ports_that_were_asked_for_are_all_named(tmp_path: Path) -> None:
    web, smtp = free_ports(2)
    environ = {"NOTIFIER_BASE_URL": f"http://127.0.0.1:{web}", "NOTIFIER_OUTBOX_SMTP_PORT": str(smtp)}
    with listening(web, smtp), pytest.raises(ConfigError) as raised:
        choose(environ, tmp_path / "ports.json")
    assert f"NOTIFIER_BASE_URL: port {web}, wanted for web, is taken" in str(raised.value)
    assert f"NOTIFIER_OUTBOX_SMTP_PORT: port {smtp}, wanted for smtp, is taken" in str(raised.value)


@pytest.mark.parametrize("text", ["no", "0", "65536", "-1", "٣", "80.0"])
def test_what_is_no_port_number_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="NOTIFIER_OUTBOX_PORT: is not a port number"):
        choose({"NOTIFIER_OUTBOX_PORT": text}, tmp_path / "ports.json")


@pytest.mark.parametrize("content", ["", "[]", "null", '{"web": "x"}', '{"web": 99999}', "\x00"])
def test_a_damaged_record_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    record = tmp_path / "ports.json"
    record.write_text(content)
    assert choose({}, record).web > 0


def test_a_listener_on_all_addresses_counts_as_taken() -> None:
    with socket.socket() as server:
        server.bind(("0.0.0.0", 0))  # noqa: S104  # for the moment of this test
        server.listen()
        assert not free(server.getsockname()[1])
