"""P1 to P6 as questions to the rows and to the journal of the world outside. The same for every kill.

`kept_after_a_kill` may be asked at any instant at which no process runs; `kept_at_rest` when everything is done.
Each returns sentences about what is broken. The rows are read as they are: what the steps believe of themselves does
not count.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from notifier.pipeline import ACCEPT_CHUNK
from notifier.store import SqlStore
from notifier.store.tables import metadata
from tests.crash.outside import Journal, Line
from tests.crash.world import APPLIED, FORMS, POISON, SLOTS, STALLED, World

Rows = dict[str, list[dict[str, Any]]]
Broken = Iterator[str]
LOST = "worker_lost"
EMAIL_OWNER, SMS_OWNER = ("email", "owner"), ("sms", "owner")
EMAIL_REP, ERP = ("email", "sales_rep"), ("callback", "endpoint")
ABOUT_ORDERS = frozenset({EMAIL_OWNER, SMS_OWNER, EMAIL_REP, ERP})
#: Who hears of what, as the rules of the policy and the two people of the store make it.
TOLD = {
    "coolr.alert.opened": frozenset({EMAIL_OWNER, ERP}),
    "coolr.order.recommended": ABOUT_ORDERS,
    "coolr.decision.recorded": ABOUT_ORDERS,
    "coolr.decision.undone": ABOUT_ORDERS,
}


def everything(store: SqlStore) -> Rows:
    """Every row of every table."""
    with store.engine.connect() as connection:
        return {
            table.name: [dict(row) for row in connection.execute(table.select()).mappings()]
            for table in metadata.sorted_tables
        }


def kept_after_a_kill(store: SqlStore, journal: Journal) -> list[str]:
    """What must hold though everything was cut off in the middle."""
    rows = everything(store)
    checks = (_answers, _batches, _events, _routing, _purposes, _waking, _claims, _attempts, _receipts, _decisions)
    return [sentence for check in checks for sentence in check(rows, journal)]


def kept_when_work_resumed(store: SqlStore, now: datetime) -> list[str]:
    """P3: a worker has run for some seconds; nobody gave a hint. What was due before is out."""
    rows = everything(store)
    late = [row for row in rows["notifications"] if row["status"] == "due" and row["due_at"] <= now]
    held = [row for row in rows["notifications"] if row["status"] == "claimed"]
    broken = [f"P3: {row['channel']} of {row['subject']} is due and did not go out" for row in late]
    broken += [f"P3: {row['channel']} of {row['subject']} is held by a dead session" for row in held]
    return broken + [f"P3: {row['source_id']} is not routed" for row in rows["events"] if row["routed_at"] is None]


def kept_at_rest(store: SqlStore, journal: Journal, kills: int) -> list[str]:
    """What must hold when everybody was answered and nothing is left to do."""
    rows = everything(store)
    checks = (_finished, _received_once, _decided)
    broken = [sentence for check in checks for sentence in check(rows, journal)]
    return kept_after_a_kill(store, journal) + broken + list(_few_unknown(rows, kills))


def kept_while_reading(world: World) -> list[str]:
    """P5: whatever is read, and however often, no row changes."""
    before = everything(world.sql)
    for line in world.journal.of("form"):
        for _ in range(2):
            world.links.open_token(line["token"], "notify.example")
    _read_everything(world)
    after = everything(world.sql)
    return [f"P5: reading changed {table}" for table in before if before[table] != after[table]]


def _read_everything(world: World) -> None:
    with world.store.read() as tx:
        for table in ("events", "notifications", "attempts", "orders"):
            for row in tx.list_rows(table, _tenant(world), start=0, limit=1000, filters={})[0]:
                if table == "events":
                    tx.timeline(_tenant(world), row["id"])
        tx.lane_stats(world.clock())
        tx.sessions()


def _tenant(world: World) -> Any:
    return next(iter(world.pipe.policies.current().tenants))


# -- P1: what was answered is there, and what is there is whole -------------------------------------------------------


def _answers(rows: Rows, journal: Journal) -> Broken:
    """Everything that somebody outside was told is so."""
    kept = {row["source_id"]: row["id"] for row in rows["events"]}
    for line in journal.of("answered"):
        for answer in line["answers"]:
            if answer["status"] not in ("accepted", "duplicate"):
                yield f"P1: {answer['source_id']} was answered {answer['status']}"
            elif kept.get(answer["source_id"]) != answer["id"]:
                yield f"P1: {answer['source_id']} was accepted as {answer['id']} and is not there"
    texts = {row["version"]: row["text"] for row in rows["config_versions"]}
    if any(texts.get(line["version"]) != APPLIED for line in journal.of("applied")):
        yield "P1: the configuration that was applied is not there"
    told = {row["id"]: row["status"] for row in rows["notifications"]}
    for line in journal.of("reported"):
        if told[line["notification"]] != "delivered":
            yield f"P1: an SMS that was reported delivered is {told[line['notification']]}"
    forms = {row[name] for row in rows["decisions"] for name in ("nonce", "undo_nonce")}
    for line in journal.of("receipt", done=True):
        if line["name"] not in forms:
            yield f"P1: {line['name']} had a receipt and nothing came of it"


def _batches(rows: Rows, journal: Journal) -> Broken:
    """A transaction's share of a batch is there as a whole, or not at all."""
    kept = {row["source_id"] for row in rows["events"]}
    for line in journal.of("sent in"):
        chunks = [line["ids"][start : start + ACCEPT_CHUNK] for start in range(0, len(line["ids"]), ACCEPT_CHUNK)]
        there = [len(kept & set(chunk)) for chunk in chunks]
        whole = [count == len(chunk) for count, chunk in zip(there, chunks, strict=True)]
        if any(there[whole.count(True) :]) or whole != sorted(whole, reverse=True):
            yield f"P1: of the batch {line['name']} there are {there}"


