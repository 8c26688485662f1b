"""The log's last guard of P10: nothing that opens a link or completes a decision leaves by a log line."""

from __future__ import annotations

import json
import logging

import pytest
import structlog

from notifier.logs import scrub, set_up

TABLE = [
    # a long link token, a short code, a webhook secret, an API key
    "GET /l/WyJhYmMiXQ~abcdefghijkl HTTP/1.1",
    "see https://n.example.com/s/7K3M9QX2VB4N8T5C now",
    "secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "key nk_0190aa_s3cr3tpart",
]


@pytest.mark.parametrize("text", TABLE)
def test_link_tokens_and_keys_are_cut_out_of_texts_p10(text: str) -> None:
    for word in ("WyJhYmMiXQ", "7K3M9QX2VB4N8T5C", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "s3cr3tpart"):
        assert word not in scrub(text)


def test_fields_that_hold_secrets_are_starred_p10(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("json", "INFO")
    structlog.get_logger("test").info("hello", token="abc", number="47", link="/l/abcdefghijklmnop", tenant="acme")
    line = json.loads(capsys.readouterr().err)
    assert (line["token"], line["number"], line["link"], line["tenant"]) == ("***", "***", "/l/[link]", "acme")


@pytest.mark.parametrize("form", ["json", "text"])
def test_what_celery_says_of_a_task_that_failed_tells_nothing_of_its_event_p10(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up(form, "INFO")
    event = "[{'to': 'alice.ruiz@store.example'}, '/l/abcdefghijklmnop']"
    about = {"id": "a1", "name": "notifier.consume", "args": event, "kwargs": "{'key': 'nk_0190aa_s3cr3tpart'}"}
    logger = logging.getLogger("celery.app.trace")
    logger.error("Task %(name)s[%(id)s] raised unexpected", about, extra={"data": about})
    line = capsys.readouterr().err
    assert "notifier.consume[a1] raised unexpected" in line
    for word in ("alice", "abcdefghijklmnop", "s3cr3tpart"):
        assert word not in line


def test_addresses_in_what_others_say_are_masked_p10(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("json", "INFO")
    # Celery prints the whole body of a message that names no task of ours.
    logging.getLogger("celery.worker").error(
        "unregistered task, body %s", {"to": ["a.ruiz@store.example", "+34600111222"]}
    )
    structlog.get_logger("test").info("intake@host ready", at=["2026-11-25T10:00:00+00:00", {"who": "b@c.example"}])
    out = capsys.readouterr().err
    first, second = map(json.loads, out.splitlines())
    assert "a…@store.example" in first["event"] and "+34…22" in first["event"]
    assert "ruiz" not in out and "600111" not in out
    assert second["event"] == "intake@host ready" and second["at"] == [
        "2026-11-25T10:00:00+00:00",
        {"who": "b…@c.example"},
    ]
