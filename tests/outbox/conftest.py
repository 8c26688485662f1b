"""A running outbox: the real program in a process of its own, on free ports."""

from __future__ import annotations

import base64
import email.policy
import hashlib
import hmac
import json
import smtplib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from tests.peers.process import answers, find_free_port, running

SID, TOKEN = "AC" + "0a" * 16, "f" * 32
ERP_SECRET = "whsec_" + base64.b64encode(b"e" * 32).decode()
MAIN = [sys.executable, "-c", "import os; from notifier.outbox import main; main(os.environ)"]


@dataclass(frozen=True)
class RunningOutbox:
    """Where it listens and what it logged."""

    folder: Path
    http_port: int
    smtp_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def page(self) -> str:
        return f"{self.url}/dev/outbox"

    def log(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / "outbox" / f"{name}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def mail(self, message: EmailMessage | bytes, *to: str) -> None:
        raw = message if isinstance(message, bytes) else message.as_bytes(policy=email.policy.SMTP)
        with smtplib.SMTP("127.0.0.1", self.smtp_port, timeout=10) as smtp:
            smtp.sendmail("alerts@acme.example", to or ["alice@example.com"], raw)

    def sms(self, **form: str) -> httpx.Response:
        fields = {"To": "+34600000001", "From": "+15005550006", "Body": "Cooler warm", **form}
        path = f"/2010-04-01/Accounts/{SID}/Messages.json"
        sent = {name: value for name, value in fields.items() if value}
        return httpx.post(self.url + path, data=sent, auth=(SID, TOKEN), trust_env=False)

    def callback(self, path: str, body: bytes, *, id_: str = "msg_1", secret: str = ERP_SECRET) -> httpx.Response:
        headers = {"Content-Type": "application/json", **sign(secret, id_, body)}
        return httpx.post(self.url + path, content=body, headers=headers, trust_env=False, timeout=10)


def sign(secret: str, id_: str, body: bytes, at: float | None = None) -> dict[str, str]:
    """Standard Webhooks headers, written from the specification."""
    stamp = str(int(time.time() if at is None else at))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{id_}.{stamp}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": id_, "webhook-timestamp": stamp, "webhook-signature": signature}


def environment(folder: Path, http_port: int, smtp_port: int, **changes: str) -> dict[str, str]:
    return {
        "NOTIFIER_DATA_DIR": str(folder),
        "NOTIFIER_OUTBOX_PORT": str(http_port),
        "NOTIFIER_OUTBOX_SMTP_PORT": str(smtp_port),
        "NOTIFIER_TWILIO_ACCOUNT_SID": SID,
        "NOTIFIER_TWILIO_AUTH_TOKEN": TOKEN,
        "NOTIFIER_DEMO_ERP_SECRET": ERP_SECRET,
        "NOTIFIER_BASE_URL": "http://127.0.0.1:8000",
        **changes,
    }


@pytest.fixture(scope="session")
def outbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningOutbox]:
    """One outbox for all tests: each uses recipients, ids and texts of its own."""
    folder = tmp_path_factory.mktemp("outbox")
    up = RunningOutbox(folder, find_free_port(), find_free_port())
    variables = environment(folder, up.http_port, up.smtp_port)
    with running(MAIN, lambda: answers(up.http_port), log=folder / "log", environment=variables):
        yield up


class Show(Protocol):
    """Gets a page of the outbox: the part of its address behind /dev/outbox."""

    def __call__(self, path: str, **headers: str) -> httpx.Response: ...


@pytest.fixture
def show(outbox: RunningOutbox) -> Show:
    """How a browser's plain GET is answered."""

    def get(path: str, **headers: str) -> httpx.Response:
        return httpx.get(outbox.page + path, headers=headers, trust_env=False, timeout=10)

    return get
