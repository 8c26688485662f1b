"""`notifier switch off|on|list`, and what `explain` says of a switch."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from notifier.core.ids import SessionId, new_id
from notifier.core.model import ClaimRequest
from notifier.core.records import WorkerSession
from notifier.store.tables import audit
from notifier.testing import NOW, alert, order
from tests.cli.conftest import Cli, fresh


def work(cli: Cli) -> int:
    """What a delivery worker claims."""
    session = WorkerSession(SessionId(new_id()), "host", 1, NOW, NOW)
    cli.system.pipeline.start_session(session)
    return len(cli.system.pipeline.claim(ClaimRequest(session.id, 100, 100)))


def audited(cli: Cli) -> Sequence[tuple[str, str, str, dict[str, str]]]:
    with cli.system.store.read() as tx:
        rows = tx.connection.execute(audit.select().order_by(audit.c.id))
        return [(row.tenant, row.actor, row.action, row.detail) for row in rows]


def test_off_stops_and_on_goes_on_and_both_are_kept_with_who_and_why_p12(cli: Cli) -> None:
    cli.accept(fresh(order(1)))
    cli.route()
    made = cli("switch", "off", "--tenant", "acme", "--reason", "wrong prices", "--by", "ana", "--json").json()
    assert (made["what"], made["tenant"], made["channel"]) == ("tenant acme", "acme", None)
    assert work(cli) == 0
    cli("switch", "on", made["id"], "--reason", "fixed", "--by", "bob")
    assert work(cli) == 3  # of four: each lane begins with one under way
    assert audited(cli) == [
        ("acme", "operator:ana", "switch.off", {"what": "tenant acme", "reason": "wrong prices"}),
        ("acme", "operator:bob", "switch.on", {"what": "tenant acme", "reason": "fixed"}),
    ]


def test_the_list_says_what_is_off_and_how_much_is_held(cli: Cli) -> None:
    assert "nothing is off" in cli("switch", "list").out
    cli.accept(fresh(alert(1)))
    cli.route()
    off = ("switch", "off", "--type", "coolr.alert.opened", "--reason", "a [red]flood[/red]")
    assert "event type alert_opened" in cli(*off).out
    work(cli)
    listed = cli("switch", "list", "--json").json()
    assert (listed["held"], listed["off"][0]["type"]) == (2, "alert_opened")
    assert listed["off"][0]["by"].startswith("operator:")
    shown = cli("switch", "list").out
    assert "1 off, 2 notifications held" in shown and "[red]flood" in shown.replace("\n", "")


@pytest.mark.usefixtures("proven_lanes")
def test_explain_says_who_turned_it_off_and_why_p12(cli: Cli) -> None:
    (answer,) = cli.accept(fresh(order(1)))
    cli.route()
    cli("switch", "off", "--channel", "sms", "--reason", "wrong prices", "--by", "ana")
    cli("switch", "off", "--channel", "email", "--type", "order_recommended", "--reason", "bad template", "--by", "bob")
    assert work(cli) == 1  # the callback
    told = cli("explain", answer.id, "--json").json()["told"]
    by_channel = {person["channel"]: person for person in told}
    assert (by_channel["sms"]["status"], by_channel["sms"]["reason"]) == ("due", "switched_off")
    assert "operator:ana" in by_channel["sms"]["why"] and by_channel["sms"]["why"].endswith("wrong prices")
    assert (by_channel["email"]["status"], by_channel["email"]["reason"]) == ("held", "switched_off")
    assert by_channel["email"]["why"].endswith("(channel email, event type order_recommended): bad template")
    assert by_channel["callback"]["reason"] is None


WRONG: list[tuple[tuple[str, ...], str]] = [
    ((), "name what to stop"),
    (("--everything", "--tenant", "acme"), "name what to stop"),
    (("--tenant", "amce"), "no tenant named amce"),
    (("--endpoint", "erp"), "belongs to a tenant"),
    (("--tenant", "acme", "--channel", "sms", "--endpoint", "erp"), "belongs to a tenant and to callbacks"),
    (("--tenant", "acme", "--endpoint", "erq"), "acme has no endpoint named erq"),
    (("--type", "coolr.alert.open"), "no event type is named coolr.alert.open"),
]


@pytest.mark.parametrize(("options", "said"), WRONG)
def test_what_cannot_be_meant_is_refused(cli: Cli, options: tuple[str, ...], said: str) -> None:
    assert said in cli("switch", "off", *options, "--reason", "x", code=1).err.replace("\n", " ")
    assert cli("switch", "list", "--json").json()["off"] == []


def test_a_reason_is_required(cli: Cli) -> None:
    cli("switch", "off", "--everything", code=2)
    assert "say why" in cli("switch", "off", "--everything", "--reason", " ", code=1).err


def test_the_same_twice_and_what_is_not_off_are_said(cli: Cli) -> None:
    cli("switch", "off", "--everything", "--reason", "x")
    assert "everything is off already" in cli("switch", "off", "--everything", "--reason", "x", code=1).err
    assert "no switch with id" in cli("switch", "on", new_id(), "--reason", "x", code=1).err
