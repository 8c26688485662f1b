"""The real thing under the model: a store, the steps of the pipeline, two workers, two people, and honest receivers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import select

from notifier.acting import LinkService
from notifier.core.events import RawItem
from notifier.core.ids import AttemptId, OrderId, RecipientKey, SessionId, new_id
from notifier.core.links import LinkPurpose, LinkSigner
from notifier.core.model import ChannelName, Claimed, NotificationStatus, Settlement
from notifier.core.order_form import Form
from notifier.core.records import WorkerSession
from notifier.errors import DeliveryError, LinkError
from notifier.ports import Delivery, Receipt
from notifier.store import SqlStore
from notifier.store.tables import attempts, decisions, events, links, notifications, orders
from notifier.testing import ACME, BASE_URL, LINK_KEYS, FakeSms
from notifier.unit import CommitPoint
from notifier.visits import Acted, Visit
from tests.pipeline.road import Road, sweep

Row = Mapping[str, Any]


@dataclass(repr=False)
class Worker:
    """What a delivery worker has in memory, and nowhere else."""

    session: SessionId
    rows: list[Claimed] = field(default_factory=list)  #: claimed, no attempt yet
    begun: list[tuple[Claimed, AttemptId]] = field(default_factory=list)  #: attempt row committed, not sent yet
    outcomes: list[Settlement] = field(default_factory=list)  #: sent, not told yet


@dataclass
class World:
    """One deployment, and what its receivers know."""

    store: SqlStore
    taken: Counter[str] = field(default_factory=Counter)  #: how often a receiver took each notification
    attempts_taken: list[AttemptId] = field(default_factory=list)
    texts: dict[str, tuple[str, str]] = field(default_factory=dict)  #: SMS notification → number and text
    doubted: dict[str, set[str]] = field(default_factory=dict)  #: attempts that were ever of unknown outcome
    forms: list[tuple[str, Visit, Form]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Build the system; nobody works yet."""
        self.road = Road(self.store)
        self.pipe, self.clock = self.road.pipe, self.road.clock
        self.signer = LinkSigner(LINK_KEYS)
        self.people = LinkService(self.store, self.signer, self.pipe.policies, self.road.hints, self.clock, BASE_URL)
        self.workers = [self.worker(), self.worker()]
        self.sent: list[RawItem] = []

    # -- rows ---------------------------------------------------------------------------------------------------------

    def rows(self, table: Any) -> list[Row]:
        """All rows, by id: in the order they were made."""
        with self.store.engine.connect() as connection:
            return [dict(row) for row in connection.execute(select(table).order_by(table.c.id)).mappings()]

    def notifications(self) -> list[Row]:
        return self.rows(notifications)

    def attempts(self) -> list[Row]:
        return self.rows(attempts)

    def orders(self) -> list[Row]:
        return self.rows(orders)

    def decisions(self) -> list[Row]:
        return self.rows(decisions)

    def events(self) -> list[Row]:
        return self.rows(events)

    # -- workers ------------------------------------------------------------------------------------------------------

    def worker(self) -> Worker:
        """A process starts."""
        session = SessionId(new_id())
        self.pipe.start_session(WorkerSession(session, "host", 1, self.clock(), self.clock()))
        return Worker(session)

    def claim(self, worker: Worker, slots: int) -> None:
        self.road.session = worker.session
        worker.rows += self.road.claim(slots=slots)

    def begin(self, worker: Worker) -> None:
        """What is no longer the worker's is forgotten."""
        row = worker.rows.pop(0)
        attempt = self.road.begin(row)
        if attempt is not None:
            worker.begun.append((row, attempt))

    def send(self, worker: Worker, answer: Receipt | DeliveryError, *, takes: bool) -> None:
        """The receiver takes it or not, and the answer is as given."""
        row, attempt = worker.begun.pop(0)

        if row.channel is ChannelName.SMS:
            text = self.pipe.preparation.text(row.tenant, row.message, self.pipe.policies.current())
            self.texts[row.id] = (row.address, text)

        def answered(delivery: Delivery) -> Receipt | Exception:
            if takes:
                self._take(row, attempt, delivery)
            return answer

        self.road.channels[row.channel].answer = answered
        worker.outcomes.append(self.road.send(row, attempt))

    def _take(self, row: Claimed, attempt: AttemptId, delivery: Delivery) -> None:
        self.taken[row.id] += 1
        self.attempts_taken.append(attempt)
        sms = self.road.channels[ChannelName.SMS]
        if row.channel is ChannelName.SMS:
            assert isinstance(sms, FakeSms)
            sms.taken[row.address, delivery.parts["text"]] = Receipt(provider_id=f"SM{attempt}")

    def same_text_taken(self, notification: str) -> bool:
        """Whether its reader got these very words: a provider asked for a lost SMS tells two alike not apart."""
        words = self.texts.get(notification)
        return words is not None and any(self.texts.get(other) == words for other, times in self.taken.items() if times)

    def settle(self, worker: Worker, count: int) -> None:
        told, worker.outcomes = worker.outcomes[:count], worker.outcomes[count:]
        self.pipe.settle(told)

    def report(self, attempt: AttemptId, status: NotificationStatus) -> None:
        """A provider calls back."""
        with self.store.write(CommitPoint.REPORT) as tx:
            tx.advance(attempt, status, None, self.clock())

    def note_doubts(self) -> None:
        """Remember attempts of unknown outcome: a later word may settle them, the doubt was there."""
        for row in self.attempts():
            if row["outcome"] == "unknown":
                self.doubted.setdefault(row["notification_id"], set()).add(row["id"])

    # -- people -------------------------------------------------------------------------------------------------------

    def visit(self, order_id: str, person: int) -> tuple[str, str, Visit] | None:
        """Open one of a person's links to an order: who it is, the right number, the page. None = has none yet."""
        mine = (links.c.object == f"order/{order_id}", links.c.may_act)
        with self.store.engine.connect() as connection:
            found = connection.execute(select(links).where(*mine).order_by(links.c.id)).mappings().all()
        keys = sorted({row["recipient_key"] for row in found})
        if person >= len(keys):
            return None
        row = next(row for row in reversed(found) if row["recipient_key"] == keys[person])
        token = self.signer.token(LinkPurpose.ORDER, row["id"], row["expires_at"])
        try:
            visit = self.people.open_token(token, "notify.example")
        except LinkError:
            return None  # expired
        with self.store.read() as tx:
            known = tx.number_state(ACME, OrderId(order_id), RecipientKey(keys[person]))
        assert known is not None
        number = self.signer.number(OrderId(order_id), RecipientKey(keys[person]), known.round, known.key_id)
        return keys[person], number, visit

    def post(self, visit: Visit, form: Form) -> Acted:
        return self.people.undo(visit, form, "email") if form.undo else self.people.act(visit, form, "email")

    def handed_over(self, order_id: str) -> bool:
        """Whether the receiver of final decisions may know of the one in force."""
        current = [row["id"] for row in self.decisions() if row["order_id"] == order_id and row["undone_at"] is None]
        told = [row["id"] for row in self.events() if row["source_id"] in current]
        doubtful = {row["notification_id"] for row in self.attempts() if row["outcome"] == "unknown"}
        return any(
            row["event_id"] in told
            and row["address"] == "erp"
            and (row["status"] in ("claimed", "sent", "delivered", "unknown") or row["id"] in doubtful)
            for row in self.notifications()
        )

    # -- the end ------------------------------------------------------------------------------------------------------

    def run_to_rest(self, resting: Sequence[str] | set[str]) -> None:
        """Everybody who worked before is gone; a fresh worker on a good day does what is left."""
        wait = timedelta(seconds=30)
        for _ in range(80):
            self.clock.now += wait
            worker = self.worker()
            while self.pipe.route():
                pass
            sweep(self.pipe)
            self.note_doubts()
            self.road.look_up()
            self.claim(worker, 100)
            wait = timedelta(seconds=30) if worker.rows else min(wait * 2, timedelta(hours=12))
            while worker.rows:
                self.begin(worker)
            while worker.begun:
                self.send(worker, Receipt(), takes=True)
            self.settle(worker, 1000)
            self.pipe.end_session(worker.session)
            if all(row["status"] in resting for row in self.notifications()):
                return
