"""`notifier switch off|on|list`: stop sending for a tenant, a channel, an event type, an endpoint, and go on again."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from notifier.bootstrap import utc_now
from notifier.cli.current import system
from notifier.cli.printing import fail, print_json, print_table, safe, say
from notifier.cli.who_and_why import By, Reason, actor, told
from notifier.core.ids import LaneId, TenantId, new_id
from notifier.core.model import ChannelName, EventType
from notifier.core.records import AuditEntry
from notifier.core.switches import Switch
from notifier.unit import CommitPoint, Writer

app = typer.Typer(no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]
COLUMNS = ["id", "what", "reason", "by", "since"]


@app.command()
def off(
    reason: Reason,
    tenant: Annotated[str, typer.Option(help="Only this tenant.")] = "",
    channel: Annotated[ChannelName | None, typer.Option(help="Only this channel.")] = None,
    type_: Annotated[str, typer.Option("--type", help="Only this event type, e.g. coolr.alert.opened.")] = "",
    endpoint: Annotated[str, typer.Option(help="Only this endpoint of the tenant.")] = "",
    everything: Annotated[bool, typer.Option("--everything", help="All tenants, channels and types.")] = False,
    by: By = "",
    as_json: AsJson = False,
) -> None:
    """Stop sending what is named; what several options name together. Nothing is lost: it waits."""
    if everything == any((tenant, channel, type_, endpoint)):
        fail("name what to stop (--tenant, --channel, --type, --endpoint), or say --everything")
    _check(tenant, channel, endpoint)
    switch = Switch(
        id=new_id(),
        tenant=tenant,
        channel=channel.value if channel else "",
        kind=_kind(type_),
        endpoint=endpoint,
        reason=told(reason),
        actor=actor(by),
        at=utc_now(),
    )
    with system().store.write(CommitPoint.ADMIN) as tx:
        if not tx.switch_off(switch):
            fail(f"{switch} is off already; see `notifier switch list`")
        _audit(tx, switch, "switch.off", switch.reason, switch.actor, switch.at)
    if as_json:
        print_json(_facts(switch))
    else:
        say(f"off: {safe(switch)}; what is being sent this moment still goes out")
        say(f"go on with: notifier switch on {switch.id} --reason ...")


@app.command()
def on(switch_id: str, reason: Reason, by: By = "", as_json: AsJson = False) -> None:
    """Send again what a switch stopped; it begins gently."""
    with system().store.read() as tx:
        switch = next((one for one in tx.switches() if one.id == switch_id), None)
    if switch is None:
        fail(f"no switch with id {switch_id} is off; see `notifier switch list`")
    _start_gently(switch)
    now, why, who = utc_now(), told(reason), actor(by)
    with system().store.write(CommitPoint.ADMIN) as tx:
        if not tx.switch_on(switch.id):
            fail(f"somebody else turned {switch} on just now")
        _audit(tx, switch, "switch.on", why, who, now)
    system().hints.deliver()
    if as_json:
        print_json(_facts(switch))
    else:
        say(f"on again: {safe(switch)}")


@app.command("list")
def list_switches(as_json: AsJson = False) -> None:
    """List what is off, and how much is held."""
    with system().store.read() as tx:
        found = tx.switches()
        held = sum(stat.held for stat in tx.lane_stats(utc_now()))
    rows = [_facts(switch) for switch in found]
    if as_json:
        print_json({"off": rows, "held": held})
        return
    if not rows:
        say(f"nothing is off; {held} held notifications are on their way back" if held else "nothing is off")
        return
    print_table(f"{len(rows)} off, {held} notifications held", rows, COLUMNS)


def _start_gently(switch: Switch) -> None:
    last: LaneId | None = None
    while True:
        with system().store.write(CommitPoint.ADMIN) as tx:
            last = tx.start_gently(switch, last)
        if last is None:
            return


def _check(tenant: str, channel: ChannelName | None, endpoint: str) -> None:
    policy = system().policies.current().tenants.get(TenantId(tenant))
    if tenant and policy is None:
        fail(f"no tenant named {tenant} in the applied configuration")
    if endpoint and (policy is None or channel not in (None, ChannelName.CALLBACK)):
        fail("an endpoint belongs to a tenant and to callbacks: name it with --tenant and without another --channel")
    if policy is not None and endpoint and endpoint not in {one.name for one in policy.endpoints}:
        fail(f"{tenant} has no endpoint named {endpoint}")


def _kind(text: str) -> str:
    """The template family of an event type, by either name."""
    for type_ in EventType:
        if text in (type_.value, type_.kind):
            return type_.kind
    if text:
        fail(f"no event type is named {text}; known are {', '.join(EventType)}")
    return ""


def _audit(tx: Writer, switch: Switch, action: str, reason: str, who: str, at: datetime) -> None:
    detail = {"what": str(switch), "reason": reason}
    tx.save_audit([AuditEntry(new_id(), TenantId(switch.tenant), at, who, action, f"switch/{switch.id}", detail)])


def _facts(switch: Switch) -> dict[str, Any]:
    return {
        "id": switch.id,
        "what": str(switch),
        "tenant": switch.tenant or None,
        "channel": switch.channel or None,
        "type": switch.kind or None,
        "endpoint": switch.endpoint or None,
        "reason": switch.reason,
        "by": switch.actor,
        "since": switch.at.isoformat(timespec="seconds"),
    }
