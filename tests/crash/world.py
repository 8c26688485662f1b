"""A day of a small deployment, told so that any process can take it up where the last one died.

Senders, people and providers repeat what was not answered, with the same words; what was answered they leave alone
(the journal is their memory). The processes bring nothing with them but the database. Nobody gives a hint after a
restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from fastapi import FastAPI
from sqlalchemy import func, or_, select
from starlette.testclient import TestClient

from notifier.acting import LinkService
from notifier.core.acceptance import Answer
from notifier.core.events import RawItem
from notifier.core.ids import AttemptId, SessionId, new_id
from notifier.core.links import LinkSigner
from notifier.core.model import ChannelName, ClaimRequest, Event, NewAttempt, NewNotification, NotificationStatus
from notifier.core.order_form import Form
from notifier.core.orders import Action
from notifier.core.records import Swept, WorkerSession
from notifier.engine import Engine, EngineLimits
from notifier.planning import Planner
from notifier.store import open_store
from notifier.store.tables import events, lanes, notifications
from notifier.testing import (
    ACME,
    BASE_URL,
    LINK_KEYS,
    NOW,
    POLICY,
    FakeClock,
    FakeHints,
    alert,
    credential,
    order,
    people,
    pipeline,
)
from notifier.unit import CommitPoint, Writer
from notifier.web.hooks import create_router
from tests.crash.kill import CrashingStore, Kill, Killer
from tests.crash.outside import Journal, Line, Provider, Receiver
from tests.pipeline.road import AtOnce, sweep

SLOTS = 4  #: of every engine here: more is due than it takes at once
STALLED = 2  #: attempts that a stalled worker begins and never ends
POISON = "poison"  #: number of the alert that nobody can plan
LOSES = "order 1043"  #: the answer to the first SMS about it gets lost
APPLIED = POLICY + "\n# as applied in the morning\n"
PATIENCE = 30  #: rounds of five minutes until everything is done


#: What nothing follows on.
DONE = (
    NotificationStatus.SENT,
    NotificationStatus.DELIVERED,
    NotificationStatus.FAILED,
    NotificationStatus.EXPIRED,
    NotificationStatus.CANCELLED,
    NotificationStatus.SUPPRESSED,
)


class Stumbling(Planner):
    """A planner with a mistake in it."""

    def plan(self, tx: Writer, event: Event, now: datetime) -> list[NewNotification]:
        """Fail for one event."""
        if event.subject == f"alert/{POISON}":
            raise ValueError("a mistake of ours")
        return super().plan(tx, event, now)


@dataclass(frozen=True, slots=True)
class Answered:
    """A form that somebody sends: the words that stay the same however often it is sent."""

    name: str  #: also its nonce
    who: str
    number: str  #: the order's
    action: Action | None = None  #: None takes the decision back
    right: bool = True  #: whether the number from the message is typed
    later: bool = False  #: whether everybody heard first of what was answered before


FORMS = (
    Answered("alice-mistypes", "alice", "1042", Action.ACCEPT, right=False),
    Answered("alice-accepts", "alice", "1042", Action.ACCEPT),
    Answered("bob-is-late", "bob", "1042", Action.CANCEL),
    Answered("bob-changes", "bob", "1043", Action.MODIFY),
    Answered("bob-regrets", "bob", "1043", later=True),
    Answered("alice-declines", "alice", "1043", Action.CANCEL, later=True),
)


@dataclass(frozen=True, slots=True)
class Day:
    """What is out of the usual."""

    flood: int = 0  #: more alerts in the morning
    by_hand: bool = False  #: the first worker of the day settles several at once


USUAL = Day()


class UntilIdle:
    """The steps of an engine that goes home when nothing is due."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.engine: Engine | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.pipe, name)

    def claim(self, request: ClaimRequest) -> Any:
        """Claim; stop when that was all."""
        found = self._world.pipe.claim(request)
        if not self._world.due() and self.engine is not None:
            self.engine.stop()
        return found


