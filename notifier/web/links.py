"""/l/{token} and /s/{code}: GET shows, POST acts. No redirect on reading, no cookie; the token is the CSRF proof.

GET, HEAD and OPTIONS change nothing (P5). What does not verify gets one answer (P7). Log lines carry the route
template, never the token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal
from urllib.parse import parse_qsl

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool

from notifier.acting import LinkService
from notifier.core.links import normalise_code
from notifier.core.order_form import MOST_FIELDS, read_form
from notifier.errors import LinkError, LinkExpired, LinkRevoked, StoreError
from notifier.sources.pictures import Pictures
from notifier.visits import Visit
from notifier.web.bodies import form_body
from notifier.web.pages import Page, Pages
from notifier.web.security import PICTURE_HEADERS, Proxies, same_origin

log = structlog.get_logger(__name__)

Kind = Literal["l", "s"]
VIA = {"l": "email", "s": "sms"}
READS = {"Allow": "GET, HEAD, OPTIONS"}
ACTS = {"Allow": "GET, HEAD, OPTIONS, POST"}


class LinkPages:
    """What is answered at the addresses of links."""

    def __init__(self, service: LinkService, pages: Pages, pictures: Pictures, proxies: Proxies) -> None:
        self._service = service
        self._pages = pages
        self._pictures = pictures
        self._proxies = proxies

    def show(self, kind: Kind, text: str, request: Request) -> Response:
        """The page of a link, whoever asks; also HEAD."""
        visit = self.opened(kind, text, request)
        if isinstance(visit, Page):
            return _html(visit)
        return _html(self._pages.show(visit, self._service.clock(), text))

    async def act(self, kind: Kind, text: str, request: Request) -> Response:
        """A form: once taken, the browser is sent to the page of the link."""
        fields = await _fields(request)
        if fields is None:
            return _html(self._pages.refused(413, "Too much", "The form is larger than we read."))
        return await run_in_threadpool(self._act, kind, text, request, fields)

    def _act(self, kind: Kind, text: str, request: Request, fields: dict[str, str]) -> Response:
        visit = self.opened(kind, text, request, fields)
        if isinstance(visit, Page):
            return _html(visit)
        if not same_origin(request, self._service.base_of(visit.policy)):
            return _html(self._pages.refused(403, "Not from this page", "Open the link again and answer there."))
        if visit.order is None:
            return _html(self._pages.show(visit, self._service.clock(), text))
        form = read_form(fields, [line.sku for line in visit.order.data.lines])
        try:
            take = self._service.undo if form.undo else self._service.act
            acted = take(visit, form, VIA[kind])
        except StoreError as error:
            return _html(self._away(error, fields))
        if acted.done:
            return _see(text if kind == "l" else normalise_code(text) or "")
        return _html(self._pages.show(acted.visit, self._service.clock(), text, acted))

    async def picture(self, kind: Kind, text: str, request: Request) -> Response:
        """The link's picture, drawn anew."""
        visit = await run_in_threadpool(self.opened, kind, text, request)
        found = None if isinstance(visit, Page) else await self._pictures.of(visit.picture, visit.policy)
        if found is None:
            return Response(status_code=404, headers=PICTURE_HEADERS)
        return Response(found.body, media_type=found.media_type, headers=PICTURE_HEADERS)

    def typed_code(self, text: str, request: Request) -> Response:
        """A code that somebody typed: to its page, if it has one. Changes nothing."""
        visit = self.opened("s", text, request)
        if isinstance(visit, Page) and visit.status == 404:
            return _html(self._pages.code_entry(wrong=True, typed=text))
        if isinstance(visit, Page):
            return _html(visit)
        return _see(f"s/{normalise_code(text)}")

    def opened(self, kind: Kind, text: str, request: Request, fields: dict[str, str] | None = None) -> Visit | Page:
        """Open a link, or the page that says why not; `fields` are what would be lost."""
        opener = self._service.open_token if kind == "l" else self._service.open_code
        try:
            return opener(text, self._proxies.host(request))
        except LinkExpired as error:
            return self._pages.expired(self._service.tenant_policy(error.tenant))
        except LinkRevoked as error:
            return self._pages.revoked(self._service.tenant_policy(error.tenant))
        except LinkError:
            return self._pages.invalid()
        except StoreError as error:
            return self._away(error, fields or {})

    def _away(self, error: StoreError, fields: dict[str, str]) -> Page:
        log.error("the store did not answer a reader", action="store_away", error=str(error))
        return self._pages.away(fields)


def create_router(service: LinkService, pages: Pages, pictures: Pictures, proxies: Proxies) -> APIRouter:
    """Return the routes."""
    router = APIRouter(include_in_schema=False)
    answers = LinkPages(service, pages, pictures, proxies)
    _add(router, answers, "l")
    _add(router, answers, "s")

    @router.api_route("/s", methods=["GET", "HEAD"])
    def code_entry() -> Response:
        return _html(pages.code_entry())

    @router.post("/s")
    async def typed_code(request: Request) -> Response:
        fields = await _fields(request) or {}
        return await run_in_threadpool(answers.typed_code, fields.get("code", "")[:60], request)

    router.add_api_route("/s", _options(ACTS), methods=["OPTIONS"])

    @router.api_route("/favicon.ico", methods=["GET", "HEAD"])
    def icon() -> Response:
        """Browsers ask by themselves; there is none, and that is no error to show in their console."""
        return Response(status_code=204, headers={"Cache-Control": "max-age=86400"})

    return router


def _add(router: APIRouter, answers: LinkPages, kind: Kind) -> None:
    """The routes of one way of writing a link; whatever else stands below it is answered as what does not verify."""

    def get(text: str, request: Request) -> Response:
        return answers.show(kind, text, request)

    async def post(text: str, request: Request) -> Response:
        return await answers.act(kind, text, request)

    async def image(text: str, request: Request) -> Response:
        return await answers.picture(kind, text, request)

    picture, page = f"/{kind}/{{text}}/picture", f"/{kind}/{{text:path}}"
    router.add_api_route(picture, image, methods=["GET", "HEAD"])
    router.add_api_route(picture, _options(READS), methods=["OPTIONS"])
    router.add_api_route(page, get, methods=["GET", "HEAD"])
    router.add_api_route(page, post, methods=["POST"])
    router.add_api_route(page, _options(ACTS), methods=["OPTIONS"])


def _options(headers: dict[str, str]) -> Callable[[], Response]:
    def options() -> Response:
        return Response(status_code=204, headers=headers)

    return options


def _html(page: Page) -> HTMLResponse:
    return HTMLResponse(page.html, page.status, headers=page.headers)


def _see(place: str) -> Response:
    """To a page beside this one: relative, so that neither Host nor a path before ours matters."""
    headers = {"Location": place, "Cache-Control": "no-store", "Referrer-Policy": "same-origin"}
    return Response(status_code=303, headers=headers)


async def _fields(request: Request) -> dict[str, str] | None:
    """The fields of a small urlencoded form; None when it is too large, has too many, or does not arrive."""
    body = await form_body(request)
    try:
        pairs = parse_qsl((body or b"").decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        return None
    return None if body is None else dict(pairs)
