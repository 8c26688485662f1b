"""The read API: events, notifications, attempts, orders, decisions, quarantine, with Coolr's paging.

`start`, `limit` (at most 100), `filters` = JSON `{"field": {"operator": "=", "value": ...}}`; the answer holds
`records` and `totalRecords`. Every query filters by the key's tenant in SQL; addresses are masked (P10, P11).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Path, Query

from notifier.core.decode import Limits, decode_json
from notifier.core.ids import EventId
from notifier.core.model import Credential
from notifier.errors import EventError
from notifier.ports import Store
from notifier.web.problems import PROBLEM

Listed = Literal["events", "notifications", "attempts", "orders", "decisions", "outlets", "quarantine"]
LARGEST_PAGE = 100
_ID = re.compile(r"[0-9a-f-]{36}")
_FILTERS = Limits(bytes=8000, depth=4, digits=18, text=500, items=300)


def create_router(store: Store, credential: Callable[..., Credential]) -> APIRouter:
    """Return the routes; `credential` is the dependency that turns an API key into its rights."""
    router = APIRouter(prefix="/v1", tags=["read"])

    errors: dict[int | str, dict[str, Any]] = dict.fromkeys((401, 403, 422, 503), PROBLEM)

    @router.get("/{listed}", summary="List records, newest first", responses=errors)
    def list_records(
        listed: Listed,
        start: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
        limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = 50,
        filters: Annotated[str, Query(max_length=2000)] = "",
        reader: Credential = Depends(credential),
    ) -> dict[str, Any]:
        """`filters` is a JSON object: `{"status": {"operator": "=", "value": "failed"}}`; `in` takes a list."""
        _require_reading(reader)
        wanted = _filters(filters)
        with store.read() as tx:
            try:
                records, total = tx.list_rows(listed, reader.tenant, start=start, limit=limit, filters=wanted)
            except ValueError as error:
                raise HTTPException(422, f"filters: {error}") from None
        return {"records": records, "totalRecords": total}

    @router.get(
        "/events/{event_id}/timeline",
        summary="What became of an event: notifications, attempts, reasons",
        responses={**errors, 404: PROBLEM},
    )
    def timeline(
        event_id: Annotated[str, Path(max_length=36)], reader: Credential = Depends(credential)
    ) -> dict[str, Any]:
        _require_reading(reader)
        event = None
        if _ID.fullmatch(event_id):
            with store.read() as tx:
                event = tx.event(reader.tenant, EventId(event_id))
                told = tx.timeline(reader.tenant, EventId(event_id))
        if event is None:
            raise HTTPException(404, "no such event")
        return {"event": event.id, "type": event.type.value, "notifications": told}

    return router


def _require_reading(credential: Credential) -> None:
    if not credential.may_read:
        raise HTTPException(403, "this key may not read; make one with `notifier keys create --read`")


def _filters(text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        value = decode_json(text.encode("utf-8", "surrogatepass"), limits=_FILTERS)
    except EventError as error:
        raise HTTPException(422, f"filters: {error}") from None
    if not isinstance(value, dict):
        raise HTTPException(422, "filters: must be an object of field → {operator, value}")
    for name, wanted in value.items():
        if isinstance(wanted, dict) and ("value" not in wanted or wanted.keys() - {"operator", "value"}):
            raise HTTPException(422, f"filters: {name}: write {{operator, value}}, and nothing else")
    return value
