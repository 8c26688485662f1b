"""The Twilio-shaped server: takes messages over HTTP, lists them, and reports their way by signed status call-backs."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from twilio.request_validator import RequestValidator

from notifier.core.sms_text import segments
from notifier.outbox.guard import TooLarge, read_body
from notifier.outbox.journal import KEEP, Journal, Record, Summary
from notifier.outbox.settings import OutboxSettings, is_loopback
from notifier.outbox.twilio_api import Refusal, Sms, page_of, read_request

log = structlog.get_logger(__name__)

LARGEST = 64 * 1024  #: bytes of a request
LENGTH_OF_SID = 34  #: of a messaging service; senders are shorter
AT_ONCE = 20  #: status call-backs in flight
#: Status → seconds after the one before. Twilio sends no call-back for the first status, `queued`.
COURSE = {"sent": 0.3, "delivered": 0.7}


class SmsServer:
    """Keeps messages and moves them along."""

    def __init__(self, settings: OutboxSettings, journal: Journal, clock: Callable[[], datetime]) -> None:
        self._settings = settings
        self._journal = journal
        self._clock = clock
        self._sign = RequestValidator(settings.auth_token).compute_signature
        self._kept: OrderedDict[str, Sms] = OrderedDict()
        self._http = httpx.AsyncClient(timeout=5, trust_env=False)
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._courses: set[asyncio.Task[None]] = set()
        for record in journal.records(KEEP):
            self._kept[record["sid"]] = _restored(record, settings.account_sid)

    def routes(self) -> list[Route]:
        """Twilio's paths."""
        base = "/2010-04-01/Accounts/{account}/Messages"
        return [
            Route(f"{base}.json", self._guarded(self._create), methods=["POST"]),
            Route(f"{base}.json", self._guarded(self._list), methods=["GET"]),
            Route(f"{base}/{{sid}}.json", self._guarded(self._fetch), methods=["GET"]),
        ]

    def status_of(self, sid: str) -> Sms | None:
        """What is known of a message of this run."""
        return self._kept.get(sid)

    async def close(self) -> None:
        """Stop reporting."""
        for task in self._courses:
            task.cancel()
        await asyncio.gather(*self._courses, return_exceptions=True)
        await self._http.aclose()

    # -- requests ----------------------------------------------------------------------------------------------------

    def _guarded(self, answer: Callable[[Request], Coroutine[Any, Any, Response]]) -> Any:
        async def endpoint(request: Request) -> Response:
            if not self._authentic(request):
                refusal = _answer(Refusal(401, 20003, "Authenticate"))
                refusal.headers["WWW-Authenticate"] = 'Basic realm="Twilio API"'
                return refusal
            return await answer(request)

        return endpoint

    def _authentic(self, request: Request) -> bool:
        wanted = f"{self._settings.account_sid}:{self._settings.auth_token}"
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        try:
            decoded = base64.b64decode(given, validate=True)
        except (binascii.Error, ValueError):
            return False
        same_account = hmac.compare_digest(request.path_params["account"].encode(), self._settings.account_sid.encode())
        return scheme.lower() == "basic" and hmac.compare_digest(decoded, wanted.encode()) and same_account

    async def _create(self, request: Request) -> Response:
        try:
            form = dict(parse_qsl((await read_body(request, LARGEST)).decode("utf-8", "replace"), max_num_fields=100))
        except (TooLarge, ValueError):
            return _answer(Refusal(413, 20001, "The request is too large."))
        if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            form = {}  # Twilio then finds no parameter
        sid = "SM" + secrets.token_hex(16)
        sms = read_request(form, self._settings.account_sid, sid, self._clock())
        if isinstance(sms, Refusal):
            log.info("SMS refused", action="outbox_sms_refused", reason=sms.code)
            return _answer(sms)
        self._keep(sms)
        return JSONResponse(sms.resource(), status_code=201)

    async def _list(self, request: Request) -> Response:
        page = page_of(list(reversed(self._kept.values())), request.query_params, self._settings.account_sid)
        return _answer(page) if isinstance(page, Refusal) else JSONResponse(page)

    async def _fetch(self, request: Request) -> Response:
        sms = self._kept.get(request.path_params["sid"])
        if sms is None:
            return _answer(Refusal(404, 20404, "The requested resource was not found"))
        return JSONResponse(sms.resource())

    def _keep(self, sms: Sms) -> None:
        self._kept[sms.sid] = sms
        if len(self._kept) > KEEP:
            self._kept.popitem(last=False)
        id_ = self._journal.append(_record(sms), self._clock().isoformat())
        log.info("SMS caught", action="outbox_sms", id=id_)
        task = asyncio.create_task(self._run_course(sms))
        self._courses.add(task)
        task.add_done_callback(self._courses.discard)

    # -- status call-backs -------------------------------------------------------------------------------------------

    async def _run_course(self, sms: Sms) -> None:
        for status, after in COURSE.items():
            await asyncio.sleep(after)
            sms.status, sms.sent = status, sms.sent or self._clock()
            if sms.callback:
                async with self._at_once:
                    sms.told.append(f"{status}: {await self._tell(sms)}")

    async def _tell(self, sms: Sms) -> str:
        if not is_loopback(urlsplit(sms.callback).hostname or ""):
            return "not told, the outbox calls nobody outside this machine"
        form = {
            "AccountSid": sms.account_sid,
            "ApiVersion": "2010-04-01",
            "From": sms.sender,
            "MessageSid": sms.sid,
            "MessageStatus": sms.status,
            "SmsSid": sms.sid,
            "SmsStatus": sms.status,
            "To": sms.to,
        }
        if sms.service:
            form["MessagingServiceSid"] = sms.service
        headers = {"X-Twilio-Signature": self._sign(sms.callback, form), "User-Agent": "TwilioProxy/1.1"}
        try:
            answer = await self._http.post(sms.callback, data=form, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return f"no answer ({type(error).__name__})"
        return f"answered {answer.status_code}"


def summarise(record: Record) -> Summary:
    """How an SMS stands in the list."""
    count, encoding = record["segments"], record["encoding"]
    note = "" if count == 1 else f"{count} segments"
    if encoding != "GSM-7":
        note = f"{note}, {encoding}".removeprefix(", ")
    return Summary(record["body"], record["to"], note, search=f"{record['from']} {record['sid']}")


def _record(sms: Sms) -> Record:
    counted = segments(sms.body)
    return {
        "to": sms.to,
        "from": sms.sender or sms.service,
        "body": sms.body,
        "sid": sms.sid,
        "encoding": counted.encoding,
        "segments": counted.count,
        "units": counted.units,
        "status_callback": sms.callback,
    }


def _restored(record: Record, account_sid: str) -> Sms:
    """A message of an earlier run: a look-up must find it, or its sender would send it again."""
    sender, service = ("", record["from"]) if len(record["from"]) == LENGTH_OF_SID else (record["from"], "")
    at = datetime.fromisoformat(record["received_at"])
    return Sms(
        record["sid"],
        account_sid,
        record["to"],
        sender,
        record["body"],
        service,
        record["status_callback"],
        at,
        status="delivered",
        sent=at,
        told=["of an earlier run of the outbox"],
    )


def _answer(refusal: Refusal) -> JSONResponse:
    return JSONResponse(refusal.body(), status_code=refusal.status)
