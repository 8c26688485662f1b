"""The reckoning of `make chaos` finds what it is there to find: each test breaks one thing in a story that was well."""

from __future__ import annotations

import ast
import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from chaos.reconcile import TABLES, Evidence, read, reconcile

SECOND = 1_000_000  #: the database counts microseconds
HEAR = [["email", "owner@acme.example"], ["callback", "erp"]]


def event(number: int, type_: str, at: float) -> dict[str, Any]:
    """The row of an event of order O1; `number` is its place in the story."""
    return {
        "id": f"e{number}",
        "tenant": "acme",
        "source_id": f"o1-{number}",
        "type": type_,
        "subject": "order/O1",
        "received_at": int(at * SECOND),
        "sequence": number,
        "outlet": "ES-1",
        "routed_at": int(at * SECOND),
        "routing_problem": None,
    }


def notification(id_: str, of: dict[str, Any], channel: str, address: str) -> dict[str, Any]:
    """A delivered one."""
    return {
        "id": id_,
        "tenant": "acme",
        "event_id": of["id"],
        "subject": of["subject"],
        "kind": of["type"].removeprefix("coolr.").replace(".", "_"),
        "channel": channel,
        "address": address,
        "status": "delivered",
        "reason": None,
    }


def attempt(id_: str, of: str, at: float, outcome: str = "sent", number: int = 1) -> dict[str, Any]:
    """A try that took a second."""
    return {
        "id": id_,
        "notification_id": of,
        "session": "s1",
        "number": number,
        "started_at": int(at * SECOND),
        "finished_at": int((at + 1) * SECOND),
        "outcome": outcome,
        "reason": "worker_lost" if outcome == "unknown" else None,
    }


def callback(id_: str, of: dict[str, Any], at: float, decision: str | None = None) -> dict[str, Any]:
    """A line of the callback receiver's ledger."""
    return {
        "t": at,
        "id": id_,
        "tenant": "acme",
        "address": "erp",
        "type": of["type"],
        "subject": of["subject"],
        "event": of["id"],
        "sequence": of["sequence"],
        "decision": decision,
        "hash": f"h-{id_}",
        "mode": "ok",
        "has": True,
    }


def mail(id_: str, at: float) -> dict[str, Any]:
    """A line of the mail receiver's ledger."""
    return {"t": at, "id": id_, "address": "owner@acme.example", "hash": f"h-{id_}", "mode": "ok", "has": True}


@pytest.fixture
def well() -> Evidence:
    """An order recommended twice and decided once; one worker killed in between, one callback received twice for it."""
    first, second = event(1, "coolr.order.recommended", 100), event(2, "coolr.order.recommended", 109)
    decision = event(3, "coolr.decision.recorded", 130)
    events = [first, second, decision]
    notifications = [
        notification(f"{channel[0]}{number}", row, channel, address)
        for number, row in enumerate(events, 1)
        for channel, address in HEAR
    ]
    attempts = [attempt(f"a-{row['id']}", row["id"], 101) for row in notifications]
    lost = next(row for row in attempts if row["notification_id"] == "c2")
    lost |= {"outcome": "unknown", "reason": "worker_lost", "started_at": 109 * SECOND, "finished_at": 122 * SECOND}
    attempts.append(attempt("a-again", "c2", 123, number=2))
    attempts[2] |= {"started_at": 123 * SECOND, "finished_at": 125 * SECOND}  # the mail of the second event waited
    sent = [
        {"what": what, "tenant": "acme", "id": row["source_id"], "rev": row["sequence"], "status": "accepted"}
        | {"event": row["id"]}
        for row in (first, second)
        for what in ("made", "accepted")
    ]
    told = {"address": "owner@acme.example", "subject": "order/O1", "nonce": "n1", "shown": None}
    return Evidence(
        expected={"acme/ES-1": {row["type"]: HEAR for row in events}},
        slots=2,
        sent=sent,
        receipts={
            "callback": [
                callback("c1", first, 101),
                callback("c2", second, 110),
                callback("c2", second, 123),
                callback("c3", decision, 131, "d1"),
            ],
            "email": [mail("e1", 101), mail("e2", 124), mail("e3", 131)],
            "sms": [],
        },
        people=[
            {**told, "told": "mine", "action": "accept", "shown": {"word": "accepted", "by": "Ana"}},
            {**told, "told": "other", "action": "cancel", "nonce": "n2", "address": "rep@acme.example"},
        ],
        faults=[{"what": "kill deliver1", "part": True, "at": 110.0, "up": 111.0, "hold": 0}],
        claims=[{"at": 112.0, "dead": {"s1": 1}}, {"at": 122.5, "dead": {}}],
        rows={
            "events": events,
            "notifications": notifications,
            "attempts": attempts,
            "orders": [
                {"id": "r1", "tenant": "acme", "number": "O1", "status": "accepted", "decided_elsewhere": False}
                | {"decision_id": "d1"}
            ],
            "decisions": [decided("d1", "n1")],
        },
    )


