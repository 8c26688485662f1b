"""A state machine over the real store: whatever happens in whatever order, the short model and the promises hold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import count
from typing import Any

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from notifier.core.acceptance import AnswerStatus
from notifier.core.events import RawItem
from notifier.core.model import EventType, NotificationStatus
from notifier.core.order_form import Form
from notifier.core.orders import Action
from notifier.errors import OutcomeUnknown, PermanentFailure, TemporaryFailure
from notifier.ports import Receipt
from notifier.store import SqlStore
from notifier.testing import alert, as_sent, envelope, order
from tests.model import expected
from tests.model.world import Worker, World
from tests.pipeline.road import sweep

NUMBERS = st.sampled_from(("1042", "1043"))
WHO = st.integers(0, 1)  #: one of two workers, one of two people
#: What a receiver answers, and whether it took the message.
ANSWERS: dict[str, tuple[Any, bool]] = {
    "ok": (Receipt(), True),
    "temporary": (TemporaryFailure("busy"), False),
    "lane-wide": (TemporaryFailure("rate_limited", lane_wide=True, retry_after=60), False),
    "permanent": (PermanentFailure("refused", code="550"), False),
    "lost, taken": (OutcomeUnknown("timeout"), True),
    "lost, not taken": (OutcomeUnknown("timeout"), False),
}
ANSWER = st.sampled_from([*sorted(ANSWERS), "ok", "lost, taken"])
OFTEN = st.sampled_from((True, True, True, False))
STATUS = {Action.ACCEPT: "accepted", Action.CANCEL: "cancelled"}


class Machine(RuleBasedStateMachine):
    """One deployment from its first event until nothing is left to do."""

    def __init__(self, make_store: Callable[[], SqlStore]) -> None:
        super().__init__()
        self.world = World(make_store())
        self.orders = expected.Orders()
        self.ids = count(1)
        self.open_alert = 0
        self.before: dict[str, str] = {}  #: notification → status after the last step

    # -- events -------------------------------------------------------------------------------------------------------

    def _accept(self, item: RawItem, *, routed: bool) -> None:
        (answer,) = self.world.road.accept(item)
        assert answer.status is AnswerStatus.ACCEPTED, answer
        self.world.sent.append(item)
        if routed:
            self.world.pipe.route()

    @rule(closed=st.booleans(), routed=OFTEN)
    def alert(self, closed: bool, routed: bool) -> None:
        """One begins, or the last one ends."""
        if closed and self.open_alert:
            number, status, self.open_alert = self.open_alert, "closed", 0
        else:
            number = self.open_alert = next(self.ids)
            status = "open"
        self._accept(alert(number, status, self.world.clock()), routed=routed)

    @initialize(number=NUMBERS, hours=st.sampled_from((None, 0.5, 48)))
    def first(self, number: str, hours: float | None) -> None:
        """A story begins with an order."""
        self.recommend(number, hours, True)

    @rule(number=NUMBERS, hours=st.sampled_from((None, 0.5, 48)), routed=OFTEN)
    def recommend(self, number: str, hours: float | None, routed: bool) -> None:
        deadline = None if hours is None else self.world.clock() + timedelta(hours=hours)
        more = {} if deadline is None else {"deadline": deadline.isoformat()}
        self._accept(order(number, next(self.ids), self.world.clock(), **more), routed=routed)
        self.orders.recommend(number, deadline)

    @rule(number=NUMBERS, elsewhere=st.booleans(), routed=OFTEN)
    def close_order(self, number: str, elsewhere: bool, routed: bool) -> None:
        now = self.world.clock().isoformat()
        facts: dict[str, Any] = {"order_number": number, "outlet": {"code": "ES-1001"}}
        if elsewhere:
            kind, facts = EventType.ORDER_DECIDED, facts | {"decision": "modified", "decided_at": now}
        else:
            kind = EventType.ORDER_WITHDRAWN
        self._accept(as_sent(envelope(kind, facts, f"closing-{next(self.ids)}", time=now)), routed=routed)
        self.orders.close(number, "modified" if elsewhere else "withdrawn")

    @precondition(lambda self: self.world.sent)
    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        (answer,) = self.world.road.accept(data.draw(st.sampled_from(self.world.sent)))
        assert answer.status is AnswerStatus.DUPLICATE

    @rule()
    def route(self) -> None:
        self.world.pipe.route()

    # -- workers ------------------------------------------------------------------------------------------------------

    @rule(
        who=WHO,
        slots=st.sampled_from((3, 20)),
        until=st.sampled_from(("claimed", "begun", "sent", "told")),
        answer=ANSWER,
    )
    def work(self, who: int, slots: int, until: str, answer: str) -> None:
        """Take what is due and get as far with it as the next interruption."""
        worker = self.world.workers[who]
        self.world.claim(worker, slots)
        self.statuses_move_along_the_graph()
        while until != "claimed" and worker.rows:
            self.world.begin(worker)
        while until in ("sent", "told") and worker.begun:
            self._send(worker, answer)
        if until == "told":
            self.world.settle(worker, 100)

    @precondition(lambda self: any(worker.rows for worker in self.world.workers))
    @rule(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.world.begin(data.draw(st.sampled_from([w for w in self.world.workers if w.rows])))

    @precondition(lambda self: any(worker.begun for worker in self.world.workers))
    @rule(data=st.data(), answer=ANSWER)
    def send(self, data: st.DataObject, answer: str) -> None:
        """Also what was begun long ago, by a session that is buried meanwhile."""
        self._send(data.draw(st.sampled_from([w for w in self.world.workers if w.begun])), answer)

    def _send(self, worker: Worker, answer: str) -> None:
        result, takes = ANSWERS[answer]
        self.world.send(worker, result, takes=takes)

    @precondition(lambda self: any(worker.outcomes for worker in self.world.workers))
    @rule(data=st.data(), most=st.integers(1, 3))
    def settle(self, data: st.DataObject, most: int) -> None:
        """In time, or long after the session was buried and its rows are in other hands."""
        self.world.settle(data.draw(st.sampled_from([w for w in self.world.workers if w.outcomes])), most)

    @rule(who=WHO)
    def crash(self, who: int) -> None:
        """Its memory is gone; the process starts anew."""
        self.world.workers[who] = self.world.worker()

    @rule(who=WHO)
    def beat(self, who: int) -> None:
        """A worker that learns of its own burial goes on under a new name; what it knows of sends it still tells."""
        worker = self.world.workers[who]
        if not self.world.pipe.beat_session(worker.session):
            fresh = self.world.worker()
            worker.session, worker.rows, worker.begun = fresh.session, [], []

    @rule()
    def sweep(self) -> None:
        sweep(self.world.pipe)

    @rule()
    def look_up(self) -> None:
        self.world.road.look_up()

    @precondition(lambda self: self.world.attempts_taken)
    @rule(data=st.data(), status=st.sampled_from(("sent", "delivered", "failed")))
    def report(self, data: st.DataObject, status: str) -> None:
        """Before our own settling, long after it, or once more."""
        attempt = data.draw(st.sampled_from(self.world.attempts_taken))
        self.world.report(attempt, NotificationStatus(status))

    @rule(by=st.sampled_from(({"seconds": 11}, {"minutes": 3}, {"minutes": 11}, {"days": 1}, {"minutes": -50})))
    def jump(self, by: dict[str, float]) -> None:
        self.world.clock.advance(**by)

    # -- people -------------------------------------------------------------------------------------------------------

    def _order(self, data: st.DataObject) -> dict[str, Any]:
        return dict(data.draw(st.sampled_from(self.world.orders())))

    def _expected(self, order_id: str) -> tuple[expected.ExpectedOrder, bool]:
        """The model's order, and whether it is the newest of its number."""
        rows = self.world.orders()
        number = next(row["number"] for row in rows if row["id"] == order_id)
        ids = [row["id"] for row in rows if row["number"] == number]
        return self.orders.by_number[number][ids.index(order_id)], ids[-1] == order_id

    @precondition(lambda self: self.orders.by_number)
    @rule(
        data=st.data(),
        person=WHO,
        action=st.sampled_from((Action.ACCEPT, Action.CANCEL, None)),
        right=st.sampled_from((True, True, True, False)),
        stale=st.sampled_from((0, 0, 0, 1)),
    )
    def press(self, data: st.DataObject, person: int, action: Action | None, right: bool, stale: int) -> None:
        """Open a link, type a number, press a button: accept, decline or undo."""
        self._press(self._order(data), person, action, right=right, stale=stale)

    @precondition(lambda self: self.orders.by_number)
    @rule(data=st.data(), minutes=st.sampled_from((0, 3, 11, -20)), undone_by=WHO)
    def answer_and_undo(self, data: st.DataObject, minutes: int, undone_by: int) -> None:
        """A change of mind: at once, in time, too late, or on a clock that was set back."""
        row = self._order(data)
        self._press(row, 0, Action.ACCEPT, right=True, stale=0)
        self.world.clock.advance(minutes=minutes)
        now = next(one for one in self.world.orders() if one["id"] == row["id"])
        self._press(dict(now), undone_by, None, right=True, stale=0)

    def _press(self, row: dict[str, Any], person: int, action: Action | None, *, right: bool, stale: int) -> None:
        opened = self.world.visit(row["id"], person)
        if opened is None:
            return
        key, number, visit = opened
        typed = number if right else "11" if number != "11" else "12"
        form = Form(
            action=action,
            undo=action is None,
            number=typed,
            nonce=f"form-{next(self.ids):08}",
            version=row["version"] - stale,
        )
        self.world.forms.append((key, visit, form))
        self._post(key, visit, form, right=right)

    @precondition(lambda self: self.world.forms)
    @rule(data=st.data())
    def press_again(self, data: st.DataObject) -> None:
        """The same form once more, now or days later, as browsers do."""
        key, visit, form = data.draw(st.sampled_from(self.world.forms))
        assert visit.order is not None
        with self.world.store.read() as tx:
            known = tx.number_state(visit.order.tenant, visit.order.id, visit.link.recipient_key)
        assert known is not None
        right = form.number == self.world.signer.number(visit.order.id, known.recipient_key, known.round, known.key_id)
        self._post(key, visit, form, right=right)

    def _post(self, key: str, visit: Any, form: Form, *, right: bool) -> None:
        order_id, now = visit.order.id, self.world.clock()
        wanted, newest = self._expected(order_id)
        if form.undo:
            handed = self.world.handed_over(order_id)
            done = expected.undo(
                wanted, key, form.nonce, form.number, form.version, now, right=right, newest=newest, handed_over=handed
            )
        else:
            assert form.action is not None
            status = STATUS[form.action]
            done = expected.decide(wanted, key, form.nonce, form.number, status, form.version, now, right=right)
        acted = self.world.post(visit, form)
        note(f"{form} → {acted.done} {acted.error}")
        assert acted.done == done, acted.error

    # -- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def statuses_move_along_the_graph(self) -> None:
        now = {row["id"]: row["status"] for row in self.world.notifications()}
        for id_, status in now.items():
            before = self.before.get(id_, status)
            assert status == before or status in expected.MAY_BECOME.get(before, set()), f"{before} → {status}"
        assert set(self.before) <= set(now)
        self.before = now

    @invariant()
    def attempts_are_numbered_and_one_is_open_at_most_p3(self) -> None:
        by_notification: dict[str, list[Any]] = {}
        for row in sorted(self.world.attempts(), key=lambda row: row["number"]):
            by_notification.setdefault(row["notification_id"], []).append(row)
        for row in self.world.notifications():
            tries = by_notification.get(row["id"], [])
            assert [one["number"] for one in tries] == list(range(1, len(tries) + 1)), "no gap, none twice"
            begun = [one for one in tries if one["outcome"] == "open"]
            assert len(begun) <= 1
            for one in begun:  # it belongs to the one session that holds the row
                assert (row["status"], row["claimed_by"]) == ("claimed", one["session"])
                assert row["tries"] == one["number"] - 1, "an open try has not ended"
            assert (row["claimed_by"] is not None) == (row["status"] == "claimed")

    @invariant()
    def nothing_is_doubled_but_after_a_doubt_p4(self) -> None:
        self.world.note_doubts()
        for id_, times in self.world.taken.items():
            assert times <= 1 + len(self.world.doubted.get(id_, ()))
        for row in self.world.notifications():
            if row["status"] in ("sent", "delivered"):
                assert self.world.taken[row["id"]] or self.world.same_text_taken(row["id"]), f"not taken: {dict(row)}"

    @invariant()
    def one_notification_per_event_channel_address_and_purpose_p2(self) -> None:
        keys = [(row["event_id"], row["channel"], row["address"], row["purpose"]) for row in self.world.notifications()]
        assert len(set(keys)) == len(keys)

    @invariant()
    def orders_are_what_the_model_says_and_one_decision_is_in_force_p6(self) -> None:
        found: dict[str, list[tuple[str, int]]] = {}
        in_force: dict[str, str] = {}
        for row in self.world.decisions():
            if row["undone_at"] is None:
                assert row["order_id"] not in in_force
                in_force[row["order_id"]] = row["id"]
        for row in self.world.orders():
            found.setdefault(row["number"], []).append((row["status"], row["version"]))
            assert row["decision_id"] == in_force.get(row["id"])
            ours = row["status"] in ("accepted", "modified", "cancelled") and not row["decided_elsewhere"]
            assert ours == (row["id"] in in_force)
        assert found == {
            number: [(one.status, one.version) for one in known] for number, known in self.orders.by_number.items()
        }

    @invariant()
    def sequences_of_an_object_rise_with_every_event(self) -> None:
        last: dict[str, int] = {}
        for row in self.world.events():
            assert row["sequence"] > last.get(row["subject"], 0)
            last[row["subject"]] = row["sequence"]

    def teardown(self) -> None:
        """Nothing is forgotten, whatever happened before."""
        try:
            self.world.run_to_rest(expected.RESTING)
            left = [row for row in self.world.notifications() if row["status"] not in expected.RESTING]
            assert left == [], "forgotten"
            assert [row["id"] for row in self.world.events() if row["routed_at"] is None] == []
            self.nothing_is_doubled_but_after_a_doubt_p4()
            self.attempts_are_numbered_and_one_is_open_at_most_p3()
        finally:
            self.world.store.close()
