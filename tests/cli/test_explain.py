"""`notifier explain`: matched rules, everybody told, everybody left out and why; nothing changes and nothing leaks."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

from notifier.core.model import ChannelName, EventType
from notifier.testing import ACME, BOREALIS, NOW, SOURCE, alert, envelope, order
from tests.cli.conftest import Cli, fresh

FULL = ("alice@acme.example", "bob@acme.example", "dora@borealis.example", "+34600111222")


def test_what_happened_is_told_with_rules_people_and_reasons_p12(cli: Cli) -> None:
    (answer,) = cli.accept(fresh(order(1042)))
    cli.route()
    told = cli("explain", answer.id, "--json").json()
    assert told["rules"]["matched"] == ["orders to the store", "everything to the ERP"]
    assert told["rules"]["not_matched"] == {
        "alerts to the owner": "type is coolr.order.recommended, the rule wants coolr.alert.*"
    }
    assert {(person["role"], person["channel"], person["address"], person["status"]) for person in told["told"]} == {
        ("owner", "email", "a…@acme.example", "due"),
        ("owner", "sms", "+34…22", "due"),
        ("sales_rep", "email", "b…@acme.example", "due"),
        ("endpoint", "callback", "erp", "due"),
    }
    assert told["event"]["outlet"] == "ES-1001 (Main St)"
    assert told["event"]["routed_at"] and told["notes"] == []
    assert told["summary"] == "4 told, 0 left out"


def test_people_read_the_same_in_sentences(cli: Cli) -> None:
    cli.accept(fresh(alert(1)))
    cli.route()
    out = cli("explain", "alert-1-open").out
    assert "coolr.alert.opened alert/1" in out
    assert "no match orders to the store: type is coolr.alert.opened, the rule wants coolr.order.*" in out
    assert "owner email a…@acme.example - due (rule “alerts to the owner”)" in out


def test_who_was_suppressed_or_has_no_address_is_left_out_with_the_reason_p12(cli: Cli) -> None:
    with cli.system.store.write() as tx:
        tx.suppress_address(ACME, ChannelName.EMAIL, "alice@acme.example", "bounced", NOW)
        tx.save_policy(
            '[tenants.acme]\ndefault = [{ to = "role:owner" }, { to = "role:sales_rep", by = ["sms"] },'
            ' { to = "role:driver" }]',
            "test",
            NOW,
        )
    cli.system.policies.refresh()
    cli.accept(fresh(alert(1)))
    cli.route()
    told = cli("explain", "alert-1-open", "--json").json()
    assert told["told"] == []
    assert {(person["role"], person["reason"]) for person in told["left_out"]} == {
        ("owner", "opted_out"),
        ("sales_rep", "no_address"),
        ("driver", "nobody_in_role"),
    }
    said = "driver email - (rule “(default route)”): nobody has this role at the outlet"
    assert said in cli("explain", "alert-1-open").out


def test_a_reason_is_kept_as_it_was_when_the_directory_changes_later_p12(cli: Cli) -> None:
    with cli.system.store.write() as tx:
        tx.save_policy('[tenants.acme]\ndefault = [{ to = "role:driver" }]', "test", NOW)
    cli.system.policies.refresh()
    cli.accept(fresh(alert(1)))
    cli.route()
    path = cli.write("c.csv", "OutletCode,Role,Email\nES-1001,driver,dan@acme.example\n")
    cli("import", ACME, path)
    told = cli("explain", "alert-1-open", "--json").json()
    assert [(person["role"], person["address"], person["reason"]) for person in told["left_out"]] == [
        ("driver", "", "nobody_in_role")
    ]
    assert told["notes"] == ["the rules or the directory have changed since: they would tell somebody else today"]


def test_an_event_that_no_rule_matches_says_that_nobody_was_told_p12(cli: Cli) -> None:
    with cli.system.store.write() as tx:
        tx.save_policy(
            '[tenants.acme]\n[[tenants.acme.rules]]\nname = "orders"\nwhen = { type = ["coolr.order.*"] }\n'
            'send = [{ to = "role:owner" }]',
            "test",
            NOW,
        )
    cli.system.policies.refresh()
    cli.accept(fresh(alert(1)))
    cli.route()
    told = cli("explain", "alert-1-open", "--json").json()
    assert (told["reason"], told["told"], told["left_out"]) == ("no_rule", [], [])
    assert told["summary"] == "nobody: no rule matched and there is no default route, so nobody was told"


def test_before_routing_it_says_what_the_rules_would_do(cli: Cli) -> None:
    cli.accept(fresh(alert(1)))
    told = cli("explain", "alert-1-open", "--json").json()
    assert told["notes"] == ["not routed yet: this is what the rules say now"]
    assert not told["stored"] and len(told["told"]) == 2
    assert "would be told" in cli("explain", "alert-1-open").out


def test_rules_that_changed_since_are_pointed_out_and_what_happened_stands(cli: Cli) -> None:
    cli.accept(fresh(alert(1)))
    cli.route()
    with cli.system.store.write() as tx:
        tx.save_policy('[tenants.acme]\ndefault = [{ to = "role:sales_rep" }]', "test", NOW)
    cli.system.policies.refresh()
    told = cli("explain", "alert-1-open", "--json").json()
    assert {person["address"] for person in told["told"]} == {"a…@acme.example", "erp"}
    assert told["notes"] == ["the rules or the directory have changed since: they would tell somebody else today"]


def test_the_senders_id_of_two_tenants_is_told_apart_by_tenant_p11(cli: Cli) -> None:
    cli.accept(fresh(alert(1)))
    cli("explain", "alert-1-open", "--tenant", ACME)
    err = cli("explain", "alert-1-open", "--tenant", BOREALIS, code=1).err
    assert "no event of borealis has the id alert-1-open" in err


# -- an event that was not sent yet ---------------------------------------------------------------------------------


def test_a_file_is_explained_as_if_it_came_now_and_nothing_is_kept(cli: Cli) -> None:
    data = {"alert_id": "9", "alert_type": "Health", "status": "open", "outlet": {"code": "ES-1001"}}
    new = fresh(envelope(EventType.ALERT_OPENED, data, "new-1"))
    told = cli("explain", "--file", cli.write("e.json", new.body), "--tenant", ACME, "--json").json()
    assert [person["address"] for person in told["told"]] == ["a…@acme.example", "erp"]
    with cli.system.store.read() as tx:
        assert tx.list_rows("events", ACME, start=0, limit=1, filters={})[1] == 0
        assert tx.subject_states(ACME, ["alert/9"]) == {}


def test_coolrs_own_record_is_derived_against_what_is_stored(cli: Cli) -> None:
    """An alert that is open already is an update: people hear of it only where a rule says so."""
    cli.accept(fresh(alert(81234)))
    record = {
        "AlertId": 81234,
        "AlertType": "OutOfStock",
        "Status": "Open",
        "LocationCode": "ES-1001",
        "LastUpdatedOn": datetime.now(UTC).isoformat(),
        "AlertText": "other",
    }
    told = cli("explain", "--file", cli.write("r.json", json.dumps([record])), "--tenant", ACME, "--json").json()
    assert told["event"]["type"] == "coolr.alert.updated"
    assert {person["reason"] for person in told["left_out"]} == {"updates_not_wanted"}


def test_an_order_that_is_not_stored_yet_is_judged_by_its_own_deadline(cli: Cli) -> None:
    item = order(77, deadline="2020-01-01T00:00:00Z")
    told = cli("explain", "--file", cli.write("o.json", item.body), "--tenant", ACME, "--json").json()
    assert {person["reason"] for person in told["left_out"]} == {"too_late"}


def test_what_would_not_be_accepted_says_the_field_and_the_reason(cli: Cli) -> None:
    cases = [
        # a type that only we make
        ({"type": "coolr.decision.recorded"}, "it would not be accepted (reserved_type): type: this type is only made"),
        ({"data": {}}, "it would not be accepted (invalid): data.alert_id:"),
        ({"tenant": "borealis"}, "it would not be accepted (wrong_tenant): tenant: is not the tenant of this key"),
    ]
    for change, said in cases:
        body = json.loads(alert(5).body) | change
        assert said in cli("explain", "--file", cli.write("e.json", json.dumps(body)), "--tenant", ACME, code=1).err


def test_what_is_here_already_says_so(cli: Cli) -> None:
    item = fresh(alert(1))
    (answer,) = cli.accept(item)
    err = cli("explain", "--file", cli.write("e.json", item.body), "--tenant", ACME, code=1).err
    assert f"it is here already, as event {answer.id}" in err


def test_files_that_are_none_say_why(cli: Cli) -> None:
    cases = [(b"{", "not complete JSON"), (b"[]", "0 events"), (b"\xff", "UTF-8"), (b"[" * 5000, "nest")]
    for content, said in cases:
        path = cli.write("e.json", content)
        assert said in cli("explain", "--file", path, "--tenant", ACME, code=1).err
    assert "No such file" in cli("explain", "--file", cli.folder / "absent", "--tenant", ACME, code=1).err


def test_wrong_usage_is_two(cli: Cli) -> None:
    cli("explain", code=2)
    cli("explain", "x", "--file", "y", code=2)
    cli("explain", "--file", "y", code=2)
    assert "no tenant named zeta" in cli("explain", "--file", "y", "--tenant", "zeta", code=1).err


# -- what must not be shown -----------------------------------------------------------------------------------------


def test_no_full_address_is_shown_p10(cli: Cli) -> None:
    carried = [{"channel": "email", "address": "eve@elsewhere.example", "name": "Eve"}]
    with cli.system.store.write() as tx:
        tx.save_policy('[tenants.acme]\ndefault = [{ to = "carried" }, { to = "role:owner" }]', "test", NOW)
    cli.system.policies.refresh()
    cli.accept(fresh(alert(1), recipients=carried), may_address=True)
    cli.route()
    for form in ((), ("--json",)):
        out = cli("explain", "alert-1-open", *form).out
        assert not [address for address in (*FULL, "eve@elsewhere.example") if address in out]
        assert "elsewhere.example" in out


def test_hostile_ids_and_names_cannot_steer_a_terminal(cli: Cli, narrow: Callable[[int], None]) -> None:
    narrow(40)
    (answer,) = cli.accept(fresh(alert(1), id="[link=https://evil.example]click[/link]:100:"))
    out = cli("explain", answer.id).out
    assert "💯" not in out and "\x1b" not in out
    assert "[link=https://evil.example]click[/link]:100:" in out


def test_source_is_the_senders(cli: Cli) -> None:
    cli.accept(fresh(alert(1)))
    assert cli("explain", "alert-1-open", "--json").json()["event"]["source"] == SOURCE