def decided(id_: str, nonce: str) -> dict[str, Any]:
    """The row of a decision in force on the order."""
    return {
        "id": id_,
        "tenant": "acme",
        "order_id": "r1",
        "action": "accept",
        "nonce": nonce,
        "decided_by": "Ana",
        "undone_at": None,
    }


def row(evidence: Evidence, table: str, id_: str) -> dict[str, Any]:
    """One row, to be changed."""
    return next(row for row in evidence.rows[table] if row["id"] == id_)


def without(lines: list[dict[str, Any]], id_: str) -> None:
    """Take a line out of a ledger, or a row out of a table."""
    lines[:] = [line for line in lines if line["id"] != id_]


def test_a_story_that_went_well_has_no_violation(well: Evidence) -> None:
    report = reconcile(well)
    assert report.violations == []
    fault, out, recovery, dead, unknown, doubled = report.table[0]
    assert (fault, out, unknown, doubled) == ("kill deliver1", "1.0", "1", "1")
    assert (recovery, dead) == ("13.0", "1.0"), "the mail of the second event, due before the kill, came at 124"


def lose_an_event(evidence: Evidence) -> None:
    without(evidence.rows["events"], "e2")
    for table in ("notifications", "attempts"):
        for gone in ("e2", "c2", "a-e2", "a-c2", "a-again"):
            without(evidence.rows[table], gone)
    for receipts in evidence.receipts.values():
        without(receipts, "c2")
        without(receipts, "e2")


def lose_a_notification(evidence: Evidence) -> None:
    without(evidence.rows["notifications"], "e1")
    without(evidence.rows["attempts"], "a-e1")
    without(evidence.receipts["email"], "e1")


def lose_a_delivery(evidence: Evidence) -> None:
    without(evidence.receipts["email"], "e1")


def let_one_wait_for_ever(evidence: Evidence) -> None:
    without(evidence.receipts["email"], "e1")
    row(evidence, "notifications", "e1")["status"] = "due"


def cancel_without_cause(evidence: Evidence) -> None:
    without(evidence.receipts["email"], "e1")
    row(evidence, "notifications", "e1").update(status="cancelled", reason="overtaken by coolr.order.withdrawn")


def never_route(evidence: Evidence) -> None:
    row(evidence, "events", "e1")["routed_at"] = None


def never_answer(evidence: Evidence) -> None:
    evidence.sent[:] = [line for line in evidence.sent if (line["what"], line["id"]) != ("accepted", "o1-2")]


def double_a_delivery(evidence: Evidence) -> None:
    evidence.receipts["email"].append(mail("e1", 105))


def double_once_more_than_unknown(evidence: Evidence) -> None:
    second = row(evidence, "events", "e2")
    evidence.receipts["callback"].append(callback("c2", second, 125))


