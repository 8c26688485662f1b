"""The ASGI application, put together: routers, error form, access log with the route template (never the token)."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from notifier import __version__
from notifier.bootstrap import System, templates_root
from notifier.channels.sms import verify_signature
from notifier.config import load
from notifier.garbage import collect_seldom
from notifier.logs import set_up
from notifier.sources.pictures import Pictures
from notifier.store import newest_schema
from notifier.web import auth, hooks, intake, links, ops, problems, reads
from notifier.web.pages import Pages
from notifier.web.security import Proxies
from notifier.worker.current import build_for_publishing

log = structlog.get_logger("notifier.web")

DESCRIPTION = """Events of store coolers in, delivered messages out.

Send events to `POST /v1/events` as CloudEvents (structured, batch, binary) or as Coolr's own records; read what became
of them under `/v1`. Errors are RFC 9457 problem documents that name the field and the reason."""


def create() -> ASGIApp:
    """Build the application from the environment (uvicorn's factory)."""
    settings = load(os.environ)
    set_up(settings.log_format, settings.log_level)
    collect_seldom()
    return build_app(build_for_publishing(settings))


def build_app(system: System) -> ASGIApp:
    """Build the application for a system."""
    settings = system.settings

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        system.hints.close()
        system.store.close()

    app = FastAPI(
        title="Coolr alert notification dispatcher",
        version=__version__,
        description=DESCRIPTION,
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # links are answered in place, and a redirect would repeat the Host it was asked for
    )
    problems.install(app)
    credential = auth.credential_dependency(system.store)
    app.include_router(intake.create_router(system.pipeline.accept, credential))
    proxies = Proxies(settings.trusted_proxies)
    pages = Pages(templates_root(settings), system.catalogue)
    pictures = Pictures.from_settings(settings)
    app.include_router(links.create_router(system.link_service, pages, pictures, proxies))
    verify = verify_signature(settings.twilio_auth_token.get_secret_value())
    app.include_router(
        hooks.create_router(system.store, system.clock, verify, settings.base_url),
        responses={422: problems.PROBLEM},
    )
    app.include_router(reads.create_router(system.store, credential))
    key = settings.metrics_key.get_secret_value()
    app.include_router(ops.create_router(system.store, system.clock, key, newest_schema(), proxies))
    return AccessLog(app)


class AccessLog:
    """Logs each request under its route template, so that no token, code or query ever reaches a log (P10)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path", "(no route)")
            took = round((time.monotonic() - began) * 1000, 1)
            if route not in ("/healthz", "/readyz", "/metrics"):
                log.info("request", action="request", method=scope["method"], route=route, status=status, ms=took)
