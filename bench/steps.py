"""Ours by step, each beside its floor: what the same thing costs when only the indispensable part is done.

The real functions, one after another in one thread, in batches as a busy worker has them. Times are wall time per
delivery, except at the socket, where many calls overlap: there it is the CPU time of this process.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from statistics import median
from typing import Any

import aiohttp
import jinja2
import psycopg
import uvloop
from sqlalchemy import text

from bench.bare import many
from bench.stage import Stage
from bench.workload import backlog, system
from notifier.bootstrap import System
from notifier.channels import callback, email
from notifier.channels._smtp import SmtpPool, parse_url
from notifier.core.ids import AttemptId, SessionId, new_id
from notifier.core.model import Claimed, ClaimRequest, NewAttempt
from notifier.core.records import WorkerSession
from notifier.core.signing import signature
from notifier.ports import Delivery, EndpointTarget, Receipt
from notifier.transport import AllowedNetworks, GuardedTransport

BATCH = 100
AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Step:
    """One step of one workload, in microseconds per delivery."""

    workload: str
    step: str
    ours: float
    floor: float
    floor_is: str

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        times = {"ours_us": round(self.ours, 1), "floor_us": round(self.floor, 1)}
        return {"workload": self.workload, "step": self.step, **times, "floor": self.floor_is}


def each(call: Callable[[], object], times: int, rounds: int = 5) -> float:
    """Microseconds of one call: the median of some rounds."""
    found = []
    for _ in range(rounds):
        begun = time.perf_counter()
        for _ in range(times):
            call()
        found.append((time.perf_counter() - begun) / times * 1e6)
    return median(found)


def run(stage: Stage, count: int) -> list[Step]:
    """Every step of both workloads."""
    found = []
    for workload in ("plain", "rich"):
        with stage.copy(backlog(stage, workload, count)) as url:
            found += _database(stage, workload, url, count)
        with stage.copy(backlog(stage, workload, count)) as url:
            found += _in_memory(stage, workload, url)
    return found


# -- claim, attempt, settle --------------------------------------------------------------------------------------------

_RAW_CLAIM = """
UPDATE notifications SET status = 'claimed', claimed_by = 'raw' WHERE id IN (
    SELECT id FROM notifications WHERE lane_id = %s AND status = 'due' ORDER BY due_at LIMIT 100 FOR UPDATE SKIP LOCKED)
RETURNING id, message_id
"""
_RAW_CONTENT = "SELECT id, context FROM messages WHERE id = ANY(%s)"
_RAW_ATTEMPT = """
INSERT INTO attempts (id, notification_id, tenant, session, number, started_at, outcome)
SELECT a, n, 'bench', 'raw', 1, 0, 'open' FROM unnest(%s::text[], %s::text[]) AS given (a, n)
"""
_RAW_SETTLE = "UPDATE notifications SET status = 'delivered', sent_at = 0, claimed_by = NULL WHERE id = ANY(%s)"
_RAW_CLOSE = "UPDATE attempts SET outcome = 'sent', finished_at = 0 WHERE id = ANY(%s)"


def _database(stage: Stage, workload: str, url: str, count: int) -> list[Step]:
    made = system(stage, url)
    _prove(made)
    session, now = _session(made), made.clock()
    claiming: list[float] = []
    beginning: list[float] = []
    settling: list[float] = []
    rounds = max(1, count // BATCH // 2)  # the other half is for the bare driver
    for _ in range(rounds):
        t0 = time.perf_counter()
        rows = claim(made, session, BATCH)
        t1 = time.perf_counter()
        new = [NewAttempt(AttemptId(new_id()), row.id, row.tenant, session, 1, now) for row in rows]
        t2 = time.perf_counter()
        made.pipeline.begin(new)
        t3 = time.perf_counter()
        done = [made.pipeline.outcome(row, one.id, Receipt(delivered=True)) for row, one in zip(rows, new, strict=True)]
        made.pipeline.settle(done)
        t4 = time.perf_counter()
        for kept, seconds in ((claiming, t1 - t0), (beginning, t3 - t2), (settling, t4 - t3)):
            kept.append(seconds / max(1, len(rows)) * 1e6)
    raw = _raw_database(made, url, rounds)
    made.store.close()
    ours = (median(claiming), median(beginning), median(settling))
    names = ("claim", "attempt", "settle")
    told = ("one UPDATE and one SELECT by psycopg", "one INSERT by psycopg", "two UPDATEs by psycopg")
    return [Step(workload, *each_) for each_ in zip(names, ours, raw, told, strict=True)]


def _prove(made: System) -> None:
    """Lanes that are new get few slots until they have proved themselves; a busy worker's have."""
    with made.store.engine.begin() as connection:
        connection.execute(text("UPDATE lanes SET in_flight_window = NULL"))