def _events(rows: Rows, _: Journal) -> Broken:
    """An event comes with the number of its subject, and with its order."""
    newest = {row["subject"]: row["sequence"] for row in rows["subjects"]}
    orders = {row["number"] for row in rows["orders"]}
    for row in rows["events"]:
        if newest.get(row["subject"], 0) < row["sequence"]:
            yield f"P1: {row['source_id']} is there without the number of its subject"
        if row["type"] == "coolr.order.recommended" and row["subject"].removeprefix("order/") not in orders:
            yield f"P1: {row['source_id']} is there without its order"
    numbers = Counter((row["subject"], row["sequence"]) for row in rows["events"])
    yield from (f"P1: {key} was given to {count} events" for key, count in numbers.items() if count > 1)


# -- P2: one notification per purpose, and all of an event together ---------------------------------------------------


def _routing(rows: Rows, _: Journal) -> Broken:
    """An event has all of its notifications, each with message and links; or none yet."""
    made: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows["notifications"]:
        made[row["event_id"]].append(row)
    for row in rows["events"]:
        found = Counter((one["channel"], one["role"]) for one in made[row["id"]])
        routed = row["routed_at"] is not None and row["routing_problem"] is None
        if found != Counter(TOLD[row["type"]] if routed else ()):
            yield f"P2: of {row['source_id']} there are {dict(found)}"
    messages, linked = {row["id"] for row in rows["messages"]}, {row["notification_id"] for row in rows["links"]}
    orders = {row["id"] for row in rows["notifications"] if row["kind"] == "order_recommended"}
    for row in rows["notifications"]:
        if row["message_id"] not in messages and row["status"] != "suppressed":
            yield f"P2: {row['channel']} of {row['subject']} is there without its message"
        if row["id"] in orders - linked and row["channel"] != "callback":
            yield f"P2: {row['channel']} of {row['subject']} is there without its link"


def _purposes(rows: Rows, _: Journal) -> Broken:
    purposes = Counter(
        (row["event_id"], row["channel"], row["address"], row["purpose"]) for row in rows["notifications"]
    )
    yield from (f"P2: {count} notifications of {purpose}" for purpose, count in purposes.items() if count > 1)


# -- P3: nothing waits for a hint -------------------------------------------------------------------------------------