def double_under_another_id(evidence: Evidence) -> None:
    first = row(evidence, "events", "e1")
    evidence.rows["notifications"].append(notification("c9", first, "callback", "erp"))
    evidence.receipts["callback"].append(callback("c9", first, 105))


def change_between_tries(evidence: Evidence) -> None:
    evidence.receipts["callback"][2]["hash"] = "other bytes"


def deliver_what_no_row_knows(evidence: Evidence) -> None:
    evidence.receipts["email"].append(mail("nobody's", 105))


def deliver_to_somebody_else(evidence: Evidence) -> None:
    evidence.receipts["email"][0]["address"] = "rep@acme.example"


def leave_more_unknown_than_slots(evidence: Evidence) -> None:
    evidence.rows["attempts"] += [attempt(f"x{n}", "c2", 109, "unknown", n) for n in (3, 4)]


def leave_an_attempt_open(evidence: Evidence) -> None:
    row(evidence, "attempts", "a-e1")["outcome"] = "open"


def number_against_the_sender(evidence: Evidence) -> None:
    for line in evidence.sent:
        line["rev"] = {1: 2, 2: 1}[line["rev"]]


def end_with_an_old_state(evidence: Evidence) -> None:
    third, last = row(evidence, "events", "e3"), evidence.receipts["callback"][-1]
    last["sequence"] = third["sequence"] = 2
    row(evidence, "events", "e2")["sequence"] = 3
    for line in evidence.receipts["callback"][1:3]:
        line["sequence"] = 1


def decide_twice(evidence: Evidence) -> None:
    evidence.rows["decisions"].append(decided("d2", "n2"))
    evidence.people[1]["told"] = "mine"


def tell_receivers_of_two_decisions(evidence: Evidence) -> None:
    evidence.rows["decisions"].append(decided("d2", "n3"))
    evidence.receipts["callback"].append(callback("c3", row(evidence, "events", "e3"), 132, "d2"))


def decide_what_was_withdrawn(evidence: Evidence) -> None:
    row(evidence, "orders", "r1")["status"] = "withdrawn"


def tell_two_people_that_it_was_theirs(evidence: Evidence) -> None:
    evidence.people.append(deepcopy(evidence.people[0]))


def tell_somebody_of_a_decision_that_is_not_there(evidence: Evidence) -> None:
    evidence.people[1] |= {"told": "mine"}


def show_the_wrong_decider(evidence: Evidence) -> None:
    evidence.people[1]["shown"] = {"word": "declined", "by": "Rui"}


def tell_nobody_else_who_decided(evidence: Evidence) -> None:
    evidence.people[1]["told"] = "unclear"


def recover_late(evidence: Evidence) -> None:
    evidence.receipts["email"][1]["t"] = 145
    row(evidence, "attempts", "a-e2")["finished_at"] = 146 * SECOND


def hold_claims_of_the_dead(evidence: Evidence) -> None:
    evidence.claims.append({"at": 142.0, "dead": {"s1": 1}})