def _raw_database(made: System, url: str, rounds: int) -> tuple[float, float, float]:
    """The same with the bare driver and nothing but the indispensable columns, committed as ours are."""
    with made.store.engine.connect() as connection:
        lane = connection.execute(text("SELECT lane_id FROM notifications WHERE status = 'due' LIMIT 1")).scalar_one()
    claiming: list[float] = []
    beginning: list[float] = []
    settling: list[float] = []
    with psycopg.connect(url.replace("postgresql+psycopg", "postgresql"), prepare_threshold=0) as raw:
        for _ in range(rounds):
            t0 = time.perf_counter()
            rows = raw.execute(_RAW_CLAIM, (lane,)).fetchall()
            raw.execute(_RAW_CONTENT, ([row[1] for row in rows],)).fetchall()
            raw.commit()
            t1 = time.perf_counter()
            ids, attempts = [row[0] for row in rows], [new_id() for _ in rows]
            raw.execute(_RAW_ATTEMPT, (attempts, ids))
            raw.commit()
            t2 = time.perf_counter()
            raw.execute(_RAW_SETTLE, (ids,))
            raw.execute(_RAW_CLOSE, (attempts,))
            raw.commit()
            t3 = time.perf_counter()
            for kept, seconds in ((claiming, t1 - t0), (beginning, t2 - t1), (settling, t3 - t2)):
                kept.append(seconds / max(1, len(rows)) * 1e6)
    return median(claiming), median(beginning), median(settling)


def _session(made: System) -> SessionId:
    session, now = SessionId(new_id()), made.clock()
    made.pipeline.start_session(WorkerSession(session, "bench", 1, now, now))
    return session


def claim(made: System, session: SessionId, count: int) -> Sequence[Claimed]:
    """Claimed rows, as many as the lane gives."""
    return made.pipeline.claim(ClaimRequest(session, count, count)).rows


# -- render, links, sign, MIME, socket ---------------------------------------------------------------------------------


def _in_memory(stage: Stage, workload: str, url: str) -> list[Step]:
    made = system(stage, url)
    row = claim(made, _session(made), 1)[0]
    delivery = made.pipeline.prepare(row, AttemptId(new_id()))
    found = _plain(stage, made, row, delivery) if workload == "plain" else _rich(stage, made, row, delivery)
    made.store.close()
    return found


def _plain(stage: Stage, made: System, row: Claimed, delivery: Delivery) -> list[Step]:
    target, headers, body = callback.build(delivery)
    assert isinstance(target, EndpointTarget)
    secret, stamp = target.secrets[0], int(delivery.at.timestamp())
    prepare = each(lambda: made.pipeline.prepare(row, delivery.attempt_id), 300)
    sign = each(lambda: signature(target.secrets, target.webhook_id, stamp, body), 2000)
    transport = GuardedTransport(AllowedNetworks.parse(["127.0.0.1"]))

    async def ours() -> None:
        await transport.call("POST", target.url, headers, body)

    return [
        Step("plain", "prepare (JSON)", prepare, each(lambda: _dumped(row), 300), "json.dumps of the stored body"),
        Step("plain", "sign", sign, each(lambda: hmac.digest(secret, body, "sha256"), 2000), "hmac alone"),
        Step(
            "plain", "socket (CPU)", *_sockets(ours, transport.aclose, stage.sink.url(), headers, body), "bare aiohttp"
        ),
    ]


def _dumped(row: Claimed) -> str:
    import json

    return json.dumps(row.message.context.get("payload", row.message.context), ensure_ascii=False)


def _sockets(
    ours: Callable[[], Awaitable[object]],
    close: Callable[[], Awaitable[object]],
    url: str,
    headers: Sequence[tuple[str, str]],
    body: bytes,
) -> tuple[float, float]:
    count = 3000

    async def both() -> tuple[float, float]:
        mine = await _cpu(ours, count)
        await close()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE)) as session:

            async def theirs() -> None:
                async with session.post(url, data=body, headers=headers) as answer:
                    await answer.read()

            return mine, await _cpu(theirs, count)

    return uvloop.run(both())


