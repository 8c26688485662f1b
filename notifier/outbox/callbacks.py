"""The callback receiver: takes every POST, checks its Standard Webhooks signature, answers as the query string scripts.

    /hooks/erp                      204, when the signature is good or no secret is known for "erp"; else 401
    /hooks/erp?fail=2               503 to the first two requests with the same webhook-id, then as above
    /hooks/erp?status=410           that status, always
    /hooks/erp?delay=12             answers that many seconds later (at most 60)
    /hooks/erp?fail=2&retry_after=3 with a Retry-After header

The last part of the path names the endpoint and so its secret.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from notifier.outbox.guard import TooLarge, read_body
from notifier.outbox.journal import KEEP, Journal, Record, Summary
from notifier.outbox.settings import OutboxSettings

log = structlog.get_logger(__name__)

LARGEST = 1_000_000  #: bytes of a callback
TOLERANCE = 300  #: seconds a timestamp may be off, either way
LONGEST_DELAY = 60.0  #: seconds


@dataclass(frozen=True, slots=True)
class Check:
    """What the signature says."""

    verified: bool
    reason: str


def check_signature(secret: str, headers: Mapping[str, str], body: bytes, now: datetime) -> Check:
    """Check a request by https://www.standardwebhooks.com/ (symmetric, `v1`); headers by lower-case name."""
    id_, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    signatures = headers.get("webhook-signature", "").split()
    if not id_ or not stamp or not signatures:
        return Check(False, "a webhook-id, webhook-timestamp or webhook-signature header is missing")
    if not secret:
        return Check(False, "no secret is known for this endpoint")
    if not re.fullmatch(r"[0-9]{1,12}", stamp):
        return Check(False, "webhook-timestamp is not a number of seconds")
    if abs(now.timestamp() - int(stamp)) > TOLERANCE:
        return Check(False, f"webhook-timestamp is more than {TOLERANCE} s off")
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return Check(False, "the endpoint's secret is not base64")
    digest = hmac.new(key, f"{id_}.{stamp}.".encode() + body, hashlib.sha256).digest()
    wanted = f"v1,{base64.b64encode(digest).decode()}".encode()
    good = any(hmac.compare_digest(given.encode(), wanted) for given in signatures)
    return Check(good, "" if good else "no signature matches")


@dataclass(frozen=True, slots=True)
class Script:
    """How to answer; read from the query string."""

    fail: int = 0
    status: int = 0
    delay: float = 0.0
    retry_after: int = 0

    def answer(self, check: Check, secret_known: bool, times: int) -> int:
        """Status for the request with that webhook-id, seen `times` times."""
        if self.status:
            return self.status
        if times <= self.fail:
            return 503
        return 204 if check.verified or not secret_known else 401


def read_script(query: Mapping[str, str]) -> Script:
    """Read a script; numbers out of range are moved into it, words are ignored."""
    return Script(
        fail=int(_number(query, "fail", 0, 1000)),
        status=int(_number(query, "status", 200, 599)),
        delay=_number(query, "delay", 0, LONGEST_DELAY),
        retry_after=int(_number(query, "retry_after", 0, 3600)),
    )


def _number(query: Mapping[str, str], name: str, least: float, most: float) -> float:
    try:
        number = float(query[name])
    except (KeyError, ValueError):
        return 0
    return 0 if math.isnan(number) else min(max(number, least), most)


class CallbackServer:
    """Receives callbacks."""

    def __init__(self, settings: OutboxSettings, journal: Journal, clock: Callable[[], datetime]) -> None:
        self._settings = settings
        self._journal = journal
        self._clock = clock
        self._seen: OrderedDict[tuple[str, str], int] = OrderedDict()

    def routes(self) -> list[Route]:
        """Every path that nobody else wants."""
        return [Route("/{path:path}", self._receive, methods=["POST"])]

    async def _receive(self, request: Request) -> Response:
        try:
            body = await read_body(request, LARGEST)
        except TooLarge:
            return PlainTextResponse("too large\n", 413)
        path, headers = request.url.path, dict(request.headers)
        secret, script = self._settings.secret_of(path.rsplit("/", 1)[-1]), read_script(request.query_params)
        check = check_signature(secret, headers, body, self._clock())
        times = self._count(path, headers.get("webhook-id", ""))
        status = script.answer(check, bool(secret), times)
        record = {
            "path": path,
            "query": request.url.query,
            "headers": [[name, value] for name, value in request.headers.items()],
            "webhook_id": headers.get("webhook-id", ""),
            "body": body.decode("utf-8", "replace"),
            "verified": check.verified,
            "reason": check.reason,
            "times": times,
            "status": status,
        }
        id_ = self._journal.append(record, self._clock().isoformat())
        log.info("callback caught", action="outbox_callback", id=id_, verified=check.verified, status=status)
        if script.delay:
            await asyncio.sleep(script.delay)
        retry_after = {"Retry-After": str(script.retry_after)} if script.retry_after and status >= 400 else None
        return Response(status_code=status, headers=retry_after)

    def _count(self, path: str, id_: str) -> int:
        """How often this webhook-id came to this path, this time included."""
        if not id_:
            return 1
        times = self._seen.pop((path, id_), 0) + 1
        self._seen[path, id_] = times
        if len(self._seen) > KEEP:
            self._seen.popitem(last=False)
        return times


def summarise(record: Record) -> Summary:
    """How a callback stands in the list."""
    try:
        title = str(json.loads(record["body"])["type"])
    except (ValueError, KeyError, TypeError, RecursionError):
        title = "POST " + record["path"]
    note = f"answered {record['status']}" if record["status"] >= 300 else ""
    if record["times"] > 1:
        note = f"{note}, number {record['times']}".removeprefix(", ")
    good = record["verified"] and record["status"] < 300
    if not record["verified"]:
        note = f"not verified, {note}".removesuffix(", ")
    search = f"{record['webhook_id']} {record['body']}"
    return Summary(title, record["path"].removeprefix("/hooks/"), note, good, search)
