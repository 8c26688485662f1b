"""The reference of the ingest bench: our web stack that reads the body and looks at none of it.

Same server, same options, same framework and access log; answers as if 100 events (or one) had been accepted.
"""

from __future__ import annotations

import os

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp

from notifier.config import load
from notifier.logs import set_up
from notifier.web.app import AccessLog

RESULT = {"index": 0, "status": "accepted", "id": "01935850-0000-7000-8000-000000000000", "source_id": "alert-1234567"}


def create() -> ASGIApp:
    """For uvicorn."""
    settings = load({name: value for name, value in os.environ.items() if name.startswith("NOTIFIER_")})
    set_up(settings.log_format, settings.log_level)
    app = FastAPI()

    @app.post("/v1/events", status_code=202)
    async def events(request: Request) -> JSONResponse:
        count = 100 if (await request.body())[:1] == b"[" else 1
        return JSONResponse({"accepted": count, "results": [RESULT] * count}, 202)

    return AccessLog(app)