async def _cpu(send: Callable[[], Awaitable[object]], count: int) -> float:
    await many(send, AT_ONCE, AT_ONCE)
    begun = time.process_time()
    await many(send, count, AT_ONCE)
    return (time.process_time() - begun) / count * 1e6


def _rich(stage: Stage, made: System, row: Claimed, delivery: Delivery) -> list[Step]:
    tenant = made.policies.current().tenants[row.tenant]
    mail = email.build(delivery)
    parts = delivery.parts
    ready = [base64.encodebytes, parts["text"].encode(), parts["html"].encode()]
    key = made.settings.link_key_bytes[0]
    links = len(row.message.context.get("links", {}))
    live = each(lambda: made.preparation.live(row.message, tenant), 500)
    render = each(lambda: made.preparation.parts(row.message, tenant), 50) - live
    build = each(lambda: email.build(delivery), 100)
    return [
        Step("rich", f"links ({links}) and number", live, each(lambda: _macs(key, links), 2000), "hmac for each"),
        Step("rich", "render", render, _jinja(made, row, delivery), "Jinja2 as it comes"),
        Step("rich", "MIME", build, each(lambda: [ready[0](part) for part in ready[1:]], 500), "base64 alone"),  # type: ignore[operator]
        Step("rich", "MIME by the standard library", _standard(delivery), build, "our MIME"),
        Step("rich", "socket (CPU)", *_smtp(stage, mail.content), "raw sockets, pipelined"),
    ]


def _macs(key: bytes, links: int) -> list[bytes]:
    return [hmac.digest(key, b"x" * 40, "sha256") for _ in range(links)]


def _jinja(made: System, row: Claimed, delivery: Delivery) -> float:
    """The same templates, compiled without limits and checks."""
    guarded = made.templates._environment
    plain = jinja2.Environment(
        loader=guarded.loader,
        autoescape=guarded.autoescape,  # noqa: S701  # as the guarded one escapes
        undefined=guarded.undefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    plain.filters.update(guarded.filters)
    links = dict.fromkeys(row.message.context.get("links", {}), "http://127.0.0.1:8000/l/" + "x" * 90)
    context = {**row.message.context, "links": links, "number": "42"}
    kind = f"email/{row.message.kind}"
    found = [plain.get_template(f"{kind}.{end}") for end in ("subject.txt", "html", "txt")]
    return each(lambda: [template.render(context) for template in found], 50)


def _standard(delivery: Delivery) -> float:
    def built() -> bytes:
        message = EmailMessage(policy=SMTP)
        message["From"], message["To"] = "Bench <alerts@bench.example>", "owner@store.example"
        message["Subject"], message["Message-ID"] = delivery.parts["subject"], "<1@bench.example>"
        message.set_content(delivery.parts["text"], cte="base64")
        message.add_alternative(delivery.parts["html"], subtype="html", cte="base64")
        return message.as_bytes()

    return each(built, 20)


def _smtp(stage: Stage, content: bytes) -> tuple[float, float]:
    count, at_once = 1000, 20
    pool = SmtpPool(parse_url(f"smtp://127.0.0.1:{stage.sink.smtp}?starttls=off&connections={at_once}"))

    async def ours() -> None:
        async with pool.begun("alerts@bench.example", "owner@store.example") as dialogue:
            await dialogue.content(content)

    async def both() -> tuple[float, float]:
        mine = await _cpu(ours, count)
        await pool.close()
        begun = time.process_time()
        await asyncio.gather(*(_raw_mails(stage.sink.smtp, content, count // at_once) for _ in range(at_once)))
        return mine, (time.process_time() - begun) / count * 1e6

    return uvloop.run(both())


async def _raw_mails(port: int, content: bytes, count: int) -> None:
    """MAIL, RCPT, DATA and the mail in one write, then four answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.readline()
    for _ in range(count):
        writer.write(b"MAIL FROM:<a@bench.example>\r\nRCPT TO:<o@store.example>\r\nDATA\r\n" + content + b"\r\n.\r\n")
        for _ in range(4):
            await reader.readline()
    writer.close()
    await writer.wait_closed()
