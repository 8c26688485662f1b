"""`notifier quarantine`: what could not be accepted is listed, shown and released under its own key's rights (P8)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from notifier.core.events import RawItem
from notifier.core.model import EventType
from notifier.errors import EventError
from notifier.testing import ACME, BOREALIS, NOW, alert, envelope
from tests.cli.conftest import KEY_ID, Cli, fresh

BAD = {"alert_id": "1", "alert_type": "OutOfStock", "status": "open", "outlet": {"code": "ES-1001"}, "value": "much"}


def refused(cli: Cli, item: RawItem | None = None, **rights: Any) -> str:
    """Send an event that is not accepted; returns its entry's id."""
    (answer,) = cli.accept(item or fresh(envelope(EventType.ALERT_OPENED, BAD, "bad-1")), **rights)
    assert answer.quarantine_id is not None
    return answer.quarantine_id


def entries(cli: Cli, *options: str) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = cli("quarantine", "list", ACME, "--json", *options).json()["records"]
    return records


def test_what_was_refused_is_listed_with_field_and_reason_p8(cli: Cli) -> None:
    entry = refused(cli)
    (row,) = entries(cli)
    assert (row["id"], row["code"], row["field"], row["source_id"]) == (entry, "invalid", "data.value", "bad-1")
    assert "1 in quarantine" in cli("quarantine", "list", ACME).out


def test_an_entry_is_shown_whole_with_the_key_it_came_with(cli: Cli) -> None:
    entry = refused(cli)
    out = cli("quarantine", "show", ACME, entry).out
    assert f"key id            {KEY_ID}" in out and '"value": "much"' in out
    assert json.loads(cli("quarantine", "show", ACME, entry, "--json").json()["body"])["data"] == BAD


def test_addresses_in_a_body_are_masked_p10(cli: Cli) -> None:
    people = [{"address": "eve@elsewhere.example"}, {"address": "+34600999888", "channel": "sms"}]
    entry = refused(cli, fresh(alert(1), recipients=people))
    for form in ((), ("--json",)):
        out = cli("quarantine", "show", ACME, entry, *form).out
        assert "eve@elsewhere.example" not in out and "+34600999888" not in out
        assert "elsewhere.example" in out


def test_a_hostile_body_cannot_steer_a_terminal(cli: Cli) -> None:
    raw = "\x1b[2J\x1b]0;owned\x07[link=https://evil.example]x[/link]\u202e{"
    entry = refused(cli, RawItem(None, raw, EventError("not complete JSON")))
    for words in (("show", ACME, entry), ("list", ACME)):
        out = cli("quarantine", *words).out
        assert not set("\x1b\x07\u202e") & set(out)
    assert "[link=https://evil.example]x[/link]" in cli("quarantine", "show", ACME, entry).out


def test_a_corrected_event_is_released_once_and_takes_the_usual_road_p8(cli: Cli) -> None:
    entry = refused(cli)
    good = fresh(envelope(EventType.ALERT_OPENED, BAD | {"value": 3}, "bad-1"))
    path = cli.write("good.json", good.body)
    assert cli("quarantine", "release", ACME, entry, "--corrected", path).out.startswith("accepted: event ")
    assert entries(cli, "--waiting") == []
    assert entries(cli)[0]["released_event_id"]
    assert "released already at" in cli("quarantine", "release", ACME, entry, code=1).err
    cli.route()
    assert len(cli("explain", "bad-1", "--json").json()["told"]) == 2


def test_an_event_goes_as_it_came_once_its_key_may_send_it(cli: Cli) -> None:
    """What is checked is the key as it is now, not as it was."""
    people = [{"address": "eve@elsewhere.example"}]
    entry = refused(cli, fresh(alert(1), recipients=people))
    assert (
        "still not_allowed: recipients: this key may not name recipients"
        in cli("quarantine", "release", ACME, entry, code=1).err
    )
    _change_key(cli, may_address=True)
    assert cli("quarantine", "release", ACME, entry).out.startswith("accepted: event ")


def test_what_is_still_wrong_does_not_go_into_quarantine_a_second_time(cli: Cli) -> None:
    entry = refused(cli)
    err = cli("quarantine", "release", ACME, entry, code=1).err
    assert "still invalid: data.value:" in err
    assert len(entries(cli, "--waiting")) == 1


def test_a_release_that_was_cut_off_ends_as_a_duplicate(cli: Cli) -> None:
    """Accepted, and killed before the entry was marked: doing it again marks it."""
    entry = refused(cli)
    good = fresh(envelope(EventType.ALERT_OPENED, BAD | {"value": 3}, "bad-1"))
    cli.accept(good)
    path = cli.write("good.json", good.body)
    assert cli("quarantine", "release", ACME, entry, "--corrected", path).out.startswith("duplicate: event ")
    assert entries(cli, "--waiting") == []


def test_a_conflict_stays_a_conflict(cli: Cli) -> None:
    cli.accept(fresh(alert(1)))
    entry = refused(cli, fresh(alert(1, value=9)))
    assert (
        "conflict: id: an event with this identity was accepted before"
        in cli("quarantine", "release", ACME, entry, code=1).err
    )


def test_the_rights_of_a_disabled_key_are_gone(cli: Cli) -> None:
    entry = refused(cli)
    cli("keys", "disable", KEY_ID)
    err = cli("quarantine", "release", ACME, entry, code=1).err
    assert f"the key it came with ({KEY_ID}) is disabled or gone" in err


def test_another_tenants_entries_are_not_found_p11(cli: Cli) -> None:
    entry = refused(cli)
    for command in ("show", "release"):
        assert "no entry" in cli("quarantine", command, BOREALIS, entry, code=1).err
    assert cli("quarantine", "list", BOREALIS, "--json").json()["totalRecords"] == 0
    assert "no tenant named zeta" in cli("quarantine", "list", "zeta", code=1).err


@pytest.mark.parametrize("options", [("--limit", "0"), ("--limit", "1001"), ("--start", "-1")])
def test_pages_have_limits(cli: Cli, options: tuple[str, str]) -> None:
    cli("quarantine", "list", ACME, *options, code=2)


def test_a_page_begins_where_it_is_told(cli: Cli) -> None:
    ids = [refused(cli, fresh(envelope(EventType.ALERT_OPENED, BAD, f"bad-{n}"))) for n in range(3)]
    assert [row["id"] for row in entries(cli, "--start", "1", "--limit", "1")] == [ids[1]]


def test_a_corrected_file_that_cannot_be_used_says_why(cli: Cli) -> None:
    entry = refused(cli)
    release = ("quarantine", "release", ACME, entry, "--corrected")
    assert "No such file" in cli(*release, cli.folder / "absent", code=1).err
    assert "larger than 1,000,000 bytes" in cli(*release, cli.write("big.json", b" " * 1_000_001), code=1).err
    assert "still" in cli(*release, cli.write("half.json", b"{"), code=1).err


def _change_key(cli: Cli, **rights: Any) -> None:
    from dataclasses import replace

    from sqlalchemy import update

    from notifier.store.tables import api_keys

    with cli.system.store.write() as tx:
        (key,) = tx.api_keys(ACME)
        assert replace(key, **rights) != key and key.created_at == NOW
        tx.connection.execute(update(api_keys).where(api_keys.c.id == key.id).values(**rights))
