"""The reckoning: what was sent in, what the receivers wrote down, what the rows say. Uses none of the product's code.

`read` gathers the evidence from files and by plain SQL; `reconcile` compares and is pure. Promises are named P1 to P6
as in the documentation. A violation names the ids to look at.

    python -m chaos.reconcile FOLDER sqlite|postgresql DATABASE
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Key = tuple[str, ...]

LONGEST_PAUSE = 65.0  #: seconds for which the answers of a receiver may hold a lane up: two rests of a breaker
MOST_RECOVERY = 30.0  #: seconds, each of the two
HANDED_OVER = ("sent", "delivered")
NOT_TOLD = ("suppressed", "cancelled", "expired")
WAITING = ("due", "claimed", "unknown")
OPENINGS = {
    "coolr.alert.closed": "alert_opened",
    "coolr.order.withdrawn": "order_recommended",
    "coolr.order.decided": "order_recommended",
    "coolr.decision.recorded": "order_recommended",
}
#: A person's word for what a page showed → the action of a decision.
WORDS = {"accepted": "accept", "changed": "modify", "declined": "cancel"}
LOST_WORKER = "worker_lost"
TABLES = {
    "events": "id, tenant, source_id, type, subject, received_at, sequence, outlet, routed_at, routing_problem",
    "notifications": "id, tenant, event_id, subject, kind, channel, address, status, reason",
    "attempts": "id, notification_id, session, number, started_at, finished_at, outcome, reason",
    "orders": "id, tenant, number, status, decided_elsewhere, decision_id",
    "decisions": "id, tenant, order_id, action, nonce, decided_by, undone_at",
}


@dataclass
class Evidence:
    """Three ledgers: sent in, receivers and people, rows. And when which fault was."""

    expected: dict[str, dict[str, list[list[str]]]]
    slots: int
    sent: list[Row]
    receipts: dict[str, list[Row]]  #: by channel
    people: list[Row]
    faults: list[Row]
    claims: list[Row]
    rows: dict[str, list[Row]]

    @cached_property
    def events(self) -> dict[str, Row]:
        """By id."""
        return {row["id"]: row for row in self.rows["events"]}

    @cached_property
    def notifications(self) -> dict[str, Row]:
        """By id."""
        return {row["id"]: row for row in self.rows["notifications"]}

    @cached_property
    def attempts(self) -> dict[str, list[Row]]:
        """By notification, in their order."""
        found: dict[str, list[Row]] = defaultdict(list)
        for row in sorted(self.rows["attempts"], key=lambda row: row["number"]):
            found[row["notification_id"]].append(row)
        return found

    @cached_property
    def had(self) -> dict[str, list[Row]]:
        """Receipts after which the receiver has the message, by notification. An SMS names its attempt."""
        of_attempt = {row["id"]: row["notification_id"] for row in self.rows["attempts"]}
        found: dict[str, list[Row]] = defaultdict(list)
        for channel, receipts in self.receipts.items():
            for receipt in receipts:
                id_ = of_attempt.get(receipt["id"], "?" + receipt["id"]) if channel == "sms" else receipt["id"]
                if receipt["has"]:
                    found[id_].append(receipt)
        return found

    def told(self, event: Row, channel: str, address: str) -> bool:
        """Whether that person was to be told of the opening of the event's object."""
        return any(
            (row["tenant"], row["subject"], row["channel"], row["address"])
            == (event["tenant"], event["subject"], channel, address)
            and row["kind"] == OPENINGS[event["type"]]
            and row["status"] not in NOT_TOLD
            for row in self.of_subject[event["tenant"], event["subject"]]
        )

    @cached_property
    def of_subject(self) -> dict[Key, list[Row]]:
        """Notifications by tenant and object."""
        found: dict[Key, list[Row]] = defaultdict(list)
        for row in self.rows["notifications"]:
            found[row["tenant"], row["subject"]].append(row)
        return found