def _waking(rows: Rows, _: Journal) -> Broken:
    """A lane wakes up no later than its earliest row is due."""
    wakes = {row["id"]: row["next_due_at"] for row in rows["lanes"]}
    for row in rows["notifications"]:
        if row["status"] == "due" and (wakes[row["lane_id"]] is None or wakes[row["lane_id"]] > row["due_at"]):
            yield f"P3: {row['channel']} of {row['subject']} is due at {row['due_at']} in a lane that sleeps"


def _claims(rows: Rows, _: Journal) -> Broken:
    for row in rows["notifications"]:
        if (row["status"] == "claimed") != (row["claimed_by"] is not None):
            yield f"P3: {row['channel']} of {row['subject']} is {row['status']} and held by {row['claimed_by']}"


def _finished(rows: Rows, _: Journal) -> Broken:
    """Nothing is left, and everything went out; what could not be routed is kept with its reason."""
    for row in rows["events"]:
        poisoned = row["subject"] == f"alert/{POISON}"
        if row["routed_at"] is None or (row["routing_problem"] is not None) != poisoned:
            yield f"P3: {row['source_id']} was left: {row['routing_problem']}"
    for row in rows["notifications"]:
        if row["status"] not in ("sent", "delivered") and not _overtaken(row, rows):
            yield f"P3: {row['channel']} of {row['subject']} ended as {row['status']}, {row['reason']}"
    yield from (f"P3: the attempt {row['id']} is open" for row in rows["attempts"] if row["outcome"] == "open")
    yield from (f"P3: the session {row['id']} was never buried" for row in rows["workers"])


def _overtaken(row: dict[str, Any], rows: Rows) -> bool:
    """Whether it need not go out: of a decision that was taken back the receivers of final ones never hear, and
    people hear what is true by then."""
    undone = {one["order_id"] for one in rows["decisions"] if one["undone_at"] is not None}
    subjects = {f"order/{order['number']}" for order in rows["orders"] if order["id"] in undone}
    if row["subject"] not in subjects or row["kind"] not in ("decision_recorded", "decision_undone"):
        return False
    if row["channel"] == "callback":
        return row["status"] in ("cancelled", "suppressed") and row["reason"] == "undone"
    return row["status"] == "cancelled" and str(row["reason"]).startswith("overtaken by coolr.decision.")


# -- P4: nothing goes out twice in silence ----------------------------------------------------------------------------


def _attempts(rows: Rows, _: Journal) -> Broken:
    """Open attempts belong to rows that are held, and there are no more of a session than it has slots."""
    held = {(row["id"], row["claimed_by"]) for row in rows["notifications"] if row["status"] == "claimed"}
    open_ = [row for row in rows["attempts"] if row["outcome"] == "open"]
    yield from (
        f"P4: the attempt {row['id']} is open and its session does not hold its row"
        for row in open_
        if (row["notification_id"], row["session"]) not in held
    )
    per_session = Counter(row["session"] for row in open_)
    yield from (f"P4: a session left {count} attempts open" for count in per_session.values() if count > SLOTS)


def _receipts(rows: Rows, journal: Journal) -> Broken:
    """Whatever a receiver has, we know of; and each time it is the same."""
    known = {row["id"]: row["notification_id"] for row in rows["attempts"]}
    faces: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for line in journal.of("received"):
        if known.get(line["attempt"]) != line["notification"]:
            yield f"P4: {line['channel']} to {line['address']} went out and no attempt says so"
        faces[line["notification"]].add((line["identity"], line["content"]))
    for notification, its in faces.items():
        if len(its) > 1:
            yield f"P4: the tries of {notification} cannot be told to be the same"
    identities = Counter(identity for its in faces.values() for identity, _ in its)
    yield from (f"P4: two notifications look alike: {name}" for name, count in identities.items() if count > 1)


def _received_once(rows: Rows, journal: Journal) -> Broken:
    """Everything arrived once; again only where an attempt is marked unknown, and no SMS again."""
    unknown = Counter(row["notification_id"] for row in rows["attempts"] if row["outcome"] == "unknown")
    came = Counter(line["notification"] for line in journal.of("received"))
    for row in rows["notifications"]:
        overtaken = _overtaken(row, rows)
        least = 0 if overtaken else 1
        most = 0 if overtaken and row["channel"] == "callback" else 1
        most += unknown[row["id"]] if row["channel"] != "sms" else 0
        if not least <= came[row["id"]] <= most:
            yield f"P4: {row['channel']} of {row['subject']} came {came[row['id']]} times, not {least} to {most}"


