"""The outbox shows live links (P10): it answers this machine's programs and browser, and nobody else."""

from __future__ import annotations

import json
import subprocess
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from notifier.errors import ConfigError
from notifier.outbox.journal import Journal, Record, Summary
from notifier.outbox.settings import is_public, load_outbox
from tests.outbox.conftest import MAIN, RunningOutbox, Show, environment
from tests.peers.process import find_free_port


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",  # DNS rebinding: the page's own name, pointing here by now
        "evil.example:{port}",
        "127.0.0.1.evil.example:{port}",
        "127.0.0.1:1",
        "0.0.0.0:{port}",
        "127.0.0.1:{port}@evil.example",
        "",
    ],
)
def test_another_host_name_reads_nothing_p10(outbox: RunningOutbox, show: Show, host: str) -> None:
    for path in ("", "/list", "/healthz"):
        answer = show(path, Host=host.format(port=outbox.http_port))
        assert answer.status_code == 421
        assert "Outbox" not in answer.text


def test_both_names_of_this_machine_are_served(outbox: RunningOutbox, show: Show) -> None:
    for host in ("127.0.0.1", "localhost", "LOCALHOST"):
        assert show("", Host=f"{host}:{outbox.http_port}").status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-origin"},
    ],
)
def test_nothing_is_taken_from_a_web_page(outbox: RunningOutbox, header: dict[str, str]) -> None:
    before = len(outbox.log("callbacks"))
    answer = httpx.post(f"{outbox.url}/hooks/erp", content=b"{}", headers=header, trust_env=False)
    assert answer.status_code == 403
    assert len(outbox.log("callbacks")) == before


def test_every_answer_forbids_scripts_frames_storing_and_guessing(outbox: RunningOutbox, show: Show) -> None:
    for path in ("", "/list", "/email/0000", "/assets/outbox.css"):
        headers = show(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"


def test_the_page_can_only_be_read(outbox: RunningOutbox) -> None:
    for path in ("", "/list", "/email/0000/html"):
        assert httpx.put(outbox.page + path, trust_env=False).status_code == 405


def test_the_logs_are_closed_to_other_users_p10(outbox: RunningOutbox) -> None:
    outbox.mail(b"Subject: private\r\n\r\nx")
    for path in (outbox.folder / "outbox").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"NOTIFIER_BASE_URL": "https://alerts.example.com"}, "NOTIFIER_BASE_URL: is public"),
        ({"NOTIFIER_BASE_URL": "http://0.0.0.0:8000"}, "NOTIFIER_BASE_URL: is public"),
        ({"NOTIFIER_BASE_URL": "http://2130706433:8000"}, "NOTIFIER_BASE_URL: is public"),
        ({"NOTIFIER_OUTBOX_HOST": "0.0.0.0"}, "listens on 127.0.0.1 only"),  # noqa: S104  # refused
        ({"NOTIFIER_OUTBOX_PORT": "no"}, "NOTIFIER_OUTBOX_PORT: is not a port number"),
        ({"NOTIFIER_TWILIO_AUTH_TOKEN": ""}, "NOTIFIER_TWILIO_AUTH_TOKEN: has no default"),
    ],
)
def test_what_would_open_it_to_others_is_refused_at_the_start_p10(
    tmp_path: Path, change: dict[str, str], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        load_outbox(environment(tmp_path, 8025, 8026, **change))


@pytest.mark.parametrize("url", ["http://localhost:8000", "http://127.9.9.9", "http://[::1]:8000"])
def test_addresses_of_this_machine_are_not_public(url: str) -> None:
    assert not is_public(url)


def test_every_problem_is_named_at_once_and_no_secret_with_it(tmp_path: Path) -> None:
    given = environment(tmp_path, 8025, 8026, NOTIFIER_BASE_URL="https://x.example", NOTIFIER_OUTBOX_PORT="x")
    with pytest.raises(ConfigError) as raised:
        load_outbox(given)
    assert len(raised.value.problems) == 2
    assert given["NOTIFIER_TWILIO_AUTH_TOKEN"] not in str(raised.value) + repr(load_outbox(environment(tmp_path, 1, 2)))


def test_a_taken_port_is_named(outbox: RunningOutbox, tmp_path: Path) -> None:
    variables = environment(tmp_path, outbox.http_port, find_free_port())
    ended = subprocess.run(MAIN, env=variables, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode != 0
    assert f"NOTIFIER_OUTBOX_PORT: port {outbox.http_port} is taken" in ended.stderr


# -- the journal -----------------------------------------------------------------------------------------------------


def say(record: Record) -> Summary:
    return Summary(record["body"], "alice")


def test_half_a_line_left_by_a_crash_spoils_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    journal = Journal(path, say)
    first = journal.append({"body": "one"}, "2026-01-01T00:00:00+00:00")
    journal.close()
    with path.open("ab") as file:
        file.write(b'{"id": "half", "body": "' + b"x" * 100_000)
    again = Journal(path, say)
    second = again.append({"body": "two"}, "2026-01-01T00:00:01+00:00")
    again.close()
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == [first, second]
    with closing(Journal(path, say)) as third:
        assert [entry.id for entry in third.newest_first()] == [second, first]


@pytest.mark.parametrize("line", ["{}", "null", "[]", "7", '{"body": "x"}', "[" * 100_000, "\x00"])
def test_a_line_that_is_not_ours_is_passed_over(tmp_path: Path, line: str) -> None:
    (tmp_path / "x.jsonl").write_text(line + "\n")
    with closing(Journal(tmp_path / "x.jsonl", say)) as journal:
        assert len(journal) == 0


def test_a_full_log_makes_room_and_the_one_before_stays_readable(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "x.jsonl", say, largest=300)
    ids = [journal.append({"body": f"{number:050}"}, "2026-01-01T00:00:00+00:00") for number in range(20)]
    kept = [entry.id for entry in journal.newest_first()]
    assert kept == ids[::-1][: len(kept)]
    assert 2 < len(kept) < 10
    records = [journal.read(id_) for id_ in reversed(kept)]
    assert [record["body"] for record in records if record] == [f"{n:050}" for n in range(20 - len(kept), 20)]
    assert journal.read(ids[0]) is None
    for path in tmp_path.iterdir():
        assert path.stat().st_size < 500
        path.unlink()
    assert journal.read(kept[0]) is None, "the folder was emptied"
    journal.close()
