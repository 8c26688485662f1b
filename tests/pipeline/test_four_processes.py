"""Four processes that accept, route, claim and settle at once on one database: nothing lost, nothing doubled.

The same on SQLite and PostgreSQL; no "database is locked" and no deadlock may reach a caller.
"""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime

from notifier.core.acceptance import AnswerStatus
from notifier.core.events import RawItem
from notifier.core.ids import AttemptId, SessionId, new_id
from notifier.core.model import ChannelName, ClaimRequest, NewAttempt, Settlement
from notifier.core.records import WorkerSession
from notifier.pipeline import Pipeline
from notifier.ports import Receipt
from notifier.store import SqlStore
from notifier.testing import ACME, BOREALIS, alert, credential, furnish, order, pipeline
from tests.four import FOUR, at_once
from tests.pipeline.road import sweep

OBJECTS = 24  #: alerts and orders that all four processes write about
OWN = 6  #: alerts of each process
PATIENCE = 60.0  #: seconds


def now() -> datetime:
    """The processes live in real time."""
    return datetime.now(UTC)


def worker(number: int, url: str, time_: datetime) -> tuple[list[tuple[str, str]], list[str]]:
    """One process: returns (answer, event id) of what it sent in, and the notifications it delivered."""
    store = SqlStore(url)
    pipe = pipeline(store, now)
    session = SessionId(new_id())
    pipe.start_session(WorkerSession(session, "host", number, now(), now()))
    answers, delivered = [], []
    for batch in batches(number, time_):
        for answer in pipe.accept(batch, credential(ACME)):
            answers.append((answer.status.value, answer.id or ""))
        pipe.route()
        delivered += deliver(pipe, session)
    end = time.monotonic() + PATIENCE
    while unfinished(store) and time.monotonic() < end:
        pipe.beat_session(session)
        pipe.route()
        sweep(pipe)
        delivered += deliver(pipe, session)
    pipe.end_session(session)
    store.close()
    return answers, delivered


def batches(number: int, time_: datetime) -> list[list[RawItem]]:
    """What a process sends: the same objects as the others, each in an order of its own, and some of its own."""
    shared = [alert(item, time=time_) for item in range(OBJECTS)] + [order(item, time=time_) for item in range(OBJECTS)]
    shared = shared[number * 5 :] + shared[: number * 5]
    if number % 2:
        shared.reverse()
    own = [alert(f"{number}-{item}", time=time_) for item in range(OWN)]
    own += [alert(f"{number}-{item}", status="closed", time=time_) for item in range(OWN)]
    everything = shared + own
    return [everything[start : start + 7] for start in range(0, len(everything), 7)]


def deliver(pipe: Pipeline, session: SessionId) -> list[str]:
    """Claim, begin and settle what is due."""
    rows = pipe.claim(ClaimRequest(session, 9, 9, tuple(ChannelName)))
    attempts = [NewAttempt(AttemptId(new_id()), row.id, row.tenant, session, row.tries + 1, now()) for row in rows]
    begun = pipe.begin(attempts)
    settlements: list[Settlement] = [
        pipe.outcome(row, attempt.id, Receipt(delivered=True))
        for row, attempt in zip(rows, attempts, strict=True)
        if attempt.id in begun
    ]
    pipe.settle(settlements)
    return [item.notification_id for item in settlements]


def unfinished(store: SqlStore) -> int:
    """Events to be routed, notifications to be sent."""
    with store.read() as tx:
        waiting = [
            tx.list_rows("notifications", ACME, start=0, limit=1, filters={"status": s})[1] for s in ("due", "claimed")
        ]
        return tx.count_unrouted() + sum(waiting)


def test_four_processes_lose_nothing_and_double_nothing_p1_p2(store: SqlStore, store_url: str) -> None:
    furnish(store, now=now())
    answers, deliveries = zip(*at_once(worker, store_url, now(), seconds=PATIENCE + 30), strict=True)
    said = Counter(status for process in answers for status, _ in process)
    everything = 2 * OBJECTS + 2 * OWN * FOUR
    assert said == {AnswerStatus.ACCEPTED: everything, AnswerStatus.DUPLICATE: 2 * OBJECTS * (FOUR - 1)}
    assert len({event_id for process in answers for _, event_id in process}) == everything

    with store.read() as tx:
        events, total = tx.list_rows("events", ACME, start=0, limit=1000, filters={})
        notifications, _ = tx.list_rows("notifications", ACME, start=0, limit=1000, filters={})
        attempts, _ = tx.list_rows("attempts", ACME, start=0, limit=1000, filters={})
        foreign = [tx.list_rows(table, BOREALIS, start=0, limit=1, filters={})[1] for table in ("events", "attempts")]
        orders = tx.orders_by_number(ACME, [f"{number}" for number in range(OBJECTS)])
    assert (total, foreign) == (everything, [0, 0])
    assert not [row for row in events if row["routing_problem"] or not row["routed_at"]]
    sequences = Counter((row["subject"], row["sequence"]) for row in events)
    assert set(sequences.values()) == {1}
    assert sorted(Counter(row["subject"] for row in events).values()) == [1] * 2 * OBJECTS + [2] * OWN * FOUR
    assert (len(orders), {found.version for found in orders.values()}) == (OBJECTS, {1})

    # Per alert its owner and the ERP, per order three more; of a closing the owner hears when told of the opening.
    purposes = Counter((row["event_id"], row["channel"], row["role"], row["purpose"]) for row in notifications)
    assert set(purposes.values()) == {1}
    assert len(notifications) == 2 * OBJECTS + 4 * OBJECTS + 4 * OWN * FOUR
    sent = {row["id"] for row in notifications if row["status"] == "delivered"}
    assert {row["status"] for row in notifications} <= {"delivered", "cancelled", "suppressed"}
    delivered = [found for process in deliveries for found in process]
    assert (len(delivered), set(delivered)) == (len(sent), sent)
    assert (len(attempts), {row["outcome"] for row in attempts}) == (len(sent), {"sent"})
    told = {(row["subject"], row["kind"]): row["status"] for row in notifications if row["role"] == "owner"}
    for subject in {row["subject"] for row in events if row["type"] == "coolr.alert.closed"}:
        both = told[subject, "alert_opened"], told[subject, "alert_closed"]
        assert both in {("delivered", "delivered"), ("cancelled", "suppressed")}