def _few_unknown(rows: Rows, kills: int) -> Broken:
    lost = sum(row["reason"] == LOST for row in rows["attempts"])
    if lost > SLOTS * kills + STALLED:
        yield f"P4: {lost} answers were lost by {kills} kills of {SLOTS} slots"


# -- P6: one decision in force ----------------------------------------------------------------------------------------


def _decisions(rows: Rows, _: Journal) -> Broken:
    """A decision, and its undoing, is there with its order, its event and its audit row, or not at all."""
    orders = {row["id"]: row for row in rows["orders"]}
    in_force = {row["order_id"]: row["id"] for row in rows["decisions"] if row["undone_at"] is None}
    for order in orders.values():
        decided = order["status"] in ("accepted", "modified", "cancelled")
        if order["decision_id"] != in_force.get(order["id"]) or decided != (order["id"] in in_force):
            yield f"P6: order {order['number']} is {order['status']}, in force is {in_force.get(order['id'])}"
    sources = Counter(row["source_id"] for row in rows["events"])
    for row in rows["decisions"]:
        told = sources[row["id"]], sources[f"{row['id']}.undone"]
        if told != (1, int(row["undone_at"] is not None)):
            yield f"P6: {told} events of the decision {row['id']}, undone at {row['undone_at']}"
    yield from _audited(rows)


def _audited(rows: Rows) -> Broken:
    """What was decided, taken back or mistyped stands in the audit, each once."""
    found = Counter((row["object"], row["action"].partition(".")[2]) for row in rows["audit"])
    wanted: Counter[tuple[str, str]] = Counter()
    for row in rows["decisions"]:
        wanted[f"order/{row['order_id']}", row["action"]] += 1
        wanted[f"order/{row['order_id']}", "undo"] += row["undone_at"] is not None
    for row in rows["order_numbers"]:
        wanted[f"order/{row['order_id']}", "wrong_number"] += row["wrong"]
    if found != wanted:
        yield f"P6: the audit has {dict(found)} of {dict(wanted)}"
    if sum(row["wrong"] for row in rows["order_numbers"]) > 1:
        yield "P6: one wrong number was counted more than once"


def _decided(rows: Rows, journal: Journal) -> Broken:
    """Everybody got the answer that is true: the first decision stands until it is taken back, and it alone."""
    receipts = {line["name"]: (line["done"], line["error"]) for line in journal.of("receipt")}
    right = {"alice-mistypes": (False, "wrong_number"), "bob-is-late": (False, "already_decided")}
    for form in FORMS:
        if receipts.get(form.name) != (expected := right.get(form.name, (True, None))):
            yield f"P6: {form.name} was told {receipts.get(form.name)}, not {expected}"
    decided = [form.name for form in FORMS if form.action and form.name not in right]
    if sorted(row["nonce"] for row in rows["decisions"]) != sorted(decided):
        yield f"P6: {len(rows['decisions'])} decisions"


def the_same_form_again(world: World) -> list[str]:
    """P6: whoever sends a form again gets the receipt of the first time, and nothing more happens."""
    before = everything(world.sql)
    first = {line["name"]: line for line in world.journal.of("receipt", done=True)}
    again = {name: world.submit(form) for form in FORMS if (name := form.name) in first}
    broken = [f"P6: {name} was told something else" for name, line in again.items() if not _same(line, first[name])]
    after = everything(world.sql)
    return broken + [f"P6: the same form again changed {table}" for table in before if before[table] != after[table]]


def _same(one: Line, other: Line) -> bool:
    return all(one[key] == other[key] for key in ("done", "error"))


def sent_again(world: World) -> list[str]:
    """P1: what is sent in once more is known, under the same id."""
    first = {answer["source_id"]: answer["id"] for line in world.journal.of("answered") for answer in line["answers"]}
    return [
        f"P1: {answer.source_id} sent again was answered {answer.status}"
        for items in world.batches()
        for answer in world.accept(items)
        if (answer.status, answer.id) != ("duplicate", first[answer.source_id or ""])
    ]