@dataclass
class Report:
    """The verdict."""

    violations: list[str] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    table: list[tuple[str, ...]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """For people."""
        head = ("fault", "out s", "recovery s", "dead claims s", "unknown", "doubled")
        rows = [head, *self.table]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        for row in rows:
            first, *rest = (text.ljust(width) for text, width in zip(row, widths, strict=True))
            yield "  " + "  ".join([first, *(text.strip().rjust(len(text)) for text in rest)])
        yield from (f"  {fact}" for fact in self.facts)
        yield from (f"  {text}" for text in self.skipped)
        yield from (f"  VIOLATION {text}" for text in self.violations)


def reconcile(evidence: Evidence) -> Report:
    """Compare everything."""
    report = Report()
    for check in (accepted, delivered, stray, doubled, unknown, in_order, decided_once, told_truly, recovered):
        check(evidence, report)
    return report


# -- lost --------------------------------------------------------------------------------------------------------------


def accepted(evidence: Evidence, report: Report) -> None:
    """P1: what was called accepted is there, and every event was answered in the end."""
    rows = {(row["tenant"], row["source_id"]): row for row in evidence.rows["events"]}
    answers = {(line["tenant"], line["id"]): line for line in evidence.sent if line["what"] == "accepted"}
    made = [line for line in evidence.sent if line["what"] == "made"]
    again = sum(line["status"] == "duplicate" for line in answers.values())
    report.facts.append(f"{len(made)} events sent in, {len(answers)} answered, {again} of these as repeated")
    for line in made:
        key = (line["tenant"], line["id"])
        answer, row = answers.get(key), rows.get(key)
        if answer is None:
            report.violations.append(f"never answered: event {'/'.join(key)}")
        elif answer["status"] not in ("accepted", "duplicate"):
            report.violations.append(f"refused although valid ({answer['status']}): event {'/'.join(key)}")
        elif row is None or (answer["event"] or row["id"]) != row["id"]:
            report.violations.append(
                f"P1 lost: event {'/'.join(key)} was accepted as {answer['event']} and is not there"
            )


def delivered(evidence: Evidence, report: Report) -> None:
    """P1, P3, P12: every event reached everybody whom the table names, or says why not."""
    found: dict[Key, list[Row]] = defaultdict(list)
    for row in evidence.rows["notifications"]:
        found[row["event_id"], row["channel"], row["address"]].append(row)
    count: Counter[str] = Counter()
    for event in evidence.rows["events"]:
        if event["routed_at"] is None or event["routing_problem"]:
            report.violations.append(f"P1 lost: event {event['id']} was not routed ({event['routing_problem']})")
            continue
        for channel, address in evidence.expected[f"{event['tenant']}/{event['outlet']}"].get(event["type"], []):
            rows = found.get((event["id"], channel, address), [])
            count[_fate(evidence, report, event, channel, address, rows)] += 1
    _unexpected(evidence, report)
    report.facts.append("expected messages: " + ", ".join(f"{number} {word}" for word, number in count.most_common()))


def _fate(evidence: Evidence, report: Report, event: Row, channel: str, address: str, rows: list[Row]) -> str:
    what = f"{event['type']} {event['source_id']} ({event['id']}) for {channel} {address}"
    if len(rows) > 1:
        report.violations.append(f"P2 two notifications: {what}: {', '.join(row['id'] for row in rows)}")
    if not rows:
        if event["type"] == "coolr.decision.recorded" and not evidence.told(event, channel, address):
            return "not due (not told of the order)"
        report.violations.append(f"P1 lost: no notification: {what}")
        return "LOST"
    row = rows[0]
    if evidence.had.get(row["id"]):
        return "delivered"
    if explained(evidence, event, row):
        return f"{row['status']} with a reason that holds"
    promise = "P4 said to be delivered" if row["status"] in HANDED_OVER else "P1 lost"
    report.violations.append(f"{promise}: {what}: notification {row['id']} is {row['status']} ({row['reason']})")
    return "LOST"


def explained(evidence: Evidence, event: Row, row: Row) -> bool:
    """Whether the reason why it was not sent is true."""
    if row["channel"] == "callback":
        return False
    if row["status"] == "cancelled" and (row["reason"] or "").startswith("overtaken by "):
        by, it = row["reason"].removeprefix("overtaken by "), (event["tenant"], event["subject"])
        return any(
            (other["tenant"], other["subject"], other["type"]) == (*it, by) for other in evidence.events.values()
        )
    if row["status"] == "suppressed" and row["reason"] == "not_told_of_opening":
        return event["type"] in OPENINGS and not evidence.told(event, row["channel"], row["address"])
    return False


def _unexpected(evidence: Evidence, report: Report) -> None:
    for row in evidence.rows["notifications"]:
        event = evidence.events[row["event_id"]]
        wanted = evidence.expected[f"{event['tenant']}/{event['outlet']}"].get(event["type"], [])
        if row["status"] not in NOT_TOLD and [row["channel"], row["address"]] not in wanted:
            what = f"{event['type']} for {row['channel']} {row['address']}"
            report.violations.append(f"nobody asked for it: notification {row['id']}, {what}")


def stray(evidence: Evidence, report: Report) -> None:
    """No receiver has what no row knows; a callback is about the event that its notification is about."""
    for id_, receipts in evidence.had.items():
        row = evidence.notifications.get(id_)
        if row is None:
            report.violations.append(f"P4 received, and no row knows it: {id_}")
        elif any(receipt.get("event", row["event_id"]) != row["event_id"] for receipt in receipts):
            report.violations.append(f"received under the id of another event: notification {id_}")
        elif any(receipt["address"] != row["address"] for receipt in receipts):
            report.violations.append(f"received by somebody else: notification {id_}")


# -- doubled -----------------------------------------------------------------------------------------------------------


def doubled(evidence: Evidence, report: Report) -> None:
    """P4: no silent duplicate. Each receipt too many has an attempt that was marked unknown, or told its end late."""
    twice = 0
    for id_, receipts in evidence.had.items():
        row, attempts = evidence.notifications.get(id_), evidence.attempts.get(id_, [])
        if row is None or len(receipts) < 2:
            continue
        twice += len(receipts) - 1
        marked = sum(attempt["outcome"] == "unknown" for attempt in attempts) + late(attempts)
        if row["channel"] == "sms":
            report.violations.append(f"P4 SMS doubled, which is looked up before: notification {id_}")
        elif len(receipts) - 1 > marked:
            text = f"P4 doubled: notification {id_} was received {len(receipts)} times with {marked} attempts unknown"
            report.violations.append(text)
        if len({receipt["hash"] for receipt in receipts}) > 1:
            report.violations.append(f"P4 changed between tries: notification {id_}")
    report.facts.append(f"received more than once under the same id: {twice}")
    callbacks = Counter((line["tenant"], line["address"], line["event"]) for line in _first_of_each(evidence))
    for key, number in callbacks.items():
        if number > 1:
            report.violations.append(f"P2 doubled: {number} ids for the callback of event {'/'.join(key)}")


def _first_of_each(evidence: Evidence) -> Iterable[Row]:
    return {line["id"]: line for line in evidence.receipts["callback"] if line["has"]}.values()


def late(attempts: list[Row]) -> int:
    """Attempts whose good end came when the next had begun: they counted as unknown until then."""
    good = [attempt for attempt in attempts if attempt["outcome"] == "sent"]
    return sum(
        before["reason"] == LOST_WORKER or before["finished_at"] > after["started_at"]
        for before in good
        for after in attempts
        if after["number"] == before["number"] + 1
    )


def unknown(evidence: Evidence, report: Report) -> None:
    """P4: at most one unknown per busy slot per kill; every unknown has a reason; nothing is left open."""
    reasons: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    for attempt in evidence.rows["attempts"]:
        if attempt["outcome"] == "unknown":
            reasons[attempt["reason"] or "no reason"] += 1
            lost[attempt["session"]] += attempt["reason"] == LOST_WORKER
        if attempt["outcome"] == "open" or (
            attempt["outcome"] == "unknown" and attempt["reason"] in (None, "internal")
        ):
            report.violations.append(f"P4 attempt {attempt['id']} ended as {attempt['outcome']} ({attempt['reason']})")
    for session, number in lost.items():
        if number > evidence.slots:
            report.violations.append(f"P4 session {session} left {number} unknown with {evidence.slots} slots")
    words = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common()) or "none"
    worst = max(lost.values(), default=0)
    report.facts.append(f"unknown attempts: {words}; most of one dead session: {worst} of {evidence.slots} slots")