class World:
    """One process's part of the day."""

    def __init__(self, url: str, journal: Path, kill: Kill | None = None, day: Day = USUAL) -> None:
        self.journal = Journal(journal)
        self.killer = Killer(kill)
        self.sql = open_store(url)
        self.store = CrashingStore(self.sql, self.killer)
        times = self.journal.of("time")
        self.clock = FakeClock(datetime.fromisoformat(times[-1]["at"]) if times else NOW)
        self.restarted = bool(self.journal.of("process"))
        self.journal.add("process", kill=str(kill))
        made = pipeline(self.store, self.clock)
        stumbling = Stumbling(**{field.name: getattr(made.planner, field.name) for field in fields(Planner)})
        self.pipe = replace(made, planner=stumbling)
        self.links = LinkService(self.store, LinkSigner(LINK_KEYS), made.policies, FakeHints(), self.clock, BASE_URL)
        self.channels = {
            ChannelName.EMAIL: Receiver(ChannelName.EMAIL, self.journal, self.killer),
            ChannelName.SMS: Provider(ChannelName.SMS, self.journal, self.killer, LOSES),
            ChannelName.CALLBACK: Receiver(ChannelName.CALLBACK, self.journal, self.killer),
        }
        self.day = day

    # -- the day --------------------------------------------------------------------------------------------------

    def live(self) -> None:
        """Everything that is not done yet."""
        self.apply()
        morning, noon = self.batches()
        self.send_in("morning", morning)
        if self.day.by_hand:
            self.settle_at_once()
        if not self.journal.of("form"):  # from then on a decision waits to become final: no time to rest
            self.rest()
            self.report()
        for form in FORMS:
            self.post(form)
        self.send_in("noon", noon)
        self.stall()
        self.rest()
        self.report()

    def close(self) -> None:
        """The process ends in peace."""
        self.sql.close()

    def batches(self) -> tuple[list[RawItem], list[RawItem]]:
        """What is sent in, in the morning and at noon."""
        flood = [alert(10_000 + number) for number in range(self.day.flood)]
        return [alert(1), alert(2), order(1042), order(1043), *flood], [alert(3), order(1044), alert(POISON)]

    def recover(self) -> None:
        """What the processes do by themselves after a restart, within the first seconds."""
        self.later(seconds=11)
        self.work()

    def later(self, **duration: float) -> None:
        """Time passes, for everybody."""
        self.journal.add("time", at=self.clock.advance(**duration).isoformat())

    # -- from outside ---------------------------------------------------------------------------------------------

    def apply(self) -> None:
        """An operator applies a configuration, and the people of the store."""
        if self.journal.of("applied"):
            return
        with self.store.write(CommitPoint.ADMIN) as tx:
            version = tx.save_policy(APPLIED, "operator", self.clock())
            tx.save_contacts(people(ACME))
        self.journal.add("applied", version=version)

    def send_in(self, name: str, items: Sequence[RawItem]) -> None:
        """A sender hands a batch over until it is answered; the hint to route comes after that."""
        if self.journal.of("answered", name=name):
            return
        self.journal.add("sent in", name=name, ids=[item.value["id"] for item in items])
        self.journal.add("answered", name=name, answers=[answer.facts() for answer in self.accept(items)])
        while self.pipe.route():
            pass

    def accept(self, items: Sequence[RawItem]) -> list[Answer]:
        """Hand events over."""
        return self.pipe.accept(items, credential(ACME))

    def post(self, form: Answered) -> None:
        """Somebody sends a form until there is an answer."""
        if self.journal.of("receipt", name=form.name):
            return
        if form.later:
            self.later(seconds=6)
            self.work()
        self.journal.add("receipt", name=form.name, **self.submit(form))

    def submit(self, form: Answered) -> Line:
        """Open the link of the mail and send the form, the same each time; returns what the page says then."""
        mail = next(
            line
            for line in self.journal.of("received", channel="email")
            if line["address"].startswith(form.who) and f"order {form.number}" in line["text"].lower()
        )
        token = re.findall(rf"See the order:\s+{BASE_URL}/l/(\S+)", mail["text"])[0]
        number = re.findall(r"Your number for this order: (\d\d)", mail["text"])[0]
        visit = self.links.open_token(token, BASE_URL.partition("//")[2])
        assert visit.order is not None
        if not self.journal.of("form", name=form.name):
            self.journal.add("form", name=form.name, token=token, version=visit.order.version)
        [filled] = self.journal.of("form", name=form.name)
        typed = Form(
            action=form.action,
            undo=form.action is None,
            number=number if form.right else f"{(int(number) + 1) % 100:02}",
            nonce=form.name,
            version=filled["version"],
            quantities={line.sku: 3 for line in visit.order.data.lines} if form.action is Action.MODIFY else {},
        )
        answer = self.links.act if form.action else self.links.undo
        acted = answer(visit, typed, "email")
        return {"done": acted.done, "error": acted.error.value if acted.error else None}

    def report(self) -> None:
        """The provider of SMS tells of each that it arrived, until we take it."""
        app = FastAPI()
        app.include_router(create_router(self.store, self.clock, lambda *_: True, BASE_URL))
        provider = TestClient(app, BASE_URL)
        for line in self.journal.of("received", channel="sms"):
            if not self.journal.of("reported", attempt=line["attempt"]):
                answer = provider.post(f"/v1/hooks/twilio/{line['attempt']}", data={"MessageStatus": "delivered"})
                assert answer.status_code == 204, answer.text
                self.journal.add("reported", attempt=line["attempt"], notification=line["notification"])

    # -- from inside ----------------------------------------------------------------------------------------------

    def stall(self) -> None:
        """A worker frees what it took without knowing, takes rows, begins with some, and is never heard of again."""
        if self.journal.of("stalled"):
            return
        session = SessionId(new_id())
        self.journal.add("stalled", session=session)
        self.pipe.start_session(WorkerSession(session, "stalled", 1, self.clock(), self.clock()))
        request = ClaimRequest(session, SLOTS, 1, tuple(ChannelName))
        self.pipe.claim(request)  # the answer gets lost
        self.pipe.free_unheld(session, ())
        rows = self.pipe.claim(request)
        assert self.pipe.beat_session(session)
        begun = sorted(rows, key=lambda row: row.channel is not ChannelName.SMS)[:STALLED]
        self.pipe.begin(
            [NewAttempt(AttemptId(new_id()), row.id, row.tenant, session, row.tries + 1, self.clock()) for row in begun]
        )
        self.later(seconds=11)

    def settle_at_once(self) -> None:
        """A worker, step by step: everything it claimed is sent, and all outcomes are told in one transaction."""
        session = SessionId(new_id())
        self.pipe.start_session(WorkerSession(session, "by hand", 1, self.clock(), self.clock()))
        rows = self.pipe.claim(ClaimRequest(session, SLOTS, 1, tuple(ChannelName)))
        tries = {row.id: AttemptId(new_id()) for row in rows}
        self.pipe.begin(
            [NewAttempt(tries[row.id], row.id, row.tenant, session, row.tries + 1, self.clock()) for row in rows]
        )
        self.pipe.settle(
            [
                self.pipe.outcome(row, tries[row.id], asyncio.run(self.channels[row.channel].send(delivery)))
                for row in rows
                for delivery in [self.pipe.prepare(row, tries[row.id])]
            ]
        )
        self.pipe.end_session(session)

    def work(self) -> None:
        """A delivery worker for as long as something is due, with what its timers do."""
        while sweep(self.pipe) != Swept():
            pass
        while self.pipe.route_left():
            pass
        steps: Any = UntilIdle(self)
        slots = SLOTS + self.day.flood  # who floods does not ask for the slots
        steps.engine = Engine(steps, self.channels, self.clock, EngineLimits(slots=slots))
        asyncio.run(_at_most(steps.engine))
        asyncio.run(self.pipe.look_up_unknowns(self.channels, AtOnce()))

    def rest(self) -> None:
        """Let time pass until nothing is left to do."""
        for _ in range(PATIENCE):
            self.work()
            if not (left := self.left()):
                return
            self.later(minutes=5)
        raise AssertionError(f"never comes to rest: {left}")

    def due(self) -> int:
        """How many rows could be claimed now."""
        now = self.clock()
        awake = or_(lanes.c.paused_until.is_(None), lanes.c.paused_until <= now)
        query = select(func.count()).select_from(notifications.join(lanes, lanes.c.id == notifications.c.lane_id))
        query = query.where(notifications.c.status == NotificationStatus.DUE, notifications.c.due_at <= now, awake)
        with self.sql.engine.connect() as connection:
            return connection.execute(query).scalar_one()

    def left(self) -> list[Line]:
        """What is not done."""
        rows = select(notifications).where(notifications.c.status.not_in(DONE))
        unrouted = select(events).where(events.c.routed_at.is_(None))
        with self.sql.engine.connect() as connection:
            return [dict(row) for query in (rows, unrouted) for row in connection.execute(query).mappings()]


async def _at_most(engine: Engine) -> None:
    async with asyncio.timeout(20):
        await engine.run()


def be(url: str, journal: Path, kill: Kill | None, day: Day) -> None:
    """What a child process does: the day, or what is left of it, up to its death."""
    with journal.with_suffix(".log").open("a") as log, contextlib.redirect_stderr(log):
        structlog.configure([structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])
        structlog.configure(logger_factory=structlog.WriteLoggerFactory(log))
        world = World(url, journal, kill, day)
        try:
            if world.restarted:
                world.recover()
            world.live()
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            world.close()
