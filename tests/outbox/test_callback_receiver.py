"""The callback receiver: what it calls verified is what two other implementations of Standard Webhooks accept."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import standardwebhooks
import svix

from notifier.outbox.callbacks import LARGEST, LONGEST_DELAY, TOLERANCE, Script, check_signature, read_script
from tests.outbox.conftest import ERP_SECRET, RunningOutbox, sign

BODY = json.dumps({"type": "coolr.alert.opened", "data": {"outlet": "Café Niño"}}).encode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"o" * 32).decode()


def test_a_callback_is_logged_as_the_checks_read_it(outbox: RunningOutbox) -> None:
    """demo/check.py relies on these fields."""
    assert outbox.callback("/hooks/erp?x=1", BODY, id_="msg_logged").status_code == 204
    call = next(call for call in outbox.log("callbacks") if call["webhook_id"] == "msg_logged")
    assert (call["path"], call["query"]) == ("/hooks/erp", "x=1")
    assert (call["verified"], call["reason"], call["status"], call["times"]) == (True, "", 204, 1)
    assert json.loads(call["body"]) == json.loads(BODY)
    assert ["content-type", "application/json"] in call["headers"]


# -- signatures --------------------------------------------------------------------------------------------------------


def signed_by_standardwebhooks(secret: str, body: bytes) -> dict[str, str]:
    now = datetime.now(UTC)
    signature = standardwebhooks.Webhook(secret).sign("msg_1", now, body.decode())
    return {"webhook-id": "msg_1", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}


def signed_by_svix(secret: str, body: bytes) -> dict[str, str]:
    now = datetime.now(UTC)
    signature = svix.Webhook(secret).sign("msg_1", now, body.decode())
    return {"webhook-id": "msg_1", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}


@pytest.mark.parametrize("signer", [signed_by_standardwebhooks, signed_by_svix])
def test_what_other_implementations_signed_is_verified(outbox: RunningOutbox, signer: object) -> None:
    assert callable(signer)
    good = httpx.post(f"{outbox.url}/hooks/erp", content=BODY, headers=signer(ERP_SECRET, BODY), trust_env=False)
    bad = httpx.post(f"{outbox.url}/hooks/erp", content=BODY, headers=signer(OTHER_SECRET, BODY), trust_env=False)
    assert (good.status_code, bad.status_code) == (204, 401)


def headers(**changes: str) -> dict[str, str]:
    given = {**sign(ERP_SECRET, "msg_1", BODY), **{name.replace("_", "-"): value for name, value in changes.items()}}
    return {name: value for name, value in given.items() if value}


def aged(seconds: float) -> dict[str, str]:
    return sign(ERP_SECRET, "msg_1", BODY, time.time() - seconds)


CASES = [
    pytest.param(lambda: headers(), BODY, "", id="as signed"),
    pytest.param(
        lambda: headers(webhook_signature="v1,AAAA " + headers()["webhook-signature"]), BODY, "", id="keys turned"
    ),
    pytest.param(lambda: aged(TOLERANCE - 20), BODY, "", id="a little old"),
    pytest.param(lambda: headers(), BODY + b" ", "no signature matches", id="another body"),
    pytest.param(lambda: headers(webhook_id="msg_2"), BODY, "no signature matches", id="another id"),
    pytest.param(lambda: sign(OTHER_SECRET, "msg_1", BODY), BODY, "no signature matches", id="another secret"),
    pytest.param(lambda: headers(webhook_signature="v1,"), BODY, "no signature matches", id="empty signature"),
    pytest.param(
        lambda: headers(webhook_signature=headers()["webhook-signature"].replace("v1", "v2")),
        BODY,
        "no signature matches",
        id="a version we do not know",
    ),
    pytest.param(lambda: aged(TOLERANCE + 20), BODY, "webhook-timestamp is more than 300 s off", id="too old"),
    pytest.param(lambda: aged(-TOLERANCE - 20), BODY, "webhook-timestamp is more than 300 s off", id="from the future"),
    pytest.param(lambda: headers(webhook_id=""), BODY, "a webhook-id, webhook-timestamp or", id="no id"),
    pytest.param(lambda: headers(webhook_timestamp=""), BODY, "a webhook-id, webhook-timestamp or", id="no time"),
    pytest.param(lambda: headers(webhook_signature=""), BODY, "a webhook-id, webhook-timestamp or", id="no signature"),
]


@pytest.mark.parametrize(("signed_now", "body", "reason"), CASES)
def test_the_verdict_is_that_of_the_reference_implementation(
    signed_now: Callable[[], dict[str, str]], body: bytes, reason: str
) -> None:
    given = signed_now()
    check = check_signature(ERP_SECRET, given, body, datetime.now(UTC))
    assert check.verified is (reason == "")
    assert check.reason.startswith(reason)
    try:
        standardwebhooks.Webhook(ERP_SECRET).verify(body, given)
        accepted = True
    except standardwebhooks.WebhookVerificationError:
        accepted = False
    assert accepted is check.verified


@pytest.mark.parametrize("stamp", ["soon", "-1", "1.5", "٣", "1" * 5000, "9" * 13, " 1"])
def test_a_time_that_is_none_is_named(stamp: str) -> None:
    check = check_signature(ERP_SECRET, headers(webhook_timestamp=stamp), BODY, datetime.now(UTC))
    assert (check.verified, check.reason) == (False, "webhook-timestamp is not a number of seconds")


def test_a_secret_that_is_no_secret_verifies_nothing() -> None:
    assert (
        check_signature("whsec_!!", headers(), BODY, datetime.now(UTC)).reason == "the endpoint's secret is not base64"
    )
    assert check_signature("", headers(), BODY, datetime.now(UTC)).reason == "no secret is known for this endpoint"


def test_the_clock_that_counts_is_the_receivers(outbox: RunningOutbox) -> None:
    later = datetime.now(UTC) + timedelta(seconds=TOLERANCE + 5)
    assert not check_signature(ERP_SECRET, headers(), BODY, later).verified


def test_an_endpoint_without_a_known_secret_is_taken_but_not_verified(outbox: RunningOutbox) -> None:
    answer = outbox.callback("/hooks/nobody", BODY, id_="msg_nobody")
    call = next(call for call in outbox.log("callbacks") if call["webhook_id"] == "msg_nobody")
    assert (answer.status_code, call["verified"]) == (204, False)
    assert call["reason"] == "no secret is known for this endpoint"


# -- scripted answers --------------------------------------------------------------------------------------------------


def test_the_first_tries_of_each_message_fail_when_asked_to(outbox: RunningOutbox) -> None:
    path = "/hooks/erp?fail=2&retry_after=3"
    first = [outbox.callback(path, BODY, id_="msg_f1") for _ in range(3)]
    assert [answer.status_code for answer in first] == [503, 503, 204]
    assert [answer.headers.get("retry-after") for answer in first] == ["3", "3", None]
    assert outbox.callback(path, BODY, id_="msg_f2").status_code == 503, "each message counts for itself"


def test_a_status_and_a_delay_are_answered_as_asked(outbox: RunningOutbox) -> None:
    assert outbox.callback("/hooks/erp?status=410", BODY, id_="msg_s1").status_code == 410
    began = time.monotonic()
    assert outbox.callback("/hooks/erp?delay=0.5", BODY, id_="msg_s2").status_code == 204
    assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize(
    ("query", "script"),
    [
        ({}, Script()),
        ({"fail": "2", "retry_after": "3"}, Script(fail=2, retry_after=3)),
        ({"status": "99"}, Script(status=200)),
        ({"status": "1000"}, Script(status=599)),
        ({"delay": "inf"}, Script(delay=LONGEST_DELAY)),
        ({"delay": "-5", "fail": "-1"}, Script()),
        ({"delay": "nan", "fail": "nan", "status": "nan"}, Script()),
        ({"delay": "x", "fail": "", "status": "ok"}, Script()),
    ],
)
def test_a_script_out_of_range_is_moved_into_it(query: dict[str, str], script: Script) -> None:
    assert read_script(query) == script


# -- foreign content ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"\xff\xfe\x00",
        b'{"type": "\\ud800"}',  # half a surrogate pair: has no form in UTF-8
        b'{"type": ["a list"]}',
        b'{"type": "' + b"x" * 5000 + b'"}',
        b'{"type": ' + b"1" * 5000 + b"}",  # more digits than Python converts
        b"[" * 100_000,
        b'{"type": NaN}',
    ],
)
def test_a_strange_body_is_kept_and_can_be_looked_at(outbox: RunningOutbox, body: bytes) -> None:
    id_ = f"msg_strange_{hash(body)}"
    assert outbox.callback("/hooks/erp", body, id_=id_).status_code == 204
    call = next(call for call in outbox.log("callbacks") if call["webhook_id"] == id_)
    with httpx.Client(trust_env=False) as reader:
        assert reader.get(f"{outbox.page}/callback/{call['id']}").status_code == 200
        shown = reader.get(f"{outbox.page}?q={call['id']}&channel=callback")
        assert reader.get(f"{outbox.page}/list").status_code == shown.status_code == 200


def test_a_body_that_is_too_large_is_refused(outbox: RunningOutbox) -> None:
    assert outbox.callback("/hooks/erp", b"x" * (LARGEST + 1)).status_code == 413


def test_the_receiver_takes_posts_only(outbox: RunningOutbox) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        assert httpx.request(method, f"{outbox.url}/hooks/erp", trust_env=False).status_code == 405