# -- order -------------------------------------------------------------------------------------------------------------


def in_order(evidence: Evidence, report: Report) -> None:
    """Sequences follow what the sender said of an object; a receiver that drops lower ones ends with the newest."""
    said = {(line["tenant"], line["id"]): line["rev"] for line in evidence.sent if line["what"] == "made"}
    by_subject: dict[Key, list[Row]] = defaultdict(list)
    for event in evidence.rows["events"]:
        by_subject[event["tenant"], event["subject"]].append(event)
    for (tenant, subject), events in by_subject.items():
        events.sort(key=lambda event: event["sequence"])
        revisions = [said[tenant, e["source_id"]] for e in events if (tenant, e["source_id"]) in said]
        if revisions != sorted(revisions):
            report.violations.append(f"order: {tenant} {subject} was numbered against the sender's order: {revisions}")
    applied = _applied(evidence, report)
    for (tenant, endpoint, subject), event_id in applied.items():
        wanted = [
            event["id"]
            for event in by_subject[tenant, subject]
            if ["callback", endpoint] in evidence.expected[f"{tenant}/{event['outlet']}"].get(event["type"], [])
        ]
        if not wanted or wanted[-1] != event_id:
            newest = wanted[-1] if wanted else "nothing"
            report.violations.append(f"order: {endpoint} of {tenant} ends {subject} with {event_id}, not with {newest}")


