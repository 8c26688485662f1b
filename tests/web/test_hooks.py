"""Twilio's status call-backs: believed when signed, forward only, and nobody learns which attempts exist."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select
from twilio.request_validator import RequestValidator

from notifier.channels.sms import verify_signature
from notifier.core.ids import AttemptId, SessionId, new_id
from notifier.core.model import (
    AttemptOutcome,
    ChannelName,
    ClaimRequest,
    NewAttempt,
    NotificationStatus,
    Settlement,
)
from notifier.core.records import WorkerSession
from notifier.store import SqlStore
from notifier.store.tables import attempts, notifications
from notifier.testing import BASE_URL, NOW, event, notification
from notifier.web import hooks
from notifier.web.bodies import MOST_FORM

TOKEN = "a token of the Twilio account"
LATER = NOW + timedelta(seconds=5)


@pytest.fixture
def client(store: SqlStore) -> Iterator[TestClient]:
    """The routes alone, reached under another name than the public one."""
    app = FastAPI()
    app.include_router(hooks.create_router(store, lambda: LATER, verify_signature(TOKEN), BASE_URL))
    with TestClient(app, base_url="http://10.0.0.7:8000") as made:
        yield made


@pytest.fixture
def attempt(store: SqlStore) -> AttemptId:
    """An SMS that Twilio took."""
    about, session, made = event(), SessionId("session"), AttemptId(new_id())
    sms = notification(about, ChannelName.SMS, "+34600111222")
    with store.write() as tx:
        tx.start_session(WorkerSession(session, "host", 1, NOW, NOW))
        tx.save_events([about])
        tx.save_notifications([sms], NOW)
    with store.write() as tx:
        [row] = tx.claim(ClaimRequest(session, 1, 1, (ChannelName.SMS,)), NOW)
        tx.save_attempts([NewAttempt(made, row.id, row.tenant, session, 1, NOW)])
        sent = (AttemptOutcome.SENT, NotificationStatus.SENT, NOW)
        tx.settle([Settlement(made, row.id, row.tenant, session, row.lane_id, *sent, provider_id="SM1")])
    return made


def report(client: TestClient, attempt: str, status: str, token: str = TOKEN, **more: str) -> int:
    """What a call-back of Twilio's is answered."""
    fields = {"MessageSid": "SM1", "MessageStatus": status, "To": "+34600111222", **more}
    signature = RequestValidator(token).compute_signature(f"{BASE_URL}/v1/hooks/twilio/{attempt}", fields)
    headers = {"X-Twilio-Signature": signature}
    return client.post(f"/v1/hooks/twilio/{attempt}", data=fields, headers=headers).status_code


def state(store: SqlStore) -> tuple[str, str | None]:
    """Status of the notification and code of the attempt."""
    with store.read() as tx:
        query = select(notifications.c.status, attempts.c.provider_code)
        found: Any = tx.connection.execute(query.where(attempts.c.notification_id == notifications.c.id)).one()
    return str(found.status), found.provider_code


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        (["queued", "sending", "sent"], "sent"),
        (["sent", "delivered"], "delivered"),
        # late and out of order: forward only
        (["delivered", "sent"], "delivered"),
        (["delivered", "undelivered"], "delivered"),
        (["undelivered"], "failed"),
        (["undelivered", "sent"], "failed"),
        # a word that Twilio invents tomorrow
        (["teleported"], "sent"),
        ([""], "sent"),
    ],
)
def test_a_signed_report_moves_the_notification_forward_only(
    client: TestClient, store: SqlStore, attempt: AttemptId, reports: list[str], expected: str
) -> None:
    assert [report(client, attempt, status) for status in reports] == [204] * len(reports)
    assert state(store)[0] == expected


def test_the_reason_of_a_failure_is_kept(client: TestClient, store: SqlStore, attempt: AttemptId) -> None:
    report(client, attempt, "undelivered", ErrorCode="30005")
    assert state(store) == ("failed", "30005")


@pytest.mark.parametrize("token", ["another token", ""])
def test_a_report_that_is_not_signed_by_the_account_changes_nothing(
    client: TestClient, store: SqlStore, attempt: AttemptId, token: str
) -> None:
    assert report(client, attempt, "delivered", token) == 403
    assert client.post(f"/v1/hooks/twilio/{attempt}", data={"MessageStatus": "delivered"}).status_code == 403
    assert state(store)[0] == "sent"


def test_a_signature_for_one_attempt_moves_no_other(client: TestClient, store: SqlStore, attempt: AttemptId) -> None:
    fields = {"MessageStatus": "delivered"}
    signature = RequestValidator(TOKEN).compute_signature(f"{BASE_URL}/v1/hooks/twilio/{new_id()}", fields)
    headers = {"X-Twilio-Signature": signature}
    assert client.post(f"/v1/hooks/twilio/{attempt}", data=fields, headers=headers).status_code == 403
    assert state(store)[0] == "sent"


@pytest.mark.parametrize("unknown", ["01a215da-a68f-71fd-b874-f2da94942ccb", "0", "x" * 300, "o'clock"])
def test_an_attempt_that_does_not_exist_is_answered_like_one_that_does_p11(
    client: TestClient, attempt: AttemptId, unknown: str
) -> None:
    assert report(client, unknown, "delivered") == report(client, attempt, "delivered") == 204
    assert report(client, unknown, "delivered", "another") == report(client, attempt, "delivered", "another") == 403


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"a=" + b"b" * MOST_FORM, 413),
        (b"&".join(b"a%d=b" % number for number in range(hooks.MOST_FIELDS + 1)), 403),
        (b"\xff\xfe=\x00", 403),
        (b"", 403),
    ],
)
def test_a_body_that_is_too_large_or_no_form_is_refused(client: TestClient, body: bytes, status: int) -> None:
    assert client.post("/v1/hooks/twilio/0193", content=body).status_code == status


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT"])
def test_only_a_post_is_a_report_p5(client: TestClient, store: SqlStore, attempt: AttemptId, method: str) -> None:
    assert client.request(method, f"/v1/hooks/twilio/{attempt}?MessageStatus=failed").status_code == 405
    assert state(store)[0] == "sent"
