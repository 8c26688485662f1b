"""`notifier lanes list|release`, and what `explain` says of a lane that rests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from notifier.core.ids import SessionId, new_id
from notifier.core.model import ClaimRequest
from notifier.core.records import WorkerSession
from notifier.store.tables import lanes
from notifier.testing import NOW, order
from tests.cli.conftest import Cli, fresh
from tests.cli.test_switch import audited

WIDE = 160


def put_to_rest(cli: Cli, *channels: str, **facts: object) -> datetime:
    """Lanes of these channels rest; returns until when."""
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=10, seconds=20)
    usual = {"paused_until": until, "pause_reason": "rate_limited", "in_flight_window": 1}
    with cli.system.store.engine.connect() as connection:
        connection.execute(update(lanes).where(lanes.c.channel.in_(channels)).values(**(usual | facts)))
    return until


@pytest.fixture
def waiting(cli: Cli) -> Cli:
    """A mail for each of two people, a text and a callback wait."""
    cli.accept(fresh(order(1)))
    cli.route()
    return cli


def claimed(cli: Cli) -> list[str]:
    """The channels of what a delivery worker claims."""
    session = WorkerSession(SessionId(new_id()), "host", 1, NOW, NOW)
    cli.system.pipeline.start_session(session)
    return sorted(row.channel for row in cli.system.pipeline.claim(ClaimRequest(session.id, 100, 100)))


# -- list -----------------------------------------------------------------------------------------------------------


def test_the_list_begins_with_those_in_trouble_and_says_why_until_when_and_what_waits(waiting: Cli) -> None:
    until = put_to_rest(waiting, "callback", breaker="open", failures=7, pause_reason="breaker: connect")
    listed = waiting("lanes", "list", "--json").json()
    assert (listed["total"], listed["resting"], listed["open"]) == (3, 1, 1)
    first = listed["lanes"][0]
    assert first == {
        "tenant": "acme",
        "channel": "callback",
        "priority": first["priority"],
        "target": "erp",
        "state": "breaker_open",
        "until": until.isoformat(),
        "reason": "breaker: connect",
        "failures": 7,
        "window": 1,
        "limit": first["limit"],
        "under_way": 0,
        "due": 1,
    }
    assert [(lane["state"], lane["until"], lane["reason"]) for lane in listed["lanes"][1:]] == [
        ("proves", None, None)
    ] * 2


def test_a_wide_terminal_gets_a_table_and_a_narrow_one_lines_that_fit(
    waiting: Cli, narrow: Callable[[int], None]
) -> None:
    put_to_rest(waiting, "callback", "sms", breaker="open", failures=7, pause_reason="[red]breaker[/red]: dns")
    narrow(WIDE)
    table = waiting("lanes", "list").out
    assert "3 lanes, 2 at rest, 2 with an open breaker" in table
    [line] = [line for line in table.splitlines() if "erp" in line and "release" not in line]
    for word in ("acme", "callback", "breaker open", "Z, in 10 min", "[red]breaker[/red]: dns", "7"):
        assert word in line
    assert "notifier lanes release acme callback erp --reason" in table
    narrow(60)
    lines = waiting("lanes", "list").out.splitlines()
    assert max(map(len, lines[:-1])) <= 60
    assert len([line for line in lines if line.endswith("Z, in 10 min: [red]breaker[/red]: dns")]) == 2
    assert any(line.startswith("acme callback erp ") and line.endswith(": breaker open") for line in lines)


def test_fewer_lanes_than_there_are_say_so_and_those_of_one_tenant_are_counted_alone(waiting: Cli) -> None:
    assert "3 lanes, 0 at rest, 0 with an open breaker; 1 shown, see --limit" in waiting(
        "lanes", "list", "--limit", 1
    ).out.replace("\n", " ")
    assert waiting("lanes", "list", "--tenant", "acme", "--json").json()["total"] == 3
    assert "no lanes yet" in waiting("lanes", "list", "--tenant", "borealis").out
    assert "no tenant named amce" in waiting("lanes", "list", "--tenant", "amce", code=1).err


def test_what_is_switched_off_is_not_forgotten_beside_what_rests(waiting: Cli) -> None:
    assert "switched off" not in waiting("lanes", "list").out
    waiting("switch", "off", "--channel", "sms", "--reason", "x")
    assert "1 switched off besides; see `notifier switch list`" in waiting("lanes", "list").out


# -- release --------------------------------------------------------------------------------------------------------


def test_a_released_receiver_begins_gently_and_who_and_why_are_kept_p12(waiting: Cli) -> None:
    until = put_to_rest(waiting, "callback", "sms", "email")
    assert claimed(waiting) == []
    said = waiting("lanes", "release", "acme", "callback", "erp", "--reason", "they are back", "--by", "ana").out
    assert "released: acme callback erp" in said and "rate_limited" in said
    assert claimed(waiting) == ["callback"]
    waiting("lanes", "release", "acme", "email", "--reason", "relay is up", "--by", "ana")
    assert claimed(waiting) == ["email"], "of two: one is under way at first"
    assert audited(waiting) == [
        (
            "acme",
            "operator:ana",
            "lanes.release",
            {"reason": why, "rested_until": until.isoformat(), "rested_for": "rate_limited"},
        )
        for why in ("they are back", "relay is up")
    ]


def test_what_was_released_is_told_to_scripts_as_it_rested(waiting: Cli) -> None:
    until = put_to_rest(waiting, "sms")
    [lane] = waiting("lanes", "release", "acme", "sms", "--reason", "x", "--json").json()
    assert (lane["target"], lane["state"], lane["until"]) == ("sms", "rests", until.isoformat())


WRONG: list[tuple[tuple[str, ...], str]] = [
    (("amce", "callback", "erp"), "no tenant named amce in the applied configuration"),
    (("borealis", "sms"), "borealis has no sms lanes"),
    (("acme", "callback", "erq"), "acme has no callback lane to erq; there are erp"),
    (("acme", "email"), "nothing rests there; see `notifier lanes list`"),
    (("acme", "sms"), "one delivery at a time tries already"),
]


@pytest.mark.parametrize(("named", "said"), WRONG)
def test_what_cannot_be_released_is_said_with_what_is_there(waiting: Cli, named: tuple[str, ...], said: str) -> None:
    put_to_rest(waiting, "sms", breaker="open", paused_until=NOW)
    assert said in waiting("lanes", "release", *named, "--reason", "x", code=1).err.replace("\n", " ")
    assert audited(waiting) == []


def test_a_reason_is_required(waiting: Cli) -> None:
    put_to_rest(waiting, "callback")
    waiting("lanes", "release", "acme", "callback", code=2)
    assert "say why" in waiting("lanes", "release", "acme", "callback", "--reason", " ", code=1).err
    assert claimed(waiting) != [] and "callback" not in claimed(waiting)


# -- explain --------------------------------------------------------------------------------------------------------


def test_explain_says_that_the_lane_of_what_waits_rests_until_when_and_why_p12(cli: Cli) -> None:
    [answer] = cli.accept(fresh(order(1)))
    cli.route()
    until = put_to_rest(cli, "callback")
    put_to_rest(cli, "sms", breaker="open", paused_until=NOW)
    told = {person["channel"]: person["why"] for person in cli("explain", answer.id, "--json").json()["told"]}
    assert told == {
        "callback": f"its lane rests until {until.isoformat()}: rate_limited",
        "sms": "the breaker of its lane is open: one delivery at a time goes, until one arrives",
        "email": "",
    }
