"""act: open a link, show what it points at, take a decision once and take it back while it is not final (P5, P6, P7).

Reading changes nothing. Acting happens in one transaction: subject and order locked (in that order, as accept does),
the number judged, the decision, the order's new state, the audit entry and the event `coolr.decision.recorded` (or
`coolr.decision.undone`) written together. Knows no HTTP: takes texts, returns what to show.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import structlog

from notifier.core import order_flow
from notifier.core.event_data import DecisionData
from notifier.core.ids import EventId, OrderId, TenantId, new_id
from notifier.core.links import LinkPurpose, LinkSigner, normalise_code
from notifier.core.model import Contact, Event, EventType, Outlet, Suppression
from notifier.core.order_flow import Decided, Refusal, Refused, Undone, UndoWish, Wish
from notifier.core.order_form import Form
from notifier.core.orders import Order
from notifier.core.policy import Confirmation, TenantPolicy, When
from notifier.core.records import AuditEntry, LinkRow, SubjectState
from notifier.errors import LinkExpired, LinkInvalid, LinkRevoked, StoreError
from notifier.ports import Clock, Hints, PolicySource, Store
from notifier.unit import CommitPoint, Reader, Writer
from notifier.visits import Acted, FormError, Visit

log = structlog.get_logger(__name__)

TRIES = 2  #: wrong numbers before the number no longer opens the order
OURS = "notifier"  #: CloudEvents source of what we produce


#: Looks at a form inside the transaction: tx, visit, order, subject, form, way, now.
Judge = Callable[[Writer, Visit, Order, SubjectState | None, Form, str, datetime], Acted]


@dataclass(frozen=True, slots=True)
class LinkService:
    """Opens links and takes decisions."""

    store: Store
    signer: LinkSigner
    policies: PolicySource
    hints: Hints
    clock: Clock
    base_url: str

    # -- opening ------------------------------------------------------------------------------------------------

    def open_token(self, token: str, host: str) -> Visit:
        """Open a signed link at the host it was asked for. Raises LinkInvalid, LinkExpired, LinkRevoked."""
        opened = self.signer.verify(token)  # before the database is asked
        self.policies.refresh()
        with self.store.read() as tx:
            row = tx.link(opened.link_id)
            if row is None or row.purpose != opened.purpose:
                raise LinkInvalid
            return self._visit(tx, row, host, min(opened.expires_at, row.expires_at))

    def open_code(self, text: str, host: str) -> Visit:
        """Open a short code, typed or followed. Raises as open_token: who has the 80 bits of a code has its link."""
        code = normalise_code(text)
        if code is None:
            raise LinkInvalid
        self.policies.refresh()
        with self.store.read() as tx:
            row = tx.link_by_code(self.signer.code_hash(code))
            if row is None:
                raise LinkInvalid
            return self._visit(tx, row, host, row.expires_at)

    def _visit(self, tx: Reader, row: LinkRow, host: str, expires_at: datetime) -> Visit:
        policy = self.policies.current().tenants.get(row.tenant)
        if policy is None or not same_host(host, self.base_of(policy)):
            raise LinkInvalid  # not even "expired" is told at another tenant's address
        if row.revoked_at is not None:
            raise LinkRevoked(row.tenant)
        if expires_at <= self.clock():
            raise LinkExpired(expires_at, row.tenant)
        event = tx.event(row.tenant, row.event_id)
        if event is None:
            raise LinkInvalid
        outlet = tx.outlets(row.tenant, [event.outlet]).get(event.outlet) if event.outlet else None
        purpose = LinkPurpose(row.purpose)
        if purpose is not LinkPurpose.ORDER:
            return Visit(row, purpose, policy, event, outlet)
        return self._order_visit(tx, row, policy, event, outlet)

    def base_of(self, policy: TenantPolicy) -> str:
        """The address that the tenant's links open at."""
        return policy.base_url or self.base_url

    def tenant_policy(self, tenant: str) -> TenantPolicy | None:
        """For pages about links that are no longer open."""
        return self.policies.current().tenants.get(TenantId(tenant))

    def _order_visit(
        self, tx: Reader, row: LinkRow, policy: TenantPolicy, event: Event, outlet: Outlet | None
    ) -> Visit:
        order = tx.order(row.tenant, _order_id(row))
        if order is None:
            raise LinkInvalid
        last = tx.last_decision(row.tenant, order.id)
        in_force = last is not None and last.undone_at is None
        seen = tx.order_version(row.tenant, order.id, row.object_version) if row.object_version else None
        state = tx.number_state(row.tenant, order.id, row.recipient_key)
        contacts = tx.contacts(order.tenant, [order.outlet]).get(order.outlet, [])
        return Visit(
            link=row,
            purpose=LinkPurpose.ORDER,
            policy=policy,
            event=event,
            outlet=outlet,
            order=order,
            decision=last if in_force else None,
            undone=None if in_force else last,
            followed=in_force and _followed(tx, order),
            often_undone=in_force and tx.times_undone(row.tenant, order.id) >= order_flow.MOST_UNDONE,
            seen=seen,
            may_act=row.may_act and _may_decide(row, contacts, policy),
            locked=state is not None and state.wrong >= TRIES,
            nonce=secrets.token_urlsafe(12),
            name=_given_name(row, contacts),
        )

    # -- acting -------------------------------------------------------------------------------------------------

    def act(self, visit: Visit, form: Form, via: str) -> Acted:
        """Take the decision that a form asks for, once."""
        if visit.order is None or not visit.may_act:
            return Acted(visit, error=Refusal.NOT_ALLOWED, typed=form)
        if form.action is None or not form.nonce:
            return Acted(visit, error=Refusal.UNCLEAR, typed=form)
        return self._take(visit, visit.order, form, via, CommitPoint.DECIDE, self._decide)

    def undo(self, visit: Visit, form: Form, via: str) -> Acted:
        """Take back the decision that a form names, once, while it is not final."""
        if visit.order is None or not visit.may_act:
            return Acted(visit, error=Refusal.NOT_ALLOWED, typed=form)
        if not form.undo or not form.nonce:
            return Acted(visit, error=Refusal.UNCLEAR, typed=form)
        return self._take(visit, visit.order, form, via, CommitPoint.UNDO, self._undo)

    def _take(self, visit: Visit, seen: Order, form: Form, via: str, point: CommitPoint, judge: Judge) -> Acted:
        """Do what the form asks for; when two writers met, once more: the second look is the truth."""

        def once() -> Acted:
            now = self.clock()
            with self.store.write(point) as tx:
                subject = f"order/{seen.number}"
                state = tx.lock_subjects(visit.policy.id, [subject]).get(subject)
                order = tx.lock_order(visit.policy.id, seen.id)
                assert order is not None  # orders are never deleted
                return judge(tx, visit, order, state, form, via, now)

        try:
            acted = once()
        except StoreError as error:
            if not error.conflict:
                raise
            acted = once()
        if acted.done:
            self.hints.route()
        return self._fresh(acted)

    def _decide(
        self,
        tx: Writer,
        visit: Visit,
        order: Order,
        state: SubjectState | None,
        form: Form,
        via: str,
        now: datetime,
    ) -> Acted:
        if tx.decision_by_nonce(order.tenant, order.id, form.nonce) is not None:
            return Acted(visit, done=True)  # the same form again: the same receipt
        answer = order_flow.decide(order, _wish(visit, form, via), visit.policy, now, new_id)
        if isinstance(answer, Refused) and answer.reason is not Refusal.INVALID:
            return Acted(visit, error=answer.reason, refused=answer, typed=form)
        if (wrong := self._number_against(tx, visit, order, form, now)) is not None:
            return wrong
        if isinstance(answer, Refused):
            return Acted(visit, error=Refusal.INVALID, refused=answer, typed=form)
        if not tx.save_decision(answer.decision):
            return Acted(visit, error=Refusal.ALREADY_DECIDED, typed=form)
        event = decision_event(answer, state, now)
        facts = {"version": answer.decision.order_version, "quantities": dict(answer.decision.quantities)}
        action = f"decision.{answer.decision.action.value}"
        self._record(tx, answer.order, event, state, _audit(visit, action, order, now, facts))
        return Acted(visit, done=True)

    def _undo(
        self,
        tx: Writer,
        visit: Visit,
        order: Order,
        state: SubjectState | None,
        form: Form,
        via: str,
        now: datetime,
    ) -> Acted:
        if tx.decision_by_undo_nonce(order.tenant, order.id, form.nonce) is not None:
            return Acted(visit, done=True)  # the same form again: the same answer
        wish = UndoWish(form.version, form.nonce, visit.name, via)
        last = tx.last_decision(order.tenant, order.id)
        times = tx.times_undone(order.tenant, order.id)
        answer = order_flow.undo(order, last, wish, now, followed=_followed(tx, order), times=times)
        if isinstance(answer, Refused):
            return Acted(visit, error=answer.reason, refused=answer, typed=form)
        if (wrong := self._number_against(tx, visit, order, form, now)) is not None:
            return wrong
        if not _held_back(tx, visit.policy, answer):
            return Acted(visit, error=Refusal.FINAL, typed=form)  # by a worker whose clock is ahead
        tx.save_undo(answer.decision)
        facts = {"version": answer.order.version, "decision": answer.decision.id}
        event = decision_event(answer, state, now)
        self._record(tx, answer.order, event, state, _audit(visit, "decision.undo", order, now, facts))
        return Acted(visit, done=True)

    def _number_against(self, tx: Writer, visit: Visit, order: Order, form: Form, now: datetime) -> Acted | None:
        """Judge the number; two wrong ones close the order for this person's links."""
        if visit.policy.links.confirmation is Confirmation.BUTTON:
            return None
        key = visit.link.recipient_key
        known = tx.number_state(order.tenant, order.id, key)
        if known is None:
            return Acted(visit, error=Refusal.NOT_ALLOWED, typed=form)
        if known.wrong >= TRIES:
            return Acted(visit, error=FormError.LOCKED, typed=form)
        if not form.number:
            return Acted(visit, error=FormError.NO_NUMBER, tries_left=TRIES - known.wrong, typed=form)
        try:
            expected = self.signer.number(order.id, key, known.round, known.key_id)
        except LinkInvalid:  # the key it was made with is gone: nobody can have the right one
            return Acted(visit, error=Refusal.NOT_ALLOWED, typed=form)
        if hmac.compare_digest(expected.encode(), form.number.encode()):
            return None
        # The count hangs on form and number: a doubled form counts once, another guess in the same form counts.
        once = hashlib.sha256(f"{form.nonce}\0{form.number}".encode()).hexdigest()
        wrong = tx.count_wrong_number(order.tenant, order.id, key, once, TRIES)
        if wrong > known.wrong:  # a doubled form is no other try
            tx.save_audit([_audit(visit, "link.wrong_number", order, now, {"wrong": wrong})])
        error = FormError.LOCKED if wrong >= TRIES else FormError.WRONG_NUMBER
        return Acted(visit, error=error, tries_left=max(0, TRIES - wrong), typed=form)

    def _record(self, tx: Writer, order: Order, event: Event, state: SubjectState | None, entry: AuditEntry) -> None:
        """Order, event and audit beside the decision, in its transaction."""
        tx.save_order(order)
        tx.save_subjects(
            [
                SubjectState(
                    event.tenant,
                    event.subject,
                    state.source if state else OURS,
                    event.sequence,
                    state.state if state else {},
                )
            ]
        )
        tx.save_events([event])
        tx.save_audit([entry])
        log.info(
            "somebody answered an order or took the answer back",
            action=entry.action,
            tenant=event.tenant,
            order=order.id,
            event_id=event.id,
        )

    def _fresh(self, acted: Acted) -> Acted:
        """The visit as it is after the transaction, for the page that is shown next."""
        with self.store.read() as tx:
            visit = acted.visit
            again = self._order_visit(tx, visit.link, visit.policy, visit.event, visit.outlet)
        return Acted(again, acted.done, acted.error, acted.tries_left, acted.refused, acted.typed)


