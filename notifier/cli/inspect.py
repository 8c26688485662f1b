"""`notifier explain|preview`: why somebody was told or not, and what the message looks like. Both only read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from notifier.cli import explanation, previews
from notifier.cli.current import system
from notifier.cli.printing import block, complain, fail, print_json, safe, say
from notifier.core.ids import TenantId
from notifier.core.model import ChannelName, EventType
from notifier.core.policy import TenantPolicy

Reference = Annotated[str, typer.Argument(help="Our id of the event, or the id its sender gave it.")]
Tenant = Annotated[str, typer.Option(help="The tenant; needed when two tenants' senders use the same id.")]
AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]


class Part(StrEnum):
    """The parts of messages."""

    SUBJECT = "subject"
    HTML = "html"
    TEXT = "text"
    PAYLOAD = "payload"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(explain)
    app.command()(preview)


# -- explain -------------------------------------------------------------------------------------------------------


def explain(
    event: Reference = "",
    tenant: Tenant = "",
    file: Annotated[Path | None, typer.Option(help="Explain the event of this file as if it came now.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print which rules matched an event, who was told and how, and everybody who was not, with the reason."""
    if (file is None) == (not event):
        fail("name an event by its id, or give one with --file", 2)
    if file is not None:
        policy = _policy(tenant)
        told = [explanation.of_item(system(), item, policy) for item in explanation.items_of(file)]
    else:
        told = [explanation.of_stored(system(), event, TenantId(tenant) if tenant else None)]
    if as_json:
        print_json(told[0] if len(told) == 1 else told)
    for one in told if not as_json else []:
        _print_explanation(one)
    if any(one.get("rejected") for one in told):
        raise typer.Exit(1)


def _policy(tenant: str) -> TenantPolicy:
    if not tenant:
        fail("--tenant is needed", 2)
    policy = system().policies.current().tenants.get(TenantId(tenant))
    if policy is None:
        fail(f"no tenant named {tenant} in the applied configuration")
    return policy


def _print_explanation(told: Mapping[str, Any]) -> None:
    if rejected := told.get("rejected"):
        where = f"{rejected['field']}: " if rejected["field"] else ""
        complain(f"it would not be accepted ({rejected['code']}): {where}{rejected['reason']}")
        return
    _print_event(told["event"])
    for note in told["notes"]:
        say(f"[yellow]note:[/yellow] {safe(note)}")
    say(f"\n[bold]rules[/bold] (configuration {told['configuration']})")
    for rule in told["rules"]["matched"]:
        say(f"  [green]matched[/green]  {safe(rule)}")
    for rule, reason in told["rules"]["not_matched"].items():
        say(f"  [dim]no match[/dim] {safe(rule)}: {safe(reason)}")
    _print_people("told" if told["stored"] else "would be told", told["told"])
    _print_people("left out", told["left_out"])
    say(f"\n{safe(told['summary'])}")


def _print_event(event: Mapping[str, Any]) -> None:
    say(f"[bold]{safe(event['type'])}[/bold] {safe(event['subject'])}")
    for name in ("id", "tenant", "source", "source_id", "outlet", "time", "received_at", "routed_at", "sequence"):
        if event.get(name) not in (None, ""):
            say(f"  {name.replace('_', ' '):<12} {safe(event[name])}")


def _print_people(heading: str, people: Sequence[Mapping[str, Any]]) -> None:
    if not people:
        return
    say(f"\n[bold]{heading}[/bold]")
    for person in people:
        whom = " ".join(safe(person[name]) for name in ("role", "channel", "address") if person[name])
        why = f": {safe(person['why'])}" if person["why"] else ""
        status = f"{safe(person['status'])} " if person["status"] != "suppressed" else ""
        say(f"  {whom} - {status}(rule “{safe(person['rule'])}”){why}")


# -- preview -------------------------------------------------------------------------------------------------------


def preview(
    event: Reference = "",
    sample: Annotated[str, typer.Option(help="Instead of an event: a sample of this type.")] = "",
    variant: Annotated[int, typer.Option(min=1, help="Which sample of the type; 1 is the full one.")] = 1,
    channel: Annotated[ChannelName | None, typer.Option(help="Only this channel; default: every channel.")] = None,
    tenant: Tenant = "",
    part: Annotated[Part | None, typer.Option(help="Print only this part, raw.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the parts into this folder instead.")] = None,
    as_json: AsJson = False,
) -> None:
    """Render a stored or sample event as it is sent; links and the number are masked and open nothing."""
    if bool(event) == bool(sample):
        fail("name an event by its id, or a type with --sample", 2)
    channels = [channel] if channel else list(ChannelName)
    if sample:
        policy = _policy(tenant) if tenant else None
        shown = previews.of_sample(system(), _type(sample), variant, channels, policy)
    else:
        shown = previews.of_stored(system(), event, TenantId(tenant) if tenant else None, channels)
    if out is not None:
        _write(shown, out)
    elif as_json:
        print_json([one.facts() for one in shown])
    else:
        _print_previews(shown, part)
    broken = [one.mistake for one in shown if one.mistake]
    for mistake in broken:
        complain(f"{mistake}; the plain form is sent instead")
    if broken:
        raise typer.Exit(1)


def _type(name: str) -> EventType:
    for type_ in EventType:
        if name in (type_.value, type_.kind):
            return type_
    fail(f"no event type named {name}; known are {', '.join(EventType)}", 2)


def _print_previews(shown: Sequence[previews.Preview], part: Part | None) -> None:
    if part is not None:
        texts = [one.parts[part] for one in shown if part in one.parts]
        if not texts:
            fail(f"no message has a part named {part.value}; choose another --channel or --part", 2)
        for text in texts:
            block(text)
        return
    for one in shown:
        say(f"[bold]{one.channel.value}[/bold] {safe(one.whom)}")
        if one.sms is not None:
            say(f"[dim]{one.sms.count} segments, {one.sms.encoding}, {one.sms.units} units[/dim]")
        for name, text in one.parts.items():
            if name != Part.HTML:
                say(f"[dim]{name}[/dim]")
                block(text)
        say("")


def _write(shown: Sequence[previews.Preview], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, one in enumerate(shown, 1):
            for name, text in one.parts.items():
                path = folder / f"{number:02}-{one.channel.value}.{previews.ENDINGS[name]}"
                path.write_text(text, encoding="utf-8")
                say(safe(path))
    except OSError as error:
        fail(f"{folder}: {error.strerror}")
