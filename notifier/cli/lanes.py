"""`notifier lanes list|release`: whose receivers are in trouble, what waits for them, and how to go on at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from notifier.bootstrap import utc_now
from notifier.cli.current import system
from notifier.cli.printing import fail, print_json, print_table, safe, say
from notifier.cli.who_and_why import By, Reason, actor, told
from notifier.core.ids import TenantId, new_id
from notifier.core.lanes import Condition, Lane
from notifier.core.model import ChannelName, Priority
from notifier.core.records import AuditEntry, LaneView
from notifier.unit import CommitPoint, Writer

app = typer.Typer(no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]
TenantOption = Annotated[str, typer.Option("--tenant", help="Only this tenant's.")]
ChannelArgument = Annotated[ChannelName, typer.Argument(help="email, sms or callback.")]
TargetArgument = Annotated[str, typer.Argument(help="The endpoint; default: every receiver of the channel.")]
COLUMNS = ["tenant", "channel", "priority", "target", "state", "until", "reason", "failures", "window/limit"]
COLUMNS += ["under_way", "due"]
MOST = 1000
IN_REST = (Condition.OPEN, Condition.RESTS)


@app.command("list")
def list_lanes(
    tenant: TenantOption = "",
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="How many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List lanes, those that rest or have an open breaker first."""
    now, whose = utc_now(), TenantId(tenant) if tenant else None
    with system().store.read() as tx:
        views, counts = tx.lane_views(now, whose, limit), tx.lane_counts(now, whose)
        off = len(tx.switches())
    total, resting, broken = (sum(getattr(one, name) for one in counts) for name in ("lanes", "resting", "open"))
    if as_json:
        facts = [_facts(view, now) for view in views]
        print_json({"lanes": facts, "total": total, "resting": resting, "open": broken})
        return
    if not views:
        _check_tenant(tenant)
        say("no lanes yet: nothing was ever to be sent")
        return
    shown = f"; {len(views)} shown, see --limit" if len(views) < total else ""
    title = f"{total} lanes, {resting} at rest, {broken} with an open breaker{shown}"
    print_table(title, [_row(view, now) for view in views], COLUMNS, _narrow)
    if off:
        say(f"\n[yellow]note:[/yellow] {off} switched off besides; see `notifier switch list`")
    if first := next((view.lane.key for view in views if view.lane.state.rests(now)), None):
        named = f"{safe(first.tenant)} {first.channel.value} {safe(first.target)}"
        say(f"\nto go on before that: notifier lanes release {named} --reason ...")


@app.command()
def release(
    tenant: str,
    channel: ChannelArgument,
    reason: Reason,
    target: TargetArgument = "",
    by: By = "",
    as_json: AsJson = False,
) -> None:
    """End the rest of a receiver's lanes, in every priority; they begin with one delivery under way."""
    now, why, who = utc_now(), told(reason), actor(by)
    released: list[Lane] = []
    while some := _release(TenantId(tenant), channel, target, why, who, now):
        released += some
    if not released:
        fail(_nothing_rests(tenant, channel, target, now))
    system().hints.deliver()
    released.sort(key=lambda lane: (lane.key.target, list(Priority).index(lane.key.priority)))
    if as_json:
        print_json([_lane_facts(lane, now) for lane in released])
        return
    for lane in released:
        say(f"released: {_name(lane)}, which was to rest until {_moment(lane, now)}: {safe(lane.state.rest_reason)}")
    say("each begins with one delivery; when that fails the lane rests again")


def _release(tenant: TenantId, channel: ChannelName, target: str, why: str, who: str, now: datetime) -> Sequence[Lane]:
    with system().store.write(CommitPoint.ADMIN) as tx:
        released = tx.release_lanes(tenant, channel, target or None, now)
        if released:
            _audit(tx, released, why, who, now)
    return released


