"""Pages for people: a visit in, HTML out. Own Jinja environment (autoescape, strict); one response, CSS inside."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from notifier.acting import Acted, FormError, Visit
from notifier.core import context, formatting, order_flow
from notifier.core.clean import clean
from notifier.core.event_data import DATA_MODELS, AlertData, ImageData, OpportunityData, OrderData
from notifier.core.links import LinkPurpose
from notifier.core.order_flow import Refusal
from notifier.core.order_form import REASONS, Form
from notifier.core.orders import OrderStatus
from notifier.core.policy import Confirmation, TenantPolicy
from notifier.core.routing import Facts
from notifier.web.security import page_headers

LOCALE = "en"
#: What a person is told when a form was not taken. {number} and {store} are the order's.
ERRORS: dict[str, str] = {
    FormError.WRONG_NUMBER: (
        "That is not the number for order {number}. Look in the message about {store} and try once more."
    ),
    FormError.NO_NUMBER: "Please type the number from your message; it stands under “See the order”.",
    FormError.LOCKED: "The number was wrong twice: this order can no longer be answered by this link. Please call us.",
    Refusal.ALREADY_DECIDED: "Somebody answered this order before you; nothing was changed by your answer.",
    Refusal.SUPERSEDED: "The suggestion changed while you looked at it. Please look at the new one and answer again.",
    Refusal.WITHDRAWN: "This order was withdrawn; nothing is ordered.",
    Refusal.TOO_LATE: "The time to answer this order is over; nothing was changed.",
    Refusal.PAUSED: "Ordering is paused for this store; nothing was changed.",
    Refusal.NOT_ALLOWED: "Your link shows this order but may not answer it.",
    Refusal.INVALID: "Please look at the marked quantities.",
}


@dataclass(frozen=True, slots=True)
class Page:
    """A page ready to send."""

    status: int
    html: str
    headers: dict[str, str]


class Pages:
    """Renders pages from templates/page."""

    def __init__(self, root: Path) -> None:
        folder = root / "page"
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

    # -- links that do not open ---------------------------------------------------------------------------------------

    def invalid(self) -> Page:
        """One answer for everything that does not verify, whether it existed or not (P7)."""
        return self._page("problem.html", 404, **_nobody("This link does not work", _INVALID))

    def expired(self) -> Page:
        """For links that verify and are too old."""
        return self._page("problem.html", 410, **_nobody("This link has expired", _EXPIRED))

    def revoked(self) -> Page:
        """For links that verify and were withdrawn."""
        return self._page("problem.html", 410, **_nobody("This link was withdrawn", _REVOKED))

    def refused(self, status: int, title: str, text: str) -> Page:
        """A request that is not answered."""
        return self._page("problem.html", status, **_nobody(title, text))

    def code_entry(self, *, wrong: bool = False) -> Page:
        """Type the code of a printed message or an SMS."""
        return self._page("code_entry.html", 404 if wrong else 200, **_nobody("Type your code", ""), wrong=wrong)

    # -- links that open ----------------------------------------------------------------------------------------------

    def show(self, visit: Visit, now: datetime, path: str, acted: Acted | None = None) -> Page:
        """The page of a visit at `path`, with what was typed when a form was not taken."""
        match visit.purpose:
            case LinkPurpose.ORDER:
                return self._order(visit, now, path, acted)
            case LinkPurpose.IMAGE:
                return self._image(visit, path)
            case LinkPurpose.OPPORTUNITY:
                return self._opportunity(visit, path)

    def _order(self, visit: Visit, now: datetime, path: str, acted: Acted | None) -> Page:
        assert visit.order is not None
        order, zone = visit.order, _zone(visit)
        view = context.order_view(order, order.data, zone, LOCALE, most=len(order.data.lines))
        state = _state(visit, now)
        form = acted.typed if acted else Form()
        values = {
            **_common(visit, f"Order {view['number']}", path),
            "order": view,
            "lines": _lines(visit, view, acted),
            "state": state,
            "error": _error(visit, acted),
            "whole_error": acted.refused.message if acted and acted.refused else "",
            "error_at_number": acted is not None and acted.error in (FormError.WRONG_NUMBER, FormError.NO_NUMBER),
            "needs_number": visit.policy.links.confirmation is Confirmation.NUMBER,
            "nonce": visit.nonce,
            "reasons": [reason for reason in REASONS if reason],
            "form": form,
            "changes": changes(visit),
            "decision": _decision(visit, zone),
            "has_picture": order.data.image is not None,
        }
        status = 200 if acted is None or acted.error is None else 422 if state == "open" else 409
        return self._page("order.html", status, **values)

    def _image(self, visit: Visit, path: str) -> Page:
        facts = _facts(visit)
        values = {**_common(visit, "Picture", path), **_about(visit, facts), "has_picture": True}
        values.setdefault("image", None)
        values.setdefault("alert", None)
        return self._page("image.html", 200, **values)

    def _opportunity(self, visit: Visit, path: str) -> Page:
        facts = _facts(visit)
        return self._page("opportunity.html", 200, **_common(visit, "Missed sales", path), **_about(visit, facts))


_INVALID = (
    "It may have been cut off or changed on the way. Open it once more from the message, or copy the whole address. "
    "If that does not help, call the contact named in the message."
)
_EXPIRED = "Links work for a limited time. Call the contact named in the message if you still need to see this."
_REVOKED = "It was replaced or is no longer needed. A newer message may hold a link that works."


def _nobody(title: str, text: str) -> dict[str, Any]:
    return {"title": title, "text": text, "store": "", "tenant": "", "help": None}


def _common(visit: Visit, title: str, path: str) -> dict[str, Any]:
    outlet = visit.outlet
    store = clean(outlet.name if outlet else visit.event.outlet or "", 80)
    place = clean(", ".join(part for part in (outlet.street, outlet.city) if part), 160) if outlet else ""
    return {
        "title": title,
        "store": store,
        "place": place,
        "tenant": clean(visit.policy.name, 80),
        "help": help_of(visit.policy),
        "picture_path": f"{path}/picture",
    }


def help_of(policy: TenantPolicy) -> dict[str, str] | None:
    """Whom people can call."""
    if not policy.help.phone and not policy.help.email:
        return None
    dial = "".join(char for char in policy.help.phone if char.isdigit() or char == "+")
    return {"name": clean(policy.help.name, 80), "phone": policy.help.phone, "dial": dial, "email": policy.help.email}


def _zone(visit: Visit) -> str:
    return visit.outlet.timezone if visit.outlet else visit.policy.timezone


def _state(visit: Visit, now: datetime) -> str:
    """open, read_only, locked, paused, late, decided, elsewhere, withdrawn."""
    order = visit.order
    assert order is not None
    if order.status is OrderStatus.WITHDRAWN:
        return "withdrawn"
    if order.status is not OrderStatus.PENDING:
        return "elsewhere" if order.decided_elsewhere else "late" if order.status is OrderStatus.EXPIRED else "decided"
    if order.data.paused:
        return "paused"
    if order.answer_by is not None and now > order.answer_by + order_flow.GRACE:
        return "late"
    if not visit.link.may_act:
        return "read_only"
    return "locked" if visit.locked else "open"


def _error(visit: Visit, acted: Acted | None) -> str:
    if acted is None or acted.error is None:
        return ""
    store = clean(visit.outlet.name, 80) if visit.outlet else "the store"
    number = clean(visit.order.number, 60) if visit.order else ""
    return ERRORS[acted.error].format(number=number, store=store)


def _lines(visit: Visit, view: dict[str, Any], acted: Acted | None) -> list[dict[str, Any]]:
    assert visit.order is not None
    lines = []
    for position, (line, shown) in enumerate(zip(visit.order.data.lines, view["lines"], strict=True)):
        typed = acted.typed.typed.get(line.sku, "") if acted else ""
        mistake = acted.refused.lines.get(line.sku, "") if acted and acted.refused else ""
        most = order_flow.MOST_CASES if line.max_cases is None else line.max_cases
        lines.append(
            {
                **shown,
                "position": position,
                "typed": typed or str(line.suggested_cases),
                "mistake": mistake,
                "most": most,
                "step": line.multiple,
                "rule": _rule(line.min_cases, line.max_cases, line.multiple),
            }
        )
    return lines


def _rule(least: int, most: int | None, step: int) -> str:
    parts = []
    if step > 1:
        parts.append(f"steps of {step}")
    if least:
        parts.append(f"at least {least}")
    if most is not None:
        parts.append(f"at most {most}")
    return ", ".join(parts)


def changes(visit: Visit) -> list[str]:
    """What is different from the version that this link's message showed."""
    if visit.order is None or visit.seen is None or visit.link.object_version == visit.order.version:
        return []
    before = {line.sku: line for line in OrderData.model_validate(visit.seen).lines}
    after = {line.sku: line for line in visit.order.data.lines}
    found = []
    for sku, line in after.items():
        old = before.get(sku)
        if old is None:
            found.append(f"{clean(line.name, 80)}: new, {line.suggested_cases} cases")
        elif old.suggested_cases != line.suggested_cases:
            found.append(f"{clean(line.name, 80)}: {line.suggested_cases} cases instead of {old.suggested_cases}")
    return found + [f"{clean(line.name, 80)}: no longer suggested" for sku, line in before.items() if sku not in after]


