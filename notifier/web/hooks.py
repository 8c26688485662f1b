"""Provider call-backs: Twilio's message status, signed, moving a notification forward only.

The URL names the attempt by an opaque id; the body is believed only with Twilio's signature over the public URL
(https://www.twilio.com/docs/usage/security, X-Twilio-Signature).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

import structlog
from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from notifier.core.ids import AttemptId
from notifier.core.twilio_codes import CALLBACK_STATUSES
from notifier.ports import Clock, Store
from notifier.unit import CommitPoint
from notifier.web.bodies import form_body

log = structlog.get_logger(__name__)

MOST_FIELDS = 100
Verify = Callable[[str, Mapping[str, str], str], bool]  #: (url, parameters, signature)


def create_router(store: Store, clock: Clock, verify: Verify, base_url: str) -> APIRouter:
    """Return the routes; the signature is checked against `base_url`, never against the Host header."""
    router = APIRouter(prefix="/v1/hooks", tags=["provider call-backs"])

    @router.post("/twilio/{attempt_id}", status_code=204, summary="Twilio message status", response_class=Response)
    async def twilio(attempt_id: str, request: Request) -> Response:
        body = await form_body(request)
        if body is None:
            return Response(status_code=413)
        parameters = _parameters(body)
        url = f"{base_url}/v1/hooks/twilio/{attempt_id}"
        if not verify(url, parameters, request.headers.get("x-twilio-signature", "")):
            log.warning("a call-back without a valid signature was refused", action="hook_refused")
            return Response(status_code=403)
        await run_in_threadpool(_advance, store, clock, attempt_id, parameters)
        return Response(status_code=204)

    return router


def _parameters(body: bytes) -> dict[str, str]:
    """The form; nothing of one with too many fields, so that no signature fits it."""
    try:
        fields = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        return {}
    return dict(fields)


def _advance(store: Store, clock: Clock, attempt_id: str, parameters: Mapping[str, str]) -> None:
    status = CALLBACK_STATUSES.get(parameters.get("MessageStatus", ""))
    if status is None:
        return
    with store.write(CommitPoint.REPORT) as tx:
        moved = tx.advance(AttemptId(attempt_id), status, parameters.get("ErrorCode") or None, clock())
    log.info("provider status", action="provider_status", attempt=attempt_id, status=status.value, moved=moved)