def _audit(tx: Writer, released: Sequence[Lane], why: str, who: str, now: datetime) -> None:
    """One entry for each receiver."""
    receivers = {(lane.key.tenant, lane.key.channel.value, lane.key.target): lane for lane in released}
    tx.save_audit(
        [
            AuditEntry(
                new_id(),
                tenant,
                now,
                who,
                "lanes.release",
                f"lanes/{channel}/{target}",
                {
                    "reason": why,
                    "rested_until": lane.state.rest_until.isoformat() if lane.state.rest_until else None,
                    "rested_for": lane.state.rest_reason,
                },
            )
            for (tenant, channel, target), lane in receivers.items()
        ]
    )


def _nothing_rests(tenant: str, channel: ChannelName, target: str, now: datetime) -> str:
    """What is there instead."""
    _check_tenant(tenant)
    with system().store.read() as tx:
        lanes = [view.lane for view in tx.lane_views(now, TenantId(tenant), MOST) if view.lane.key.channel is channel]
    targets = sorted({lane.key.target for lane in lanes})
    if not targets:
        return f"{tenant} has no {channel.value} lanes: nothing was ever to be sent there; see `notifier lanes list`"
    if target and target not in targets:
        return f"{tenant} has no {channel.value} lane to {target}; there are {', '.join(targets)}"
    mine = [lane for lane in lanes if target in ("", lane.key.target)]
    if any(lane.state.condition(now) is Condition.PROBES for lane in mine):
        return "nothing rests there: the breaker is open but its rest is over, and one delivery at a time tries already"
    return "nothing rests there; see `notifier lanes list`, and `notifier switch list` for what is off"


def _check_tenant(tenant: str) -> None:
    if tenant and TenantId(tenant) not in system().policies.current().tenants:
        fail(f"no tenant named {tenant} in the applied configuration")


def _lane_facts(lane: Lane, now: datetime) -> dict[str, Any]:
    state, condition = lane.state, lane.state.condition(now)
    return {
        "tenant": lane.key.tenant,
        "channel": lane.key.channel.value,
        "priority": lane.key.priority.value,
        "target": lane.key.target,
        "state": condition.value,
        "until": state.rest_until.isoformat(timespec="seconds") if state.rest_until and state.rests(now) else None,
        "reason": state.rest_reason if condition in (*IN_REST, Condition.PROBES) else None,
        "failures": state.failures,
        "window": state.window,
        "limit": state.limit,
    }


def _facts(view: LaneView, now: datetime) -> dict[str, Any]:
    return _lane_facts(view.lane, now) | {"under_way": view.under_way, "due": view.due}


def _row(view: LaneView, now: datetime) -> dict[str, Any]:
    facts = _facts(view, now)
    return facts | {
        "state": facts["state"].replace("_", " "),
        "until": _moment(view.lane, now),
        "window/limit": f"{facts['window'] or '-'}/{facts['limit'] or '-'}",
        "due": f"{view.due:,}",
    }


def _narrow(row: Mapping[str, Any]) -> list[str]:
    """A lane in a few short lines."""
    said = {name: safe(value) for name, value in row.items()}
    lines = [f"\n[bold]{said['tenant']} {said['channel']} {said['target']}[/bold] {said['priority']}: {said['state']}"]
    if said["until"] or said["reason"]:
        until = f"until {said['until']}" if said["until"] else ""
        lines.append("  " + ": ".join(part for part in (until, said["reason"]) if part))
    lines.append(f"  {said['due']} due, {said['under_way']} under way, window/limit {said['window/limit']}")
    if row["failures"]:
        lines[-1] += f", {said['failures']} failures"
    return lines


def _name(lane: Lane) -> str:
    return f"{safe(lane.key.tenant)} {lane.key.channel.value} {safe(lane.key.target)} {lane.key.priority.value}"


def _moment(lane: Lane, now: datetime) -> str:
    """When the rest is over, in UTC and from now."""
    until = lane.state.rest_until
    if until is None or until <= now:
        return ""
    clock = f"{until:%H:%M:%S}Z" if until.date() == now.date() else f"{until:%m-%d %H:%M}Z"
    return f"{clock}, in {_span((until - now).total_seconds())}"


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"
