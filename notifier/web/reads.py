"""The read API: events, notifications, attempts, orders, decisions, quarantine, with Coolr's paging.

`start`, `limit` (at most 100), `filters` = JSON `{"field": {"operator": "=", "value": ...}}`; the answer holds
`records` and `totalRecords`. Every query filters by the key's tenant in SQL; addresses are masked (P10, P11).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Query

from notifier.core.ids import EventId
from notifier.core.model import Credential
from notifier.ports import Store

Listed = Literal["events", "notifications", "attempts", "orders", "decisions", "outlets", "quarantine"]
LARGEST_PAGE = 100


def create_router(store: Store, credential: Callable[..., Credential]) -> APIRouter:
    """Return the routes; `credential` is the dependency that turns an API key into its rights."""
    router = APIRouter(prefix="/v1", tags=["read"])

    @router.get("/{listed}", summary="List records, newest first")
    def list_records(
        listed: Listed,
        start: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
        limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = 50,
        filters: Annotated[str, Query(max_length=2000)] = "",
        reader: Credential = Depends(credential),
    ) -> dict[str, Any]:
        _require_reading(reader)
        wanted = _filters(filters)
        with store.read() as tx:
            try:
                records, total = tx.list_rows(listed, reader.tenant, start=start, limit=limit, filters=wanted)
            except ValueError as error:
                raise HTTPException(422, f"filters: {error}") from None
        return {"records": records, "totalRecords": total}

    @router.get("/events/{event_id}/timeline", summary="What became of an event: notifications, attempts, reasons")
    def timeline(event_id: str, reader: Credential = Depends(credential)) -> dict[str, Any]:
        _require_reading(reader)
        with store.read() as tx:
            event = tx.event(reader.tenant, EventId(event_id))
            if event is None:
                raise HTTPException(404, "no such event")
            return {"event": event.id, "type": event.type.value, "notifications": tx.timeline(reader.tenant, event.id)}

    return router


def _require_reading(credential: Credential) -> None:
    if not credential.may_read:
        raise HTTPException(403, "this key may not read; make one with `notifier keys create --read`")


def _filters(text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise HTTPException(422, f"filters: not JSON ({error})") from None
    if not isinstance(value, dict):
        raise HTTPException(422, "filters: must be an object of field → {operator, value}")
    return value
