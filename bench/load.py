"""The load: events over HTTP on kept connections, each connection sending again as soon as it was answered.

`python -m bench.load PORT KEY BATCH SECONDS CONNECTIONS FIRST` in a process of its own. BATCH events in a request; 0 =
one event that is no list. FIRST numbers the events, so that no two loads send the same. Prints what came of it as JSON.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

import uvloop

LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
ACCEPTED = re.compile(rb'"accepted": ?(\d+)')
MARK = 1234567890123  #: stands in the template where an event's number goes


def event() -> dict[str, Any]:
    """An alert as Coolr would push it: 0.7 KB."""
    now = datetime.now(UTC).isoformat()
    data = {
        "alert_id": f"A{MARK}",
        "alert_type": "OutOfStock",
        "status": "open",
        "outlet": {"code": "O17", "name": "Store 17"},
        "text": "No facing left on the second shelf.",
        "value": 0,
        "threshold": 2,
        "opened_at": now,
        "asset": {"serial": "CLR-20817", "type": "Vertical, two doors", "location": "Next to the till"},
        "product": {"sku": "5449000131805", "name": "Cola Zero 500 ml"},
        "image": {"guid": "6f0b6c1e-5d0e-4a53-9b59-2f1f1f7f3c11"},
    }
    return {
        "specversion": "1.0",
        "id": f"alert-{MARK}",
        "source": "coolr/bench",
        "type": "coolr.alert.opened",
        "time": now,
        "data": data,
    }


class Requests:
    """The bytes of requests that have not been sent yet."""

    def __init__(self, key: str, batch: int, first: int) -> None:
        self._numbers = itertools.count(first)
        self._batch = batch
        self._event = json.dumps(event()).replace("%", "%%").replace(str(MARK), "%(n)d").encode()
        kind = "application/cloudevents-batch+json" if batch else "application/cloudevents+json"
        self._head = (
            f"POST /v1/events HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\nContent-Type: {kind}\r\n"
        ).encode()

    def __next__(self) -> bytes:
        """One more."""
        events = [self._event % {b"n": number} for number in itertools.islice(self._numbers, self._batch or 1)]
        body = b"[" + b",".join(events) + b"]" if self._batch else events[0]
        return b"%sContent-Length: %d\r\n\r\n%s" % (self._head, len(body), body)

    def __iter__(self) -> Iterator[bytes]:
        """They never end."""
        return self


class Sender(asyncio.Protocol):
    """One connection: sends, waits for the whole answer, sends the next."""

    def __init__(self, requests: Requests, until: float, took: list[float], said: Counter[str]) -> None:
        self._requests, self._until, self._took, self._said = requests, until, took, said
        self._buffer = bytearray()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its class
        self._send()

    def _send(self) -> None:
        if time.monotonic() >= self._until:
            self._transport.close()
            return
        self._began = time.monotonic()
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        """Count a whole answer."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        length = LENGTH.search(self._buffer) if end >= 0 else None
        if length is None or len(self._buffer) < end + 4 + int(length[1]):
            return
        self._took.append(time.monotonic() - self._began)
        self._said[self._buffer[9:12].decode()] += 1
        accepted = ACCEPTED.search(self._buffer)
        self._said["accepted"] += int(accepted[1]) if accepted else 0
        self._buffer.clear()
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        if not self.ended.done():
            self.ended.set_result(None)


async def load(port: int, key: str, batch: int, seconds: float, connections: int, first: int) -> dict[str, Any]:
    """Send for so long; returns what was answered."""
    began = time.monotonic()
    took: list[float] = []
    said: Counter[str] = Counter()
    requests = Requests(key, batch, first)
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Sender(requests, began + seconds, took, said), "127.0.0.1", port)
        for _ in range(connections)
    ]
    await asyncio.gather(*(sender.ended for _, sender in made))
    lasted = time.monotonic() - began
    took.sort()
    return {
        "requests": len(took) / lasted,
        "events": said.pop("accepted") / lasted,
        "answers": dict(said),
        "p50": took[len(took) // 2] if took else 0.0,
        "p99": took[len(took) * 99 // 100] if took else 0.0,
        "cpu": time.process_time(),
        "seconds": lasted,
    }


if __name__ == "__main__":
    port, key, batch, seconds, connections, first = sys.argv[1:7]
    result = uvloop.run(load(int(port), key, int(batch), float(seconds), int(connections), int(first)))
    print(json.dumps(result))
