"""What is outside of the killed process and therefore outlives it: senders, receivers, people, and the time.

One file to which whole lines are appended. It is not synced: the process dies in these tests, not the machine.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from notifier.core.model import ChannelName
from notifier.errors import OutcomeUnknown
from notifier.ports import Delivery, EmailTarget, EndpointTarget, Receipt
from tests.crash.kill import Killer, Moment, sending

Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Journal:
    """Who saw what, in the order of seeing."""

    path: Path

    def add(self, what: str, **facts: Any) -> None:
        """Write a line, in one piece: a reader never sees half of it."""
        line = json.dumps({"what": what, **facts}) + "\n"
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            assert os.write(file, line.encode()) == len(line)
        finally:
            os.close(file)

    def of(self, what: str, **facts: Any) -> list[Line]:
        """Lines of that sort with those facts, oldest first."""
        if not self.path.exists():
            return []
        lines = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [line for line in lines if line.items() >= {"what": what, **facts}.items()]


@dataclass
class Receiver:
    """A mail server, a provider or an endpoint: takes everything, and remembers it.

    The answer to one SMS (the first about `loses`) gets lost on its way back.
    """

    name: ChannelName
    journal: Journal
    killer: Killer
    loses: str = ""
    parts: tuple[str, ...] = ()

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def send(self, delivery: Delivery) -> Receipt:
        """Take it."""
        await asyncio.sleep(0)  # other slots come in between, as on a network
        delivery.check()
        self.killer.passing(sending(self.name), Moment.BEFORE)
        text = delivery.parts.get("text", "")
        lost = bool(self.loses) and self.loses in text and not self.journal.of("received", lost=True)
        self.journal.add("received", lost=lost, text=text, at=delivery.at.isoformat(), **_seen(delivery))
        self.killer.passing(sending(self.name), Moment.AFTER)
        await asyncio.sleep(0)
        if lost:
            raise OutcomeUnknown("timeout", "the answer got lost")
        return Receipt(provider_id=f"at-{delivery.attempt_id}", delivered=self.name is ChannelName.CALLBACK)


class Provider(Receiver):
    """A receiver of SMS that can be asked what it has taken."""

    async def lookup(self, to: str, body: str, since: datetime, known: Collection[str]) -> Receipt | None:
        """Return the receipt of what it took, unless it belongs to another attempt."""
        taken = self.journal.of("received", channel=self.name.value, address=to, text=body)
        named = [f"at-{line['attempt']}" for line in taken if datetime.fromisoformat(line["at"]) >= since]
        return next((Receipt(provider_id=name) for name in named if name not in known), None)


def _seen(delivery: Delivery) -> Line:
    """What a receiver can tell one message from another by."""
    match delivery.target:
        case EmailTarget() as target:
            address, identity = target.to, target.message_id
        case EndpointTarget() as target:
            address, identity = target.url, target.webhook_id
        case target:
            address, identity = target.to, f"{target.to} {delivery.parts['text']}"
    content = hashlib.sha256(json.dumps(dict(delivery.parts), sort_keys=True).encode()).hexdigest()
    return {
        "channel": delivery.channel.value,
        "address": address,
        "identity": identity,  # what a receiver knows a repeat by
        "notification": delivery.notification_id,
        "attempt": delivery.attempt_id,
        "content": content,
    }
