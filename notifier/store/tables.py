"""The tables. One row is one fact; every row carries its tenant, except those of the deployment itself.

Partial indexes keep the hot questions ("what is due in this lane", "what is not routed yet") independent of how much
waits for later or is done.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from notifier.store.types import Id, JsonText, UtcTime, Word

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _tenant() -> Column[str]:
    return Column("tenant", Word(), nullable=False)


def _only(condition: str) -> dict[str, Any]:
    """A partial index on both databases."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


# -- configuration and directory -------------------------------------------------------------------------------------

tenants = Table("tenants", metadata, Column("id", Word(), primary_key=True), Column("name", Text, nullable=False))

config_versions = Table(
    "config_versions",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("text", Text, nullable=False),
    Column("applied_by", Word(), nullable=False),
    Column("applied_at", UtcTime, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Word(), primary_key=True),
    _tenant(),
    Column("name", Word(), nullable=False),
    Column("secret_hash", Word(), nullable=False, unique=True),
    Column("sources", JsonText, nullable=False),
    Column("types", JsonText, nullable=False),
    Column("may_address", Boolean, nullable=False),
    Column("may_read", Boolean, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("disabled_at", UtcTime),
)

outlets = Table(
    "outlets",
    metadata,
    _tenant(),
    Column("code", Word(), nullable=False),
    *(
        Column(name, Text, nullable=False, server_default="")
        for name in (
            "name",
            "external_code",
            "street",
            "city",
            "postal_code",
            "country",
            "timezone",
            "language",
            "phone",
            "market",
            "channel",
            "classification",
        )
    ),
    Column("active", Boolean, nullable=False),
    Column("ordering_paused", Boolean, nullable=False),
    PrimaryKeyConstraint("tenant", "code"),
)

recipients = Table(
    "recipients",
    metadata,
    Column("id", Id(), primary_key=True),
    _tenant(),
    Column("identity", Text, nullable=False),  # normalised e-mail, else phone: who is the same person
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("phone", Text, nullable=False),
    Column("language", Word(), nullable=False),
    Column("timezone", Word(), nullable=False),
    Column("channels", JsonText, nullable=False),
    Column("active", Boolean, nullable=False),
    UniqueConstraint("tenant", "identity"),
)

outlet_contacts = Table(
    "outlet_contacts",
    metadata,
    _tenant(),
    Column("outlet", Word(), nullable=False),
    Column("role", Word(), nullable=False),
    Column("recipient_id", Id(), ForeignKey("recipients.id"), nullable=False),
    Column("position", Integer, nullable=False),  # order of import: first named, first told
    PrimaryKeyConstraint("tenant", "outlet", "role", "recipient_id"),
)

suppressions = Table(
    "suppressions",
    metadata,
    _tenant(),
    Column("channel", Word(), nullable=False),
    Column("address", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant", "channel", "address"),
)

# -- events in ----------------------------------------------------------------------------------------------------

events = Table(
    "events",
    metadata,
    Column("id", Id(), primary_key=True),
    _tenant(),
    Column("source", Text, nullable=False),
    Column("source_id", Text, nullable=False),
    Column("type", Word(), nullable=False),
    Column("subject", Text, nullable=False),
    Column("time", UtcTime, nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("content_hash", Word(), nullable=False),
    Column("outlet", Word()),
    Column("data", JsonText, nullable=False),
    Column("recipients", JsonText, nullable=False),
    Column("key_id", Word()),
    Column("routed_at", UtcTime),
    Column("routing_problem", Text),  # set aside: why no notification could be made (P12)
    UniqueConstraint("tenant", "source", "source_id"),
)
# Each says more than it needs, in words that only the question it is made for repeats. By the statistics of a quiet
# hour, or of an empty table, PostgreSQL takes all that begin with the tenant for equal, and most of them read too much.
SEQUENCED = "sequence > 0"
UNROUTED_IN_ORDER = "routed_at IS NULL AND id <> ''"
UNROUTED_OF_SUBJECT = "routed_at IS NULL AND subject <> ''"
Index("ix_events_unrouted", events.c.tenant, events.c.id, **_only(UNROUTED_IN_ORDER))
_LINE = (events.c.tenant, events.c.subject, events.c.sequence)
Index("uq_events_tenant_subject_sequence", *_LINE, unique=True, **_only(SEQUENCED))
Index("ix_events_unrouted_subject", *_LINE, **_only(UNROUTED_OF_SUBJECT))
Index("ix_events_set_aside", events.c.id, **_only("routing_problem IS NOT NULL"))

subjects = Table(
    "subjects",
    metadata,
    _tenant(),
    Column("subject", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("state", JsonText, nullable=False),
    PrimaryKeyConstraint("tenant", "subject"),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Id(), primary_key=True),
    _tenant(),
    Column("key_id", Word(), nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Column("code", Word(), nullable=False),
    Column("field", Text),
    Column("reason", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("source", Text),
    Column("source_id", Text),
    Column("released_at", UtcTime),
    Column("released_event_id", Id()),
    Index(None, "tenant", "received_at"),
)

# -- notifications ---------------------------------------------------------------------------------------------------

lanes = Table(
    "lanes",
    metadata,
    Column("id", Id(), primary_key=True),
    _tenant(),
    Column("channel", Word(), nullable=False),
    Column("priority", Word(), nullable=False),
    Column("target", Text, nullable=False),  # endpoint name, or the channel's name for e-mail and SMS
    Column("next_due_at", UtcTime),  # at most the earliest due row; NULL = nothing waits
    Column("paused_until", UtcTime),  # the end of its rest: an older word for it, kept in the two names
    Column("pause_reason", Text),
    Column("claimed_at", UtcTime),  # last turn: who waited longest is next
    Column("in_flight_limit", Integer),  # as configured; NULL = any number
    Column("in_flight_window", Integer),  # the limit until it is proven; NULL = proven
    Column("failures", Integer, nullable=False, server_default="0"),  # in a row, of a receiver in trouble
    Column("breaker", Word()),  # "open" until a success
    UniqueConstraint("tenant", "channel", "priority", "target"),
)
Index("ix_lanes_next_due_at", lanes.c.next_due_at, **_only("next_due_at IS NOT NULL"))

messages = Table(
    "messages",
    metadata,
    Column("id", Id(), primary_key=True),
    _tenant(),
    Column("kind", Word(), nullable=False),
    Column("channel", Word(), nullable=False),
    Column("locale", Word(), nullable=False),
    Column("template_hash", Word(), nullable=False),
    Column("context", JsonText, nullable=False),
)

notifications = Table(
    "notifications",
    metadata,
    Column("id", Id(), primary_key=True),
    _tenant(),
    Column("event_id", Id(), ForeignKey("events.id"), nullable=False),
    Column("subject", Text, nullable=False),
    Column("kind", Word(), nullable=False),
    Column("channel", Word(), nullable=False),
    Column("purpose", Word(), nullable=False),
    Column("address", Text, nullable=False),
    Column("recipient_key", Text, nullable=False),
    Column("recipient_id", Id()),
    Column("rule", Text, nullable=False),
    Column("role", Word(), nullable=False),
    Column("lane_id", Id(), ForeignKey("lanes.id"), nullable=False),
    Column("message_id", Id(), ForeignKey("messages.id")),
    Column("status", Word(), nullable=False),
    Column("reason", Text),
    Column("due_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("created_at", UtcTime, nullable=False),
    Column("sent_at", UtcTime),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("waits", Integer, nullable=False, server_default="0"),  # tries that count for no retry
    Column("claimed_by", Id()),
    Column("attempt_id", Id()),  # the last try that ended, or was given up
    Column("last_outcome", Word()),
    UniqueConstraint("tenant", "event_id", "channel", "address", "purpose"),  # promise P2
)
Index("ix_notifications_due", notifications.c.lane_id, notifications.c.due_at, **_only("status = 'due'"))
Index("ix_notifications_in_flight", notifications.c.lane_id, **_only("status = 'claimed'"))
Index("ix_notifications_unknown", notifications.c.due_at, **_only("status = 'unknown'"))
Index("ix_notifications_expiry", notifications.c.expires_at, **_only("status = 'due' AND expires_at IS NOT NULL"))
Index("ix_notifications_held", notifications.c.kind, notifications.c.lane_id, **_only("status = 'held'"))
Index("ix_notifications_held_expiry", notifications.c.expires_at, **_only("status = 'held'"))

notification_events = Table(
    "notification_events",  # a digest has several events
    metadata,
    _tenant(),
    Column("notification_id", Id(), ForeignKey("notifications.id"), nullable=False),
    Column("event_id", Id(), ForeignKey("events.id"), nullable=False),
    PrimaryKeyConstraint("notification_id", "event_id"),
)

switches = Table(
    "switches",  # what operators turned off; "" = all
    metadata,
    Column("id", Id(), primary_key=True),
    _tenant(),
    Column("channel", Word(), nullable=False),
    Column("kind", Word(), nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
    UniqueConstraint("tenant", "channel", "kind", "endpoint"),
)

workers = Table(
    "workers",
    metadata,
    Column("id", Id(), primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("heartbeat_at", UtcTime, nullable=False),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", Id(), primary_key=True),
    _tenant(),
    Column("notification_id", Id(), nullable=False),  # written beside a claimed row only: a key would look again
    Column("session", Id(), nullable=False),
    Column("number", Integer, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
    Column("outcome", Word(), nullable=False),
    Column("reason", Text),
    Column("detail", Text),
    Column("provider_code", Word()),
    Column("provider_id", Text),
    Column("provider_status", Word()),
    Column("reported_at", UtcTime),  # when the provider's last status came
    UniqueConstraint("notification_id", "number"),
)

# -- links, orders, decisions ----------------------------------------------------------------------------------------

links = Table(
    "links",
    metadata,
    Column("id", Id(), primary_key=True),
    _tenant(),
    Column("recipient_key", Text, nullable=False),
    Column("recipient_id", Id()),
    Column("purpose", Word(), nullable=False),
    Column("object", Text, nullable=False),
    Column("object_version", Integer),
    Column("expires_at", UtcTime, nullable=False),
    Column("event_id", Id(), nullable=False),
    Column("notification_id", Id()),
    Column("may_act", Boolean, nullable=False),
    Column("code_hash", Word()),
    Column("revoked_at", UtcTime),
    Index(None, "tenant", "object"),
    Index(None, "tenant", "recipient_key"),
)
Index("uq_links_code_hash", links.c.code_hash, unique=True, **_only("code_hash IS NOT NULL"))

orders = Table(
    "orders",
    metadata,
    Column("id", Id(), primary_key=True),
    _tenant(),
    Column("number", Word(), nullable=False),
    Column("outlet", Word(), nullable=False),
    Column("status", Word(), nullable=False),
    Column("version", Integer, nullable=False),
    Column("event_id", Id(), nullable=False),
    Column("deadline", UtcTime),
    Column("answer_by", UtcTime),
    Column("created_at", UtcTime, nullable=False),
    Column("decision_id", Id()),
    Column("decided_elsewhere", Boolean, nullable=False),
    Column("previous", Id()),
    Index(None, "tenant", "number"),
)

order_versions = Table(
    "order_versions",
    metadata,
    _tenant(),
    Column("order_id", Id(), ForeignKey("orders.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("data", JsonText, nullable=False),
    PrimaryKeyConstraint("order_id", "version"),
)

order_numbers = Table(
    "order_numbers",
    metadata,
    _tenant(),
    Column("order_id", Id(), ForeignKey("orders.id"), nullable=False),
    Column("recipient_key", Text, nullable=False),
    Column("round", Integer, nullable=False),
    Column("key_id", Word(), nullable=False),
    Column("wrong", Integer, nullable=False),
    Column("last_nonce", Word(), nullable=False),
    PrimaryKeyConstraint("tenant", "order_id", "recipient_key"),
    Index(None, "tenant", "recipient_key"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", Id(), primary_key=True),
    _tenant(),
    Column("order_id", Id(), ForeignKey("orders.id"), nullable=False),
    Column("order_version", Integer, nullable=False),
    Column("action", Word(), nullable=False),
    Column("quantities", JsonText, nullable=False),
    Column("reason", Text, nullable=False),
    Column("decided_at", UtcTime, nullable=False),
    Column("final_at", UtcTime, nullable=False),
    Column("nonce", Word(), nullable=False),
    Column("recipient_key", Text),
    Column("recipient_id", Id()),
    Column("decided_by", Text, nullable=False),
    Column("via", Word(), nullable=False),
    Column("undone_at", UtcTime),
    Column("undone_by", Text),
    Column("undone_via", Word()),
    Column("undo_nonce", Word()),
    UniqueConstraint("tenant", "order_id", "nonce"),
)
Index(
    "uq_decisions_undo_nonce",
    decisions.c.tenant,
    decisions.c.order_id,
    decisions.c.undo_nonce,
    unique=True,
    **_only("undo_nonce IS NOT NULL"),
)
# Promise P6 once more, in the database: one decision in force per order, whatever a caller forgets.
Index("uq_decisions_in_force", decisions.c.order_id, unique=True, **_only("undone_at IS NULL"))

cursors = Table(
    "cursors",
    metadata,
    Column("name", Word(), primary_key=True),
    Column("position", JsonText, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Id(), primary_key=True),
    _tenant(),
    Column("at", UtcTime, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Word(), nullable=False),
    Column("object", Text, nullable=False),
    Column("detail", JsonText, nullable=False),
    Index(None, "tenant", "at"),
)