def _applied(evidence: Evidence, report: Report) -> dict[Key, str]:
    """What a receiver holds of each object that keeps to the documentation: lower numbers dropped as they come."""
    highest: dict[Key, int] = {}
    applied: dict[Key, str] = {}
    for line in sorted(evidence.receipts["callback"], key=lambda line: line["t"]):
        key, row = (line["tenant"], line["address"], line["subject"]), evidence.events.get(line["event"])
        if row is not None and row["sequence"] != line["sequence"]:
            report.violations.append(f"order: callback {line['id']} carries {line['sequence']}, not {row['sequence']}")
        if line["has"] and line["sequence"] >= highest.get(key, 0):
            highest[key], applied[key] = line["sequence"], line["event"]
    return applied


# -- decisions ---------------------------------------------------------------------------------------------------------


def decided_once(evidence: Evidence, report: Report) -> None:
    """P6: one decision in force for an order, in the rows and as receivers were told."""
    orders = {row["id"]: row for row in evidence.rows["orders"]}
    in_force: dict[str, list[Row]] = defaultdict(list)
    for row in evidence.rows["decisions"]:
        if row["undone_at"] is None:
            in_force[row["order_id"]].append(row)
    for order_id, decisions in in_force.items():
        order = orders[order_id]
        if len(decisions) > 1:
            ids = ", ".join(row["id"] for row in decisions)
            report.violations.append(f"P6 decided more than once: order {order['number']} ({order_id}): {ids}")
        if order["decided_elsewhere"] or order["status"] not in ("accepted", "modified", "cancelled"):
            report.violations.append(f"P6 order {order['number']} has a decision and is {order['status']}")
    known = {row["id"]: row["order_id"] for row in evidence.rows["decisions"]}
    heard: dict[str, set[str]] = defaultdict(set)
    undone = {row["id"] for row in evidence.rows["decisions"] if row["undone_at"] is not None}
    for line in evidence.receipts["callback"]:
        if line.get("decision") and line["has"]:
            if line["decision"] not in known:
                report.violations.append(f"P6 receivers heard of decision {line['decision']}, which is not there")
            heard[known.get(line["decision"], "?")].add(line["decision"])
    for order_id, decision_ids in heard.items():
        if len(decision_ids - undone) > 1:
            several = ", ".join(sorted(decision_ids))
            report.violations.append(f"P6 receivers heard of several decisions on order {order_id}: {several}")
    report.facts.append(f"{len(orders)} orders, {sum(map(len, in_force.values()))} decided by people")


