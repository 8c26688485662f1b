"""POST /v1/events: CloudEvents structured, batched and binary, and Coolr's own records; gzip; answered per event.

The body is read with a hard cap and a time limit while it arrives and never decompressed beyond a cap. Nothing is
called accepted before the commit (P1).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from notifier.core.acceptance import Answer, AnswerStatus
from notifier.core.decode import decode_json, gunzip_capped
from notifier.core.events import MOST_BODY, RawItem, item_of, items_of
from notifier.core.model import Credential
from notifier.errors import EventError
from notifier.web.gathering import Accept, Gathering
from notifier.web.problems import PROBLEM, problem

MOST_BYTES = 10_000_000  #: of a body as sent
MOST_DECODED = 20_000_000  #: of a body decompressed
MOST_EVENTS = 1000
BODY_SECONDS = 30.0  #: in which a body has to be here; a server waits for ever otherwise
SMALL = 16_384  #: bytes of a body that is read at once and accepted together with others
#: Large bodies read and accepted at the same time per process: one waits for the database while the other is parsed.
#: More threads only hand the interpreter's lock to and fro, and that with a transaction open. It also bounds memory.
BODIES_AT_ONCE = 2
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
JSON = "application/json"
_ATTRIBUTE = re.compile(r"ce-[a-z0-9]+")


def create_router(accept: Accept, credential: Callable[..., Any], *, body_seconds: float = BODY_SECONDS) -> APIRouter:
    """Return the route; `accept` is the pipeline's, `credential` the authenticating dependency."""
    router = APIRouter(prefix="/v1", tags=["events in"])
    places = asyncio.Semaphore(BODIES_AT_ONCE)
    gathering = Gathering(accept)

    @router.post(
        "/events",
        status_code=202,
        summary="Send one event or up to 1,000",
        responses=dict.fromkeys((400, 401, 403, 408, 409, 413, 415, 422, 503), PROBLEM),
        openapi_extra=_BODY,
    )
    async def events(request: Request, key: Credential = Depends(credential)) -> JSONResponse:
        """Answers 202 with one result per event: accepted, duplicate, unchanged, conflict or rejected.

        A single event that cannot be accepted is answered 422 (403 for another tenant's, 409 for a conflict), with the
        same facts.
        """
        sent = await _body(request, body_seconds)
        if len(sent) <= SMALL and "content-encoding" not in request.headers:
            items, single = _items(request, sent)  # less work than handing it to a thread
            return _answer(await gathering.accept(items, key), single=single)
        async with places:
            return await run_in_threadpool(_take, request, sent, accept, key)

    return router


def _take(request: Request, sent: bytes, accept: Accept, key: Credential) -> JSONResponse:
    items, single = _items(request, _decompressed(request, sent))
    return _answer(accept(items, key), single=single)


def _answer(answers: Sequence[Answer], *, single: bool) -> JSONResponse:
    if single and answers[0].status in (AnswerStatus.REJECTED, AnswerStatus.CONFLICT):
        return _refused(answers[0])
    counts = Counter(answer.status.value for answer in answers)
    totals = {status.value: counts[status.value] for status in AnswerStatus}
    return JSONResponse({**totals, "results": [answer.facts() for answer in answers]}, 202)


def _refused(answer: Answer) -> JSONResponse:
    special = {"wrong_tenant": 403, "not_allowed": 403, "conflict": 409, "too_large": 413}
    facts = {name: value for name, value in answer.facts().items() if name not in ("index", "status")}
    detail = f"{answer.field}: {answer.reason}" if answer.field else str(answer.reason)
    return problem(special.get(answer.code or "", 422), detail, status_word=answer.status.value, **facts)


