"""The log's last guard of P10: nothing that opens a link or completes a decision leaves by a log line."""

from __future__ import annotations

import json

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