def decision_event(answer: Decided | Undone, state: SubjectState | None, now: datetime) -> Event:
    """Return the event of a decision or its undoing: it takes the same road as everything else."""
    decision, order = answer.decision, answer.order
    if isinstance(answer, Undone):
        kind, source_id = EventType.DECISION_UNDONE, f"{decision.id}.undone"
        data: DecisionData = order_flow.undone_data(order, decision)
    else:
        kind, source_id = EventType.DECISION_RECORDED, str(decision.id)
        data = order_flow.decision_data(order, decision, now)
    return Event(
        id=EventId(new_id()),
        tenant=TenantId(order.tenant),
        source=OURS,
        source_id=source_id,
        type=kind,
        subject=f"order/{order.number}",
        time=now,
        received_at=now,
        sequence=(state.sequence if state else 0) + 1,
        content_hash=hashlib.sha256(source_id.encode()).hexdigest(),
        data=data.model_dump(mode="json"),
        outlet=order.outlet,
    )


def _order_id(row: LinkRow) -> OrderId:
    return OrderId(row.object.removeprefix("order/"))


def _followed(tx: Reader, order: Order) -> bool:
    """Whether a newer order has this one's number."""
    return tx.orders_by_number(order.tenant, [order.number])[order.number].id != order.id


def _held_back(tx: Writer, policy: TenantPolicy, answer: Undone) -> bool:
    """Receivers of final decisions never hear of one that is taken back; False when one has heard of it."""
    known = tx.known_events(policy.id, [(OURS, answer.decision.id)])
    final = [endpoint.name for endpoint in policy.endpoints if endpoint.when is When.FINAL]
    return all(tx.take_back(policy.id, event_id, final, Suppression.UNDONE.value) for event_id, _ in known.values())


