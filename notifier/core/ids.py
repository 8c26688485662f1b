"""Names for the identifiers, and the one place that makes new ones.

UUIDv7 (RFC 9562): sorts by creation time, so that indexes stay local. Kept as canonical text everywhere.
"""

from __future__ import annotations

from datetime import datetime
from typing import NewType

import uuid_utils

TenantId = NewType("TenantId", str)  #: slug from notifier.toml, e.g. "acme"
EventId = NewType("EventId", str)
OutletCode = NewType("OutletCode", str)  #: Coolr's LocationCode, e.g. "7-11-1001"
RecipientId = NewType("RecipientId", str)
#: Stable name of "this person for this tenant": the recipient id for directory contacts, else "addr:" and a digest
#: of the normalised address. Numbers, links and limits hang on it; it never reveals the address.
RecipientKey = NewType("RecipientKey", str)
NotificationId = NewType("NotificationId", str)
MessageId = NewType("MessageId", str)
LaneId = NewType("LaneId", str)
AttemptId = NewType("AttemptId", str)
LinkId = NewType("LinkId", str)
OrderId = NewType("OrderId", str)  #: ours; Coolr's own order number is `Order.number`
DecisionId = NewType("DecisionId", str)
SessionId = NewType("SessionId", str)
EndpointName = NewType("EndpointName", str)


def new_id() -> str:
    """Return a fresh UUIDv7 as canonical text."""
    return str(uuid_utils.uuid7())


def first_id(moment: datetime) -> str:
    """A text that sorts just before every UUIDv7 made since that millisecond, and after those made before it."""
    milliseconds = f"{int(moment.timestamp() * 1000):012x}"
    return f"{milliseconds[:8]}-{milliseconds[8:]}"
