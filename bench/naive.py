"""The naive way, done decently: one Celery task per delivery, an ORM status update with its own commit.

Same rendering, signing, mail building and settling functions as ours (they are pure), one held client per process, the
same tables. No attempt rows, no claims, no fencing: a crash loses or doubles. Run by `celery -A bench.naive worker`.
"""

from __future__ import annotations

import os
import smtplib
from datetime import datetime
from functools import cache
from typing import Any

import httpx
from celery import Celery
from celery.signals import setup_logging
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from notifier.bootstrap import System, build, utc_now
from notifier.channels import callback, email
from notifier.channels._smtp import parse_url
from notifier.config import load
from notifier.core import retrying
from notifier.core.ids import AttemptId, new_id
from notifier.core.model import ChannelName
from notifier.errors import DeliveryError
from notifier.logs import set_up
from notifier.ports import Delivery, EmailTarget, EndpointTarget, Receipt
from notifier.store import tables
from notifier.store.rows import message_from
from notifier.transport import Answer

app = Celery("naive", broker=os.environ.get("NOTIFIER_BROKER_URL", ""))
app.conf.update(task_ignore_result=True, task_acks_late=True, task_default_queue="naive", worker_send_task_events=False)


@setup_logging.connect
def _same_logging(**_: Any) -> None:
    set_up("json", "INFO")


class Base(DeclarativeBase):
    """The ORM's view of our tables."""


class Notification(Base):
    """One delivery."""

    __table__ = tables.notifications


class Message(Base):
    """Its content."""

    __table__ = tables.messages


@cache
def system() -> System:
    """Templates, signer and policies of ours, once per pool process."""
    made = build(load({name: value for name, value in os.environ.items() if name.startswith("NOTIFIER_")}), os.environ)
    made.policies.refresh()
    return made


@cache
def sessions() -> sessionmaker[Session]:
    """Connections of this pool process."""
    return sessionmaker(create_engine(system().settings.database_url))


@cache
def http() -> httpx.Client:
    """The held client."""
    return httpx.Client(timeout=15)


@cache
def smtp() -> smtplib.SMTP:
    """The held connection."""
    server = parse_url(system().settings.smtp_url.get_secret_value())
    client = smtplib.SMTP(server.host, server.port, timeout=20)
    client.ehlo()
    return client


@app.task(name="naive.deliver")
def deliver(notification_id: str) -> None:
    """Load, render, send, update, commit."""
    with sessions()() as session:
        row: Any = session.get_one(Notification, notification_id)
        message: Any = session.get_one(Message, row.message_id)
        now = utc_now()
        channel = ChannelName(row.channel)
        delivery = _prepared(row, message, now)
        try:
            receipt = _post(delivery) if channel is ChannelName.CALLBACK else _mail(delivery)
            follows = retrying.after_success(delivered=receipt.delivered)
        except DeliveryError as error:
            follows = retrying.after_error(error, channel, row.tries + 1, row.expires_at, now, 0.5)
        row.status, row.reason, row.tries, row.sent_at = follows.status, follows.reason, row.tries + 1, utc_now()
        session.commit()


def _prepared(row: Any, content: Any, now: datetime) -> Delivery:
    """What our pipeline prepares, by the same functions."""
    columns = ("tenant", "kind", "channel", "locale", "template_hash", "context")
    facts: Any = {name: getattr(content, name) for name in columns}
    message = message_from({**facts, "message_id": content.id})  # type: ignore[arg-type]  # a row is a mapping
    tenant = system().policies.current().tenants[row.tenant]
    target: EndpointTarget | EmailTarget
    if message.channel is ChannelName.CALLBACK:
        endpoint = next(one for one in tenant.endpoints if one.name == row.address)
        secrets = tuple(system().secret(reference) for reference in endpoint.secrets)
        target = EndpointTarget(endpoint.url, secrets, row.id)
    else:
        target = EmailTarget(row.address, tenant.email_from, message_id=f"<{row.id}@127.0.0.1>")
    parts = system().preparation.parts(message, tenant)
    return Delivery(AttemptId(new_id()), row.id, row.tenant, message.channel, target, parts, now)


def _post(delivery: Delivery) -> Receipt:
    target, headers, body = callback.build(delivery)
    answer = http().post(target.url, headers=headers, content=body)
    return callback.classify(Answer(answer.status_code, answer.headers.raw, answer.content), delivery.at)


def _mail(delivery: Delivery) -> Receipt:
    mail = email.build(delivery)
    smtp().sendmail(mail.sender, [mail.recipient], mail.content)
    return Receipt()