def same_host(host: str, base_url: str) -> bool:
    """Whether a Host header names the host of an address; a port that the scheme implies may be left out or not."""
    base = urlsplit(base_url)
    usual = {"https": ":443", "http": ":80"}[base.scheme]
    return host.lower().removesuffix(usual) == base.netloc.lower().removesuffix(usual)


def _may_decide(link: LinkRow, contacts: list[Contact], policy: TenantPolicy) -> bool:
    """Rights are judged when they are used: who left the store, or the role, keeps a link that only shows."""
    return any(
        contact.recipient.id == link.recipient_id
        and contact.recipient.active
        and contact.role in policy.orders.decide_roles
        for contact in contacts
    )


def _wish(visit: Visit, form: Form, via: str) -> Wish:
    assert form.action is not None
    return Wish(
        action=form.action,
        quantities=form.quantities,
        reason=form.reason,
        seen_version=form.version,
        nonce=form.nonce,
        recipient_key=visit.link.recipient_key,
        recipient_id=visit.link.recipient_id,
        decided_by=form.name if _is_name(form.name) else visit.name,
        via=via,
        unreadable=form.unreadable,
    )


def _given_name(link: LinkRow, contacts: list[Contact]) -> str:
    """Given name, else role; never an address."""
    for contact in contacts:
        if contact.recipient.id == link.recipient_id:
            name = contact.recipient.name.split(" ")[0]
            return name if _is_name(name) else contact.role.replace("_", " ")
    return "somebody with the link"


def _is_name(text: str) -> bool:
    """Whether others may be shown this as somebody's name: no e-mail address, no phone number."""
    return any(char.isalpha() for char in text) and "@" not in text and sum(char.isdigit() for char in text) < 5


def _audit(visit: Visit, action: str, order: Order, now: datetime, detail: Mapping[str, Any]) -> AuditEntry:
    return AuditEntry(
        id=new_id(),
        tenant=order.tenant,
        at=now,
        actor=f"link:{visit.link.recipient_key}",
        action=action,
        object=f"order/{order.id}",
        detail={**detail, "link": visit.link.id},
    )