async def _body(request: Request, seconds: float) -> bytes:
    """The body as sent. Raises HTTPException when it is too large, too slow or cut off."""
    too_large = HTTPException(413, f"The body is larger than {MOST_BYTES:,} bytes; send fewer events at once.")
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared[:20]) > MOST_BYTES:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                body += part
                if len(body) > MOST_BYTES:
                    raise too_large
    except TimeoutError:
        reason = f"The body was not here within {seconds:g} s; nothing was accepted."
        raise HTTPException(408, reason, {"Connection": "close"}) from None
    except ClientDisconnect:
        raise HTTPException(400, "The body was cut off; nothing was accepted.") from None
    return bytes(body)


def _decompressed(request: Request, sent: bytes) -> bytes:
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding in ("identity", ""):
        return sent
    if encoding != "gzip":
        raise HTTPException(415, "Content-Encoding must be gzip or absent.")
    try:
        return gunzip_capped([sent], most=MOST_DECODED)
    except EventError as error:
        raise HTTPException(413 if error.code == "too_large" else 400, f"Body: {error}") from None


def _items(request: Request, raw: bytes) -> tuple[list[RawItem], bool]:
    """The events of a body, and whether it is a single one. Raises HTTPException.

    A body that is no list of events at all is kept too, as one entry: its sender is known.
    """
    try:
        return _events(request, raw)
    except EventError as error:
        return [RawItem(None, raw[:MOST_BODY].decode("utf-8", "replace"), error)], True


def _events(request: Request, raw: bytes) -> tuple[list[RawItem], bool]:
    kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if not kind.startswith("application/cloudevents") and any(name.startswith("ce-") for name in request.headers):
        if kind != JSON:
            raise HTTPException(415, f"In binary mode the data must be {JSON}.")
        return [_binary(request, raw)], True
    if kind not in (STRUCTURED, BATCH, JSON):
        raise HTTPException(415, f"Content-Type must be {STRUCTURED}, {BATCH} or {JSON}.")
    items = items_of(raw, MOST_EVENTS)
    if items is None:
        return [item_of(raw)], True
    if kind == STRUCTURED:
        raise EventError(f"a list needs Content-Type {BATCH}")
    return items, False


def _binary(request: Request, raw: bytes) -> RawItem:
    """CloudEvents HTTP binding, binary mode: attributes in ce- headers, percent-encoded; data in the body."""
    headers = [(name, value) for name, value in request.headers.items() if name.startswith("ce-")]
    body = "\n".join([*(f"{name}: {value}" for name, value in headers), "", raw.decode("utf-8", "replace")])[:MOST_BODY]
    envelope: dict[str, Any] = {}
    try:
        for name, value in headers:
            _add_attribute(envelope, name, value)
        envelope["data"] = _json(raw, "data")
    except EventError as error:
        return RawItem(None, body, error)
    return RawItem(envelope, json.dumps(envelope, ensure_ascii=False)[:MOST_BODY])


def _add_attribute(envelope: dict[str, Any], header: str, value: str) -> None:
    name = header.removeprefix("ce-")
    if not _ATTRIBUTE.fullmatch(header) or name == "data":
        raise EventError("is no attribute of a CloudEvent", header[:60])
    if name in envelope:
        raise EventError("stands twice", header)
    try:
        text = unquote(value, errors="strict") if value.isascii() else None
    except UnicodeDecodeError:
        text = None
    if text is None:
        raise EventError("must be percent-encoded UTF-8", header)
    envelope[name] = _json(text.encode(), name) if name == "recipients" else text


def _json(raw: bytes, field: str) -> Any:
    try:
        return decode_json(raw)
    except EventError as error:
        raise EventError(error.reason, f"{field}.{error.field}" if error.field else field, error.code) from None


_BODY = {
    "requestBody": {
        "required": True,
        "description": "A CloudEvent, a batch, or a list of Coolr's own records; see docs/reference/events.md",
        "content": {
            kind: {"schema": {"type": "object" if kind != BATCH else "array"}} for kind in (STRUCTURED, BATCH, JSON)
        },
    }
}