def told_truly(evidence: Evidence, report: Report) -> None:
    """P6: who was told "yours" took it, everybody else was told who did."""
    numbers = {row["id"]: (row["tenant"], f"order/{row['number']}") for row in evidence.rows["orders"]}
    decisions: dict[Key, list[Row]] = defaultdict(list)
    for row in evidence.rows["decisions"]:
        decisions[numbers[row["order_id"]]].append(row)
    states: dict[Key, list[Row]] = defaultdict(list)
    for row in evidence.rows["orders"]:
        states[row["tenant"], f"order/{row['number']}"].append(row)
    mine: Counter[str] = Counter()
    for line in evidence.people:
        key = (line["address"].partition("@")[2].removesuffix(".example"), line["subject"])
        wrong = _untrue(line, decisions.get(key, []), states.get(key, []))
        if wrong:
            report.violations.append(f"P6 {line['address']} was told {line['told']!r} of {line['subject']}: {wrong}")
        if line["told"] in ("mine", "lost") and line["nonce"]:
            mine[line["nonce"]] += 1
    for row in evidence.rows["decisions"]:
        if mine[row["nonce"]] != 1:
            report.violations.append(f"P6 decision {row['id']} was told to {mine[row['nonce']]} people as theirs")
    told = Counter(line["told"] for line in evidence.people)
    report.facts.append("people were told: " + (", ".join(f"{word} {number}" for word, number in told.items()) or "-"))


def _untrue(line: Row, decisions: list[Row], orders: list[Row]) -> str:
    """What is wrong with what a person was told; "" when it is true."""
    shown = line["shown"]
    ours = [row for row in decisions if row["nonce"] == line["nonce"]]
    if shown and not any(
        (row["decided_by"], row["action"]) == (shown["by"], WORDS[shown["word"]]) for row in decisions
    ):
        return f"the page shows {shown['word']} by {shown['by']}, which nobody decided"
    match line["told"]:
        case "mine":
            return "" if ours else "no such decision"
        case "other":
            return "" if decisions and not ours else "nobody else decided"
        case "withdrawn":
            return "" if any(row["status"] == "withdrawn" for row in orders) else "it was not withdrawn"
        case "elsewhere":
            return "" if any(row["decided_elsewhere"] for row in orders) else "it was not decided elsewhere"
        case "changed":
            return "" if not ours else "the answer was taken all the same"
        case "lost":
            return "the page never came"
    return "the page said nothing that can be understood"


# -- recovery ----------------------------------------------------------------------------------------------------------


def recovered(evidence: Evidence, report: Report) -> None:
    """P3: after each fault of a part work that was due before goes out, and no dead session holds any, in 30 s each."""
    faults = sorted(evidence.faults, key=lambda fault: fault["at"])
    parts = [fault for fault in faults if "part" in fault]
    for fault in faults:
        end = next((other["at"] for other in parts if other["at"] > fault["at"]), float("inf"))
        up = fault["up"]
        first, dead = first_delivery(evidence, fault["at"], up), dead_claims(evidence, up, end)
        is_part = "part" in fault
        begin = max((other["at"] for other in parts if other["at"] < fault["at"]), default=0.0)
        unknowns = sum(
            begin < attempt["started_at"] / 1e6 <= fault["at"]  # on its way when its worker was broken
            for attempt in evidence.rows["attempts"]
            if attempt["outcome"] == "unknown" and attempt["reason"] == LOST_WORKER
        )
        again = sum(
            fault["at"] <= receipt["t"] < end
            for receipts in evidence.had.values()
            for receipt in sorted(receipts, key=lambda receipt: receipt["t"])[1:]
        )
        seconds = (f"{up - fault['at']:.1f}", "-" if first is None else f"{first:.1f}", f"{dead:.1f}")
        counts = (str(unknowns), str(again)) if is_part else ("", "")
        report.table.append((fault["what"], *(seconds if is_part else (seconds[0], "", "")), *counts))
        if is_part and max(first or 0, dead) > MOST_RECOVERY:
            text = f"first delivery after {seconds[1]} s, claims of dead sessions for {seconds[2]} s"
            report.violations.append(f"P3 slow recovery from {fault['what']}: {text}")


