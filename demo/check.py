"""Compare what the receivers say they got with what should have come, and print the verdict.

Three witnesses: expect.py (worked out from what was sent), expected.csv (reviewed, in the repository) and the logs of
the SMTP, Twilio-shaped and callback servers. Imports nothing from `notifier`. Exit 0 only without a single problem.

    python demo/check.py FOLDER             check a finished run
    python demo/check.py FOLDER --rewrite   write expected.csv anew, for review
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from expect import Expected, Fleet, Row, expect, load_fleet, load_ledger
from people import links, logged

TABLE = Path(__file__).parent / "expected.csv"


def main(folder: Path, rewrite: bool) -> int:
    """Check everything; returns the exit code."""
    fleet = load_fleet(folder / "notifier.toml", folder / "outlets.csv", folder / "contacts.csv")
    ledger = load_ledger(folder / "ledger.jsonl")
    expected = expect(fleet, ledger)
    if rewrite:
        _write(expected.rows)
    observed = _observed(folder, fleet, expected)
    opened, visits = _visits(folder)
    problems = [
        *_against_table(expected),
        *_against_logs(expected, observed),
        *_answers(ledger, expected),
        *visits,
        *_unopened(folder, opened),
        *_fallbacks(folder),
    ]
    _print(expected, observed, problems)
    delivered = sum((expected.rows & observed).values())
    notifications = sum(expected.rows.values())
    print(
        f"demo: {expected.events + len(expected.decide)} events, {notifications} notifications, "
        f"{delivered} delivered, {opened} links opened, {len(problems)} problems"
    )
    return 1 if problems else 0


# -- the receivers' logs ---------------------------------------------------------------------------------------------


def _observed(folder: Path, fleet: Fleet, expected: Expected) -> Counter[Row]:
    return Counter(
        [*_mails(folder, fleet), *_callbacks(folder, fleet), *_texts(logged(folder, "sms"), fleet, expected)]
    )


def _mails(folder: Path, fleet: Fleet) -> Iterator[Row]:
    tenants = {_address(tenant["email_from"]): name for name, tenant in fleet.tenants.items()}
    for mail in logged(folder, "smtp"):
        headers = {name.lower(): value for name, value in mail["headers"]}
        yield Row(
            tenants[_address(headers["from"])],
            headers["x-coolr-type"],
            headers["x-coolr-subject"],
            "email",
            mail["rcpt_tos"][0],
        )


def _callbacks(folder: Path, fleet: Fleet) -> Iterator[Row]:
    owners = {e["name"]: name for name, tenant in fleet.tenants.items() for e in tenant.get("endpoints", [])}
    for call in logged(folder, "callbacks"):
        name, body = call["path"].rsplit("/", 1)[-1], json.loads(call["body"])
        type_ = body["type"] if call["verified"] else f"{body['type']} (signature refused: {call['reason']})"
        yield Row(owners[name], type_, _object(body), "callback", name)


def _object(body: dict[str, Any]) -> str:
    data = body["data"]
    names = {"alert_id": "alert", "image_id": "image", "order_number": "order", "opportunity_id": "opportunity"}
    return next(f"{family}/{data[name]}" for name, family in names.items() if name in data)


def _texts(texts: list[dict[str, Any]], fleet: Fleet, expected: Expected) -> Iterator[Row]:
    """An SMS has no header: each is matched to one expected row whose marks stand in it."""
    waiting = sorted((row for row in expected.rows if row.channel == "sms"), key=lambda row: -len(row.object))
    for text in texts:
        found = next((row for row in waiting if row.address == text["to"] and _marked(row, text["body"])), None)
        if found is None:
            yield Row("?", "an SMS that nothing explains", text["body"][:60], "sms", text["to"])
        else:
            waiting.remove(found)
            yield found


def _marked(row: Row, body: str) -> bool:
    number = row.object.split("/")[1]
    words, never = {
        "coolr.order.recommended": ([number, "suggested"], []),
        "coolr.order.withdrawn": ([number, "withdrawn"], []),
        "coolr.order.decided": ([number, "decided in coolr"], []),
        "coolr.decision.recorded": ([number], ["suggested", "withdrawn", "decided in coolr"]),
        "coolr.alert.opened": ([], ["order ", "solved"]),
        "coolr.alert.closed": (["solved"], ["order "]),
    }[row.type]
    said = body.lower()
    return all(word in said for word in words) and not any(word in said for word in never)


def _address(mailbox: str) -> str:
    return mailbox.rsplit("<", 1)[-1].rstrip(">").strip().lower()


# -- the comparisons --------------------------------------------------------------------------------------------------


def _against_table(expected: Expected) -> Iterator[str]:
    reviewed = _read()
    yield from (f"not in expected.csv: {_say(row)}" for row in sorted(expected.rows - reviewed))
    yield from (f"in expected.csv only: {_say(row)}" for row in sorted(reviewed - expected.rows))


def _against_logs(expected: Expected, observed: Counter[Row]) -> Iterator[str]:
    yield from (f"never arrived: {_say(row)}" for row in sorted((expected.rows - observed).elements()))
    yield from (f"arrived but not expected: {_say(row)}" for row in sorted((observed - expected.rows).elements()))


def _answers(ledger: list[dict[str, Any]], expected: Expected) -> Iterator[str]:
    for line, answer in zip(ledger, expected.answers, strict=True):
        if line["answer"] not in ("published", answer):
            what = line["body"].get("id", line["body"].get("AlertId", line["body"].get("AssetPurityId")))
            yield f"the sender of {what} was told {line['answer']!r}, should be {answer!r}"


def _visits(folder: Path) -> tuple[int, list[str]]:
    problems, opened, pictures = [], 0, 0
    for line in (folder / "links.jsonl").read_text(encoding="utf-8").splitlines():
        visit = json.loads(line)
        if visit["what"] == "opened":
            opened += visit["status"] == 200
        pictures += visit["what"] == "picture"
        if visit["status"] != 200:
            problems.append(f"{visit['what']}: {json.dumps(visit)}")
    if not pictures:
        problems.append("no page showed a picture")
    return opened, problems


def _unopened(folder: Path, opened: int) -> Iterator[str]:
    if opened == 0:
        yield "no link was opened"
    decisions = sum('"decided"' in line for line in (folder / "links.jsonl").read_text(encoding="utf-8").splitlines())
    if decisions == 0:
        yield "nobody decided anything"
    if not any(True for _ in links(folder)):
        yield "no message holds a link"


def _fallbacks(folder: Path) -> Iterator[str]:
    """A broken template never silences an alert, so that all may have arrived: but the operator was told."""
    log = (folder / "logs" / "deliver.log").read_text(encoding="utf-8", errors="replace")
    broken = sorted(set(re.findall(r"templates/\w+/\w+", "\n".join(re.findall(r".*template_broken.*", log)))))
    yield from (f"a plain form was sent instead of a message from {template}" for template in broken)


# -- table and printing -----------------------------------------------------------------------------------------------


def _read() -> Counter[Row]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return Counter(
            {
                Row(line["tenant"], line["type"], line["object"], line["channel"], line["address"]): int(line["count"])
                for line in csv.DictReader(file)
            }
        )


def _write(rows: Counter[Row]) -> None:
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["tenant", "type", "object", "channel", "address", "count"])
        writer.writerows([*_tuple(row), count] for row, count in sorted(rows.items()))


def _tuple(row: Row) -> tuple[str, ...]:
    return row.tenant, row.type, row.object, row.channel, row.address


def _say(row: Row) -> str:
    return f"{row.tenant} {row.type} {row.object} by {row.channel} to {row.address}"


def _print(expected: Expected, observed: Counter[Row], problems: list[str]) -> None:
    print(f"{'tenant':<10} {'type':<26} {'channel':<9} {'expected':>8} {'arrived':>8}")
    keys = sorted({(row.tenant, row.type, row.channel) for row in expected.rows | observed})
    for key in keys:
        wanted, arrived = (
            sum(count for row, count in rows.items() if (row.tenant, row.type, row.channel) == key)
            for rows in (expected.rows, observed)
        )
        print(f"{key[0]:<10} {key[1]:<26} {key[2]:<9} {wanted:>8} {arrived:>8}{'' if wanted == arrived else '  <--'}")
    for problem in problems[:50]:
        print(f"problem: {problem}")
    if len(problems) > 50:
        print(f"... and {len(problems) - 50} more problems")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), "--rewrite" in sys.argv[2:]))