BROKEN: list[tuple[Callable[[Evidence], None], str]] = [
    (lose_an_event, "P1 lost: event acme/o1-2 was accepted as e2"),
    (lose_a_notification, "P1 lost: no notification: coolr.order.recommended o1-1"),
    (lose_a_delivery, "P4 said to be delivered: coolr.order.recommended o1-1"),
    (let_one_wait_for_ever, "P1 lost: coolr.order.recommended o1-1"),
    (cancel_without_cause, "notification e1 is cancelled"),
    (never_route, "event e1 was not routed"),
    (never_answer, "never answered: event acme/o1-2"),
    (double_a_delivery, "P4 doubled: notification e1 was received 2 times with 0 attempts unknown"),
    (double_once_more_than_unknown, "P4 doubled: notification c2 was received 3 times with 1 attempts unknown"),
    (double_under_another_id, "P2 doubled: 2 ids for the callback of event acme/erp/e1"),
    (change_between_tries, "P4 changed between tries: notification c2"),
    (deliver_what_no_row_knows, "no row knows it: nobody's"),
    (deliver_to_somebody_else, "received by somebody else: notification e1"),
    (leave_more_unknown_than_slots, "P4 session s1 left 3 unknown with 2 slots"),
    (leave_an_attempt_open, "P4 attempt a-e1 ended as open"),
    (number_against_the_sender, "numbered against the sender's order: [2, 1]"),
    (end_with_an_old_state, "order: erp of acme ends order/O1 with e3, not with e2"),
    (decide_twice, "P6 decided more than once: order O1 (r1): d1, d2"),
    (tell_receivers_of_two_decisions, "P6 receivers heard of several decisions on order r1"),
    (decide_what_was_withdrawn, "P6 order O1 has a decision and is withdrawn"),
    (tell_two_people_that_it_was_theirs, "P6 decision d1 was told to 2 people as theirs"),
    (tell_somebody_of_a_decision_that_is_not_there, "P6 rep@acme.example was told 'mine' of order/O1"),
    (show_the_wrong_decider, "the page shows declined by Rui, which nobody decided"),
    (tell_nobody_else_who_decided, "P6 rep@acme.example was told 'unclear'"),
    (recover_late, "P3 slow recovery from kill deliver1: first delivery after 34.0 s"),
    (hold_claims_of_the_dead, "claims of dead sessions for 31.0 s"),
]


@pytest.mark.parametrize(("breaking", "found"), BROKEN, ids=[case[0].__name__ for case in BROKEN])
def test_what_is_broken_is_found_and_named(well: Evidence, breaking: Callable[[Evidence], None], found: str) -> None:
    breaking(well)
    violations = reconcile(well).violations
    assert any(found in violation for violation in violations), violations


def test_reasons_that_hold_are_no_loss(well: Evidence) -> None:
    withdrawn = event(4, "coolr.order.withdrawn", 140)
    well.rows["events"].append(withdrawn)
    well.expected["acme/ES-1"][withdrawn["type"]] = [HEAR[0]]
    row(well, "notifications", "e2").update(status="cancelled", reason="overtaken by coolr.order.withdrawn")
    row(well, "notifications", "e1").update(status="cancelled", reason="overtaken by coolr.order.withdrawn")
    late = notification("e4", withdrawn, "email", "owner@acme.example")
    well.rows["notifications"].append(late | {"status": "suppressed", "reason": "not_told_of_opening"})
    well.receipts["email"][:] = [mail("e3", 131)]
    assert reconcile(well).violations == []


def test_a_late_answer_of_a_worker_taken_for_dead_is_no_silent_duplicate(well: Evidence) -> None:
    """Its attempt counted as unknown when the next began, and told its good end afterwards."""
    row(well, "attempts", "a-c2").update(outcome="sent", reason=None, finished_at=124 * SECOND)
    assert reconcile(well).violations == []


def test_it_imports_nothing_of_ours() -> None:
    source = Path(sys.modules["chaos.reconcile"].__file__ or "").read_text()
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported <= sys.stdlib_module_names | {"psycopg"}


def test_evidence_is_read_from_files_and_plain_sql(well: Evidence, tmp_path: Path) -> None:
    ledgers = {"sent": well.sent, "people": well.people, "faults": well.faults, "claims": well.claims}
    ledgers |= {"callback": well.receipts["callback"], "smtp": well.receipts["email"]}
    for name, lines in ledgers.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "expected.json").write_text(json.dumps(well.expected))
    (tmp_path / "scene.json").write_text(json.dumps({"slots": 2}))
    with closing(sqlite3.connect(tmp_path / "n.db")) as connection:
        for table, columns in TABLES.items():
            connection.execute(f"CREATE TABLE {table} ({columns})")
            marks = ", ".join(f":{name.strip()}" for name in columns.split(","))
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", well.rows[table])  # noqa: S608
        connection.commit()
    assert reconcile(read(tmp_path, "sqlite", str(tmp_path / "n.db"))).violations == []