def first_delivery(evidence: Evidence, at: float, up: float) -> float | None:
    """Seconds from up to the first delivery of work that was due before the fault; None when none was left over.

    Work that a receiver had put off by its answer waits for its next try, in its lane or alone, and does not count.
    """
    found = []
    put_off = _put_off(evidence, at - LONGEST_PAUSE)
    for id_, row in evidence.notifications.items():
        event, receipts = evidence.events[row["event_id"]], evidence.had.get(id_)
        if not receipts or event["received_at"] / 1e6 >= at:
            continue
        moment = min(receipt["t"] for receipt in receipts)
        before = [a for a in evidence.attempts.get(id_, []) if (a["finished_at"] or 0) / 1e6 < moment]
        # What became of an SMS is looked up two minutes later.
        waited = any(put < moment for put in put_off[_lane(row)]) or (row["channel"] == "sms" and before)
        if moment > up and not waited and all(attempt["reason"] == LOST_WORKER for attempt in before):
            found.append(moment - up)
    return min(found, default=None)


def _put_off(evidence: Evidence, since: float) -> dict[Key, list[float]]:
    """When receivers gave a lane cause to wait or rest."""
    found: dict[Key, list[float]] = defaultdict(list)
    for attempt in evidence.rows["attempts"]:
        ended = (attempt["finished_at"] or 0) / 1e6
        if attempt["outcome"] not in ("sent", "open") and attempt["reason"] != LOST_WORKER and ended > since:
            found[_lane(evidence.notifications[attempt["notification_id"]])].append(ended)
    return found


def _lane(row: Row) -> Key:
    """What waits together: an endpoint, or a tenant's mail or SMS."""
    return (row["tenant"], row["channel"], row["address"] if row["channel"] == "callback" else "")


def dead_claims(evidence: Evidence, up: float, end: float) -> float:
    """Seconds from up until the last look that found claims of dead sessions, before the next fault."""
    return max((line["at"] - up for line in evidence.claims if line["dead"] and up < line["at"] < end), default=0.0)


# -- evidence ----------------------------------------------------------------------------------------------------------


def read(folder: Path, kind: str, database: str) -> Evidence:
    """Gather everything; the database by plain SQL."""
    receivers = {"callback", "smtp", "sms"}
    ledgers = {name: _lines(folder / f"{name}.jsonl") for name in receivers}
    return Evidence(
        expected=json.loads((folder / "expected.json").read_text()),
        slots=json.loads((folder / "scene.json").read_text())["slots"],
        sent=_lines(folder / "sent.jsonl"),
        receipts={"callback": ledgers["callback"], "email": ledgers["smtp"], "sms": ledgers["sms"]},
        people=_lines(folder / "people.jsonl"),
        faults=_lines(folder / "faults.jsonl"),
        claims=_lines(folder / "claims.jsonl"),
        rows=_rows(kind, database),
    )


def _lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _rows(kind: str, database: str) -> dict[str, list[Row]]:
    if kind == "sqlite":
        with closing(sqlite3.connect(database, timeout=10)) as connection:
            return {name: _select(connection.cursor(), name) for name in TABLES}
    import psycopg  # a run on SQLite needs no PostgreSQL

    with psycopg.connect(database) as server:
        return {name: _select(server.cursor(), name) for name in TABLES}


def _select(cursor: Any, table: str) -> list[Row]:
    cursor.execute(f"SELECT {TABLES[table]} FROM {table}")  # noqa: S608  # both are ours, above
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


if __name__ == "__main__":
    verdict = reconcile(read(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
    print("\n".join(verdict.lines()))
    sys.exit(1 if verdict.violations else 0)
