"""Pages for people: a visit in, HTML out. Own Jinja environment (autoescape, strict); one response, CSS inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from notifier.core import context, views
from notifier.core.catalogue import Catalogue
from notifier.core.clean import clean
from notifier.core.event_data import DATA_MODELS, AlertData, ImageData, OpportunityData
from notifier.core.links import LinkPurpose
from notifier.core.order_form import CASES
from notifier.core.policy import TenantPolicy
from notifier.core.routing import Facts
from notifier.visits import Acted, Visit
from notifier.web import order_page
from notifier.web.security import page_headers

LOCALE = "en"
FORM_FIELDS = ("action", "nonce", "version", "number", "reason", "reason_text", "name")
_INVALID = (
    "It may have been cut off or changed on the way. Open it once more from the message, or copy the whole address. "
    "If that does not help, call the contact named in the message."
)
_EXPIRED = "Links work for a limited time. If you still need to see this, please call."
_REVOKED = "It was replaced or is no longer needed. A newer message may hold a link that works."
_AWAY = "We cannot reach our records right now. Please try again in a minute."
_AWAY_ANSWER = (
    "We cannot reach our records right now, so we do not know yet whether your answer was taken. Please try again in a "
    "minute: the same answer counts only once."
)


@dataclass(frozen=True, slots=True)
class Page:
    """A page ready to send."""

    status: int
    html: str
    headers: dict[str, str]


class Pages:
    """Renders pages from templates/page."""

    def __init__(self, root: Path, catalogue: Catalogue) -> None:
        folder = root / "page"
        self._catalogue = catalogue
        self._style = (folder / "_style.css").read_text(encoding="utf-8").strip()
        self._environment = Environment(
            loader=FileSystemLoader(folder),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._headers = page_headers(self._style)

    def _page(self, template: str, status: int, **values: Any) -> Page:
        html = self._environment.get_template(template).render(style=Markup(self._style), **values)  # noqa: S704  # our file
        return Page(status, html, self._headers)

    def _problem(self, status: int, title: str, text: str, policy: TenantPolicy | None = None) -> Page:
        return self._page("problem.html", status, **_about_nothing(title, policy), text=text, fields={})

    # -- links that do not open ---------------------------------------------------------------------------------------

    def invalid(self) -> Page:
        """One answer for everything that does not verify, whether it existed or not (P7)."""
        return self._problem(404, "This link does not work", _INVALID)

    def expired(self, policy: TenantPolicy | None) -> Page:
        """For links that verify and are too old; `policy` says whom to call."""
        return self._problem(410, "This link has expired", _EXPIRED, policy)

    def revoked(self, policy: TenantPolicy | None) -> Page:
        """For links that verify and were withdrawn."""
        return self._problem(410, "This link was withdrawn", _REVOKED, policy)

    def refused(self, status: int, title: str, text: str) -> Page:
        """A request that is not answered."""
        return self._problem(status, title, text)

    def away(self, fields: Mapping[str, str]) -> Page:
        """The store does not answer: the page holds what was typed, so that one tap sends it again."""
        kept = {name: text for name, text in fields.items() if name in FORM_FIELDS or name.startswith(CASES)}
        values = _about_nothing("Please try again", None)
        text = _AWAY_ANSWER if kept else _AWAY
        return self._page("problem.html", 503, **values, text=text, fields=kept)

    def code_entry(self, *, wrong: bool = False, typed: str = "") -> Page:
        """Type the code of a printed message or an SMS; one that opens nothing comes back to be corrected."""
        return self._page(
            "code_entry.html", 404 if wrong else 200, **_about_nothing("Type your code", None), wrong=wrong, typed=typed
        )

    # -- links that open ----------------------------------------------------------------------------------------------

    def show(self, visit: Visit, now: datetime, text: str, acted: Acted | None = None) -> Page:
        """The page of a visit; `text` is the token or code in its address, `acted` what became of a form."""
        facts = self._facts(visit)
        zone, clock = context.clock_of(facts, visit.policy)
        common = {**_common(visit, facts, text), "clock": clock}
        match visit.purpose:
            case LinkPurpose.ORDER:
                status, values = order_page.values(visit, zone, clock, common["store"], now, acted)
                return self._page("order.html", status, **{**common, **values})
            case LinkPurpose.IMAGE:
                return self._page("image.html", 200, **common, **_seen(facts, zone))
            case LinkPurpose.OPPORTUNITY:
                assert isinstance(facts.data, OpportunityData)
                view = views.opportunity_view(facts.data, LOCALE)
                return self._page("opportunity.html", 200, **{**common, "title": "Missed sales"}, opportunity=view)

    def _facts(self, visit: Visit) -> Facts:
        """What the message was made from: the page says the same."""
        data = DATA_MODELS[visit.event.type].model_validate(visit.event.data)
        entry = self._catalogue.entry(data.alert_type) if isinstance(data, AlertData) else None
        return Facts(visit.event, data, visit.outlet, order=visit.order, entry=entry)


def _common(visit: Visit, facts: Facts, text: str) -> dict[str, Any]:
    outlet = visit.outlet
    place = clean(", ".join(part for part in (outlet.street, outlet.city) if part), 160) if outlet else ""
    return {
        **_about_nothing("Picture", visit.policy),
        "store": context.store_name(facts),
        "place": place,
        "picture_path": f"{text}/picture",
    }


def _about_nothing(title: str, policy: TenantPolicy | None) -> dict[str, Any]:
    return {
        "title": title,
        "store": "",
        "tenant": clean(policy.name, 80) if policy else "",
        "help": help_of(policy) if policy else None,
    }


def help_of(policy: TenantPolicy) -> dict[str, str] | None:
    """Whom people can call."""
    if not policy.help.phone and not policy.help.email:
        return None
    phone = context.clean_phone(policy.help.phone)
    dial = "".join(char for char in phone if char.isdigit() or char == "+")
    return {"name": clean(policy.help.name, 80), "phone": phone, "dial": dial, "email": policy.help.email}


def _seen(facts: Facts, zone: str) -> dict[str, Any]:
    """What there is to say beside a picture, in the words of the message."""
    data = facts.data
    if isinstance(data, ImageData):
        return {"image": views.image_view(data, zone, LOCALE), "alert": None}
    if isinstance(data, AlertData):
        asset = data.asset
        where = ", ".join(part for part in (asset.serial, asset.location) if part) if asset else ""
        title = clean(data.title or (facts.entry.title if facts.entry else data.alert_type), 100)
        product = data.product.name or data.product.sku if data.product else ""
        alert = {
            "title": title,
            "text": clean(data.text, 400),
            "where": clean(where, 100),
            "product": clean(product, 80),
        }
        return {"image": None, "alert": alert}
    return {"image": None, "alert": None}
