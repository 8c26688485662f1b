"""The bare loop: our own transport (or SMTP pool) with N coroutines and ready bytes, no database, nothing recorded.

`python -m bench.bare http|smtp PORT COUNT CONCURRENCY` in a process of its own; prints its CPU seconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from notifier.channels import callback
from notifier.channels._smtp import SmtpPool, parse_url
from notifier.core.ids import AttemptId, NotificationId, TenantId, new_id
from notifier.core.model import ChannelName
from notifier.ports import Delivery, EndpointTarget
from notifier.transport import AllowedNetworks, GuardedTransport

BODY = json.dumps({"type": "coolr.image.processed", "data": ["x" * 60] * 30})  #: about 2 KB


def example(port: int, body: str = BODY) -> Delivery:
    """A callback as the engine hands it to the channel."""
    target = EndpointTarget(f"http://127.0.0.1:{port}/hook", (b"s" * 32,), new_id())
    return Delivery(
        AttemptId(new_id()),
        NotificationId(new_id()),
        TenantId("bench"),
        ChannelName.CALLBACK,
        target,
        {"payload": body},
        datetime.now(UTC),
    )


async def many(send: Callable[[], Awaitable[object]], count: int, concurrency: int) -> None:
    """Call `send` that often, so many at a time."""
    left = iter(range(count))

    async def one_after_another() -> None:
        for _ in left:
            await send()

    await asyncio.gather(*(one_after_another() for _ in range(concurrency)))


async def http(port: int, count: int, concurrency: int) -> None:
    """Post the same bytes through the guarded transport."""
    target, headers, body = callback.build(example(port))
    transport = GuardedTransport(AllowedNetworks.parse(["127.0.0.1"]))

    async def send() -> None:
        await transport.call("POST", target.url, headers, body)

    await many(send, count, concurrency)
    await transport.aclose()


async def smtp(port: int, count: int, concurrency: int) -> None:
    """Hand the same ready mail, a file named last on the command line, over held connections."""
    mail = await asyncio.to_thread(Path(sys.argv[5]).read_bytes)
    pool = SmtpPool(parse_url(f"smtp://127.0.0.1:{port}?starttls=off&connections={concurrency}"))

    async def send() -> None:
        async with pool.begun("alerts@bench.example", "owner@store.example") as dialogue:
            await dialogue.content(mail)

    await many(send, count, concurrency)
    await pool.close()


if __name__ == "__main__":
    loops = {"http": http, "smtp": smtp}
    uvloop.run(loops[sys.argv[1]](*(int(text) for text in sys.argv[2:5])))
    print(json.dumps({"cpu": time.process_time()}))
