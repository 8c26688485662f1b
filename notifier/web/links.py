"""/l/{token} and /s/{code}: GET shows, POST acts. No redirect on reading, no cookie; the token is the CSRF proof.

GET, HEAD and OPTIONS change nothing (P5). What does not verify gets one answer (P7). Log lines carry the route
template, never the token.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool

from notifier.acting import LinkService, Visit
from notifier.core.links import normalise_code
from notifier.core.order_form import MOST_FIELDS, read_form
from notifier.errors import LinkError, LinkExpired, LinkRevoked
from notifier.sources.pictures import Pictures
from notifier.web.pages import Page, Pages
from notifier.web.security import PICTURE_HEADERS, same_origin

MOST_FORM = 64 * 1024  #: bytes
Show = Callable[[str, str, Request], Response]
Act = Callable[[str, str, Request], Awaitable[Response]]
VIA = {"l": "email", "s": "sms"}


def create_router(service: LinkService, pages: Pages, pictures: Pictures) -> APIRouter:
    """Return the routes."""
    router = APIRouter(include_in_schema=False)
    openers: dict[str, Callable[[str, str], Visit]] = {"l": service.open_token, "s": service.open_code}

    def opened(kind: str, text: str, request: Request) -> Visit | Page:
        try:
            return openers[kind](text, request.headers.get("host", ""))
        except LinkExpired:
            return pages.expired()
        except LinkRevoked:
            return pages.revoked()
        except LinkError:
            return pages.invalid()

    def show(kind: str, text: str, request: Request) -> Response:
        visit = opened(kind, text, request)
        return _html(visit if isinstance(visit, Page) else pages.show(visit, service.clock(), request.url.path))

    async def act(kind: str, text: str, request: Request) -> Response:
        fields = await _fields(request)
        if fields is None:
            return _html(pages.refused(413, "Too much", "The form is larger than we read."))
        return await run_in_threadpool(_act, kind, text, request, fields)

    def _act(kind: str, text: str, request: Request, fields: dict[str, str]) -> Response:
        visit = opened(kind, text, request)
        if isinstance(visit, Page):
            return _html(visit)
        if not same_origin(request, visit.policy.base_url or service.base_url):
            return _html(pages.refused(403, "Not from this page", "Open the link again and answer there."))
        if visit.order is None:
            return _html(pages.show(visit, service.clock(), request.url.path))
        form = read_form(fields, [line.sku for line in visit.order.data.lines])
        acted = service.act(visit, form, VIA[kind])
        if acted.done:
            return Response(status_code=303, headers={"Location": request.url.path, "Cache-Control": "no-store"})
        return _html(pages.show(acted.visit, service.clock(), request.url.path, acted))

    async def picture(kind: str, text: str, request: Request) -> Response:
        visit = await run_in_threadpool(opened, kind, text, request)
        found = None if isinstance(visit, Page) else await pictures.of(visit.event, visit.policy)
        if found is None:
            return Response(status_code=404, headers=PICTURE_HEADERS)
        return Response(found.body, media_type=found.media_type, headers=PICTURE_HEADERS)

    for kind in openers:
        _add(router, kind, show, act, picture)

    @router.api_route("/s", methods=["GET", "HEAD"])
    def code_entry() -> Response:
        return _html(pages.code_entry())

    @router.post("/s")
    async def typed_code(request: Request) -> Response:
        """A typed code: shows the link's page; nothing is changed by it."""
        fields = await _fields(request) or {}
        visit = await run_in_threadpool(opened, "s", fields.get("code", "")[:60], request)
        if isinstance(visit, Page):
            return _html(pages.code_entry(wrong=True))
        return Response(
            status_code=303, headers={"Location": f"/s/{normalise_code(fields['code'])}", "Cache-Control": "no-store"}
        )

    return router


def _add(router: APIRouter, kind: str, show: Show, act: Act, picture: Act) -> None:
    """The three routes of one way of writing a link."""

    def get(text: str, request: Request) -> Response:
        return show(kind, text, request)

    async def post(text: str, request: Request) -> Response:
        return await act(kind, text, request)

    async def image(text: str, request: Request) -> Response:
        return await picture(kind, text, request)

    def options(text: str) -> Response:
        return Response(status_code=204, headers={"Allow": "GET, HEAD, OPTIONS, POST"})

    path = f"/{kind}/{{text}}"
    router.add_api_route(path, get, methods=["GET", "HEAD"])
    router.add_api_route(path, post, methods=["POST"])
    router.add_api_route(path, options, methods=["OPTIONS"])
    router.add_api_route(f"{path}/picture", image, methods=["GET", "HEAD"])


def _html(page: Page) -> HTMLResponse:
    return HTMLResponse(page.html, page.status, headers=page.headers)


async def _fields(request: Request) -> dict[str, str] | None:
    """The fields of a small urlencoded form; None when it is too large or too many."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_FORM:
            return None
    try:
        pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        return None
    return dict(pairs)
