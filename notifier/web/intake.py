"""POST /v1/events: CloudEvents structured, batched and binary, and Coolr's own records; gzip; answered per event.

The body is read with a hard cap while it arrives and never decompressed beyond a cap. Nothing is called accepted
before the commit (P1).
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from notifier.core.acceptance import Answer, AnswerStatus
from notifier.core.decode import Limits, decode_json, gunzip_capped, parse_json
from notifier.core.events import MOST_BODY, RawItem, item_of
from notifier.core.model import Credential
from notifier.errors import EventError
from notifier.web.problems import problem

MOST_BYTES = 10_000_000  #: of a body as sent
MOST_DECODED = 20_000_000  #: of a body decompressed
MOST_EVENTS = 1000
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
JSON = "application/json"

Accept = Callable[[Sequence[RawItem], Credential], list[Answer]]


def create_router(accept: Accept, credential: Callable[..., Any]) -> APIRouter:
    """Return the route; `accept` is the pipeline's, `credential` the authenticating dependency."""
    router = APIRouter(prefix="/v1", tags=["events in"])

    @router.post("/events", status_code=202, summary="Send one event or up to 1,000", openapi_extra=_BODY)
    async def events(request: Request, key: Credential = Depends(credential)) -> JSONResponse:
        """Answers 202 with one result per event: accepted, duplicate, unchanged, conflict or rejected.

        A single event that cannot be accepted is answered 422 (403 for another tenant's), with the same facts.
        """
        raw = await _body(request)
        try:
            items, single = await run_in_threadpool(_items, request, raw)
        except EventError as error:
            status = 413 if error.code == "too_large" else 422
            # A body that is no JSON at all is kept too, as one entry: its sender is known.
            items, single = [RawItem(None, raw[:MOST_BODY].decode("utf-8", "replace"), error)], True
            answers = await run_in_threadpool(accept, items, key)
            return _refused(answers[0], status)
        answers = await run_in_threadpool(accept, items, key)
        if single and answers[0].status in (AnswerStatus.REJECTED, AnswerStatus.CONFLICT):
            return _refused(answers[0])
        return _answer(answers)

    return router


def _answer(answers: Sequence[Answer]) -> JSONResponse:
    counts = Counter(answer.status.value for answer in answers)
    totals = {status.value: counts[status.value] for status in AnswerStatus}
    return JSONResponse({**totals, "results": [answer.facts() for answer in answers]}, 202)


def _refused(answer: Answer, status: int | None = None) -> JSONResponse:
    usual = {"wrong_tenant": 403, "not_allowed": 403, "conflict": 409}.get(answer.code or "", 422)
    facts = {name: value for name, value in answer.facts().items() if name not in ("index", "status")}
    detail = f"{answer.field}: {answer.reason}" if answer.field else str(answer.reason)
    return problem(status or usual, detail, status_word=answer.status.value, **facts)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise HTTPException(413, f"The body is larger than {MOST_BYTES:,} bytes; send fewer events at once.")
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding in ("identity", ""):
        return bytes(body)
    if encoding != "gzip":
        raise HTTPException(415, "Content-Encoding must be gzip or absent.")
    try:
        return await run_in_threadpool(gunzip_capped, [bytes(body)], most=MOST_DECODED)
    except (EventError, zlib.error) as error:
        raise HTTPException(413 if getattr(error, "code", "") == "too_large" else 400, f"Body: {error}") from None


def _items(request: Request, raw: bytes) -> tuple[list[RawItem], bool]:
    """The events of a body, and whether it is a single one. Raises EventError, HTTPException."""
    kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    limits = Limits(bytes=MOST_DECODED, items=MOST_EVENTS * 500)
    if "ce-id" in request.headers or "ce-specversion" in request.headers:
        return [_binary(request, raw, kind)], True
    if kind not in (STRUCTURED, BATCH, JSON):
        raise HTTPException(415, f"Content-Type must be {STRUCTURED}, {BATCH} or {JSON}.")
    value = parse_json(raw, limits)
    if isinstance(value, dict) and isinstance(value.get("records"), list):
        value = value["records"]
    if not isinstance(value, list):
        return [item_of(value)], True
    if kind == STRUCTURED:
        raise EventError(f"a list needs Content-Type {BATCH}")
    if len(value) > MOST_EVENTS:
        raise EventError(f"{len(value):,} events in one request; at most {MOST_EVENTS:,}", code="too_large")
    return [item_of(item) for item in value], False


def _binary(request: Request, raw: bytes, kind: str) -> RawItem:
    """CloudEvents HTTP binding, binary mode: attributes in ce- headers, percent-encoded; data in the body."""
    if kind != JSON:
        raise HTTPException(415, f"In binary mode the data must be {JSON}.")
    envelope: dict[str, Any] = {
        name.removeprefix("ce-"): unquote(value) for name, value in request.headers.items() if name.startswith("ce-")
    }
    if "recipients" in envelope:
        envelope["recipients"] = decode_json(envelope["recipients"].encode())
    envelope["data"] = decode_json(raw)
    return item_of(envelope)


_BODY = {
    "requestBody": {
        "required": True,
        "description": "A CloudEvent, a batch, or a list of Coolr's own records; see docs/reference/events.md",
        "content": {
            kind: {"schema": {"type": "object" if kind != BATCH else "array"}} for kind in (STRUCTURED, BATCH, JSON)
        },
    }
}