def _decision(visit: Visit, zone: str) -> dict[str, Any] | None:
    if visit.decision is None or visit.order is None:
        return None
    decision, order = visit.decision, visit.order
    total = order_flow.total_value(order, decision.quantities)
    currency = order.data.currency
    return {
        "word": context.WORDS[order.status.value],
        "by": clean(decision.decided_by, 60),
        "via": decision.via,
        "at": formatting.local_time(decision.decided_at, zone, LOCALE),
        "cases": sum(decision.quantities.values()),
        "total": formatting.money(total, currency, LOCALE) if total is not None and currency else "",
        "reason": clean(decision.reason, 300),
        "lines": [
            {
                "name": clean(line.name, 80),
                "suggested": line.suggested_cases,
                "cases": decision.quantities.get(line.sku, 0),
            }
            for line in order.data.lines
        ],
    }


def _facts(visit: Visit) -> Facts:
    return Facts(visit.event, DATA_MODELS[visit.event.type].model_validate(visit.event.data), visit.outlet)


def _about(visit: Visit, facts: Facts) -> dict[str, Any]:
    """The same words as in the message."""
    zone = _zone(visit)
    match facts.data:
        case ImageData():
            return {"image": context.image_view(facts.data, zone, LOCALE)}
        case OpportunityData():
            return {"opportunity": context.opportunity_view(facts.data, LOCALE)}
        case AlertData():
            return {"alert": {"title": clean(facts.data.title or facts.data.text or facts.data.alert_type, 200)}}
        case OrderData():
            return {"image": None, "alert": {"title": f"Order {clean(facts.data.order_number, 60)}"}}
    return {}
