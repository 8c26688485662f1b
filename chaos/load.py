"""The senders: a steady stream of every kind of event, over HTTP to both webs in turn and some by Celery.

They behave as the documentation tells senders to: an event is kept and sent again until it was answered; one that was
handed to Celery is kept until `GET /v1/events` shows it. What concerns one object is sent one after the other. The
ledger has a line for every event before it is first sent ("made") and one when it is known to be accepted.
Standard input takes "burst N" and "stop"; people.py's decisions run in the same process.

    python -m chaos.load FOLDER SEED PER_SECOND
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import sys
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from celery import Celery

from chaos.ledger import Ledger
from chaos.people import People
from chaos.receivers import lines
from chaos.scene import OUTLETS, SOURCE, TENANTS, Tenant, outlet_code

RETRY = 0.5  #: seconds before an event without an answer is sent again
SEEN_WITHIN = 6.0  #: seconds after which an event handed to Celery is handed over again
BATCH = 20

Event = dict[str, Any]


@dataclass
class Story:
    """What happens to one object, in order: events with the pause before each."""

    tenant: Tenant
    steps: list[tuple[float, Event]]


@dataclass
class Maker:
    """Makes stories; the same seed makes the same ones."""

    chance: random.Random
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def story(self) -> Story:
        """The next object."""
        tenant = self.chance.choices(TENANTS, (6, 3, 1))[0]
        outlet = outlet_code(tenant, self.chance.randrange(OUTLETS))
        kind = self.chance.choices((self._order, self._alert, self._image, self._opportunity), (4, 4, 1, 1))[0]
        return Story(tenant, list(kind(f"{next(self.numbers)}", outlet)))

    def _pause(self) -> float:
        return self.chance.uniform(0.5, 6)

    def _order(self, number: str, outlet: str) -> Iterator[tuple[float, Event]]:
        line = {"sku": "1", "name": "Cola", "suggested_cases": 12, "case_size": 24, "case_price": 1240}
        fate, rev = self.chance.random(), 1
        named = {"order_number": f"O{number}", "outlet": {"code": outlet}}
        recommended = {**named, "lines": [line], "currency": "EUR"}
        yield 0, _event("coolr.order.recommended", f"o{number}", rev, recommended)
        if fate < 0.25:
            rev += 1
            more = {**recommended, "lines": [{**line, "suggested_cases": 24}]}
            yield self._pause(), _event("coolr.order.recommended", f"o{number}", rev, more)
        if fate > 0.85:
            rev += 1
            yield self._pause(), _event("coolr.order.withdrawn", f"o{number}", rev, {**named, "reason": "too late"})
        elif fate > 0.75:
            told = {**named, "decision": "accepted", "decided_at": _now(), "decided_by": "Playbook"}
            yield self._pause(), _event("coolr.order.decided", f"o{number}", rev + 1, told)

    def _alert(self, number: str, outlet: str) -> Iterator[tuple[float, Event]]:
        for rev, (type_, status) in enumerate((("opened", "open"), ("updated", "updated"), ("closed", "closed")), 1):
            data = {"alert_id": f"A{number}", "alert_type": "OutOfStock", "status": status, "value": 3.0 - rev}
            pause = 0 if rev == 1 else self._pause()
            yield pause, _event(f"coolr.alert.{type_}", f"a{number}", rev, {**data, "outlet": {"code": outlet}})
            if rev == self.chance.choice((1, 2, 3)):
                return

    def _image(self, number: str, outlet: str) -> Iterator[tuple[float, Event]]:
        image = {"guid": f"{int(number):032x}", "type": "Stitched"}
        data = {"image_id": f"I{number}", "taken_at": _now(), "image": image, "stock_percentage": 42}
        yield 0, _event("coolr.image.processed", f"i{number}", 1, {**data, "outlet": {"code": outlet}})

    def _opportunity(self, number: str, outlet: str) -> Iterator[tuple[float, Event]]:
        period = {"period_start": "2026-11-01", "period_end": "2026-11-07"}
        data = {"opportunity_id": f"P{number}", **period, "currency": "EUR", "missed_revenue": 12000}
        yield 0, _event("coolr.opportunity.missed", f"p{number}", 1, {**data, "outlet": {"code": outlet}})


def _event(type_: str, name: str, rev: int, data: dict[str, Any]) -> Event:
    """An event; `extra.rev` counts what we said of this object, where its data has room for that."""
    room = type_ not in ("coolr.order.withdrawn", "coolr.order.decided")
    data = {**data, "extra": {"rev": rev}} if room else data
    return {"specversion": "1.0", "id": f"{name}-{rev}", "source": SOURCE, "type": type_, "data": data}


def _now() -> str:
    return (datetime.now(UTC) - timedelta(seconds=5)).isoformat()


class Senders:
    """Sends stories and keeps the ledger."""

    def __init__(self, folder: Path, seed: int) -> None:
        scene = json.loads((folder / "scene.json").read_text())
        self._keys: dict[str, str] = scene["keys"]
        self._webs = itertools.cycle(f"http://127.0.0.1:{port}/v1/events" for port in scene["ports"]["web"])
        self._celery = Celery("chaos", broker=scene["broker_url"], set_as_current=False)
        self._celery.conf.broker_transport_options = {"socket_connect_timeout": 2, "socket_timeout": 5}
        self._ledger = Ledger(folder / "sent.jsonl")
        self._chance = random.Random(seed)
        self._maker = Maker(random.Random(seed + 1))
        self._running: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20))

    # -- the stream ------------------------------------------------------------------------------------------------

    async def stream(self, per_second: float) -> None:
        """New stories until stopped; on average two events each."""
        while not self._stopping:
            self._start(self._tell(self._maker.story()))
            await asyncio.sleep(self._chance.expovariate(per_second / 2))

    def burst(self, count: int) -> None:
        """Many at once, so that there is work due when a fault comes."""
        stories = [self._maker.story() for _ in range(count)]
        for tenant in TENANTS:
            mine = [story for story in stories if story.tenant == tenant]
            for start in range(0, len(mine), BATCH):
                self._start(self._tell_together(mine[start : start + BATCH]))

    async def finish(self) -> None:
        """No new stories; those that began are told to their end."""
        self._stopping = True
        while self._running:
            await asyncio.wait(self._running)
        await self.http.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    # -- one story -------------------------------------------------------------------------------------------------

    async def _tell(self, story: Story) -> None:
        way = self._by_celery if self._chance.random() < 0.2 else self._by_http
        for pause, event in story.steps:
            await asyncio.sleep(pause if not self._stopping else 0)
            self._made(story, event)
            await way(story.tenant.id, event)

    async def _tell_together(self, stories: list[Story]) -> None:
        firsts = [story.steps.pop(0)[1] for story in stories]
        for story, event in zip(stories, firsts, strict=True):
            self._made(story, event)
        await self._batch(stories[0].tenant.id, firsts)
        for story in stories:
            self._start(self._tell(story))

    def _made(self, story: Story, event: Event) -> None:
        data = event["data"]
        self._ledger.write(
            what="made",
            tenant=story.tenant.id,
            id=event["id"],
            type=event["type"],
            outlet=data["outlet"]["code"],
            rev=int(event["id"].rpartition("-")[2]),
        )

    def _accepted(self, tenant: str, id_: str, how: str, status: str, event: str | None) -> None:
        self._ledger.write(what="accepted", tenant=tenant, id=id_, how=how, status=status, event=event)

    # -- HTTP ------------------------------------------------------------------------------------------------------

    async def _by_http(self, tenant: str, event: Event) -> None:
        answer = await self._post(tenant, event, "application/cloudevents+json")
        self._note(tenant, event["id"], answer["results"][0])

    async def _batch(self, tenant: str, events: list[Event]) -> None:
        answer = await self._post(tenant, events, "application/cloudevents-batch+json")
        for event, result in zip(events, answer["results"], strict=True):
            self._note(tenant, event["id"], result)

    def _note(self, tenant: str, id_: str, result: dict[str, Any]) -> None:
        self._accepted(tenant, id_, "http", result["status"], result.get("id"))

    async def _post(self, tenant: str, body: Any, media: str) -> dict[str, Any]:
        """Until it was answered: no answer and 503 both mean "send the same again"."""
        headers = {"Authorization": f"Bearer {self._keys[tenant]}", "Content-Type": media}
        content = json.dumps(body).encode()
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with self.http.post(next(self._webs), data=content, headers=headers) as answer:
                    if answer.status == 202:
                        told: dict[str, Any] = await answer.json()
                        return told
                    if answer.status != 503:
                        status, text = f"http {answer.status}", (await answer.text())[:300]
                        many = body if isinstance(body, list) else [body]
                        return {"results": [{"status": status, "reason": text}] * len(many)}
            await asyncio.sleep(RETRY)

    # -- Celery ------------------------------------------------------------------------------------------------------

    async def _by_celery(self, tenant: str, event: Event) -> None:
        while True:
            published = await asyncio.to_thread(self._publish, tenant, event)
            for _ in range(int(SEEN_WITHIN / RETRY) if published else 2):
                await asyncio.sleep(RETRY)
                if (found := await self._seen(tenant, event["id"])) is not None:
                    return self._accepted(tenant, event["id"], "celery", "accepted", found)

    def _publish(self, tenant: str, event: Event) -> bool:
        try:
            self._celery.send_task("notifier.consume", args=[event, tenant], queue="intake", retry=False)
        except Exception:  # whatever the broker's client raises: it is sent again
            return False
        return True

    async def _seen(self, tenant: str, id_: str) -> str | None:
        filters = json.dumps({"source_id": {"operator": "=", "value": id_}})
        headers = {"Authorization": f"Bearer {self._keys[tenant]}"}
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with self.http.get(next(self._webs), params={"filters": filters}, headers=headers) as answer:
                if answer.status == 200 and (records := (await answer.json())["records"]):
                    return str(records[0]["id"])
        return None


async def main(folder: Path, seed: int, per_second: float) -> None:
    """Until told to stop; ends when every event was answered and every person is done."""
    senders = Senders(folder, seed)
    people = People(folder, seed)
    stream, reading = asyncio.create_task(senders.stream(per_second)), asyncio.create_task(people.live())
    async for line in lines(sys.stdin):
        word, _, number = line.partition(" ")
        if word.strip() == "stop":
            break
        senders.burst(int(number))
    await asyncio.gather(stream, senders.finish())
    people.stop()
    await reading


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
