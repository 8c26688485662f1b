"""What Twilio's error codes and message statuses mean for us: try again or not, and the sentence for people.

Facts from https://www.twilio.com/docs/api/errors and the Message resource. A code that is not listed is judged by its
HTTP status: 4xx is permanent, 429 and 5xx are temporary.
"""

from __future__ import annotations

from dataclasses import dataclass

from notifier.core.model import NotificationStatus


@dataclass(frozen=True, slots=True)
class Code:
    """One error code."""

    temporary: bool
    meaning: str
    fixed_by: str  #: "nobody" = passes, "operator", "tenant", "recipient"
    disable: bool = False  #: the number must not be written to again
    lane_wide: bool = False  #: concerns every message of the sender


CODES: dict[int, Code] = {
    20003: Code(True, "Twilio refused the account's credentials", "operator", lane_wide=True),
    20404: Code(False, "the account or sender does not exist", "operator"),
    20429: Code(True, "too many requests to Twilio", "nobody", lane_wide=True),
    21211: Code(False, "the number is not valid", "tenant"),
    21212: Code(False, "the sender number is not valid", "operator"),
    21266: Code(False, "sender and recipient are the same number", "tenant"),
    21408: Code(False, "sending to that country is not switched on in the Twilio account", "operator"),
    21602: Code(False, "the message has no text", "operator"),
    21606: Code(False, "the sender number cannot send SMS or is not ours", "operator"),
    21608: Code(False, "a trial account may only write to verified numbers", "operator"),
    21609: Code(False, "the status call-back address is not valid", "operator"),
    21610: Code(False, "the recipient replied STOP to this sender", "recipient", disable=True),
    21611: Code(True, "the sender's queue at Twilio is full", "nobody", lane_wide=True),
    21612: Code(False, "no route from this sender to that number", "operator"),
    21614: Code(False, "the number is not a mobile number", "tenant"),
    21617: Code(False, "the message is too long", "operator"),
    21635: Code(False, "the number is a landline", "tenant"),
    21703: Code(True, "the Messaging Service has no sender", "operator", lane_wide=True),
    30001: Code(True, "the message waited too long in a full queue", "nobody"),
    30002: Code(True, "the Twilio account is suspended", "operator", lane_wide=True),
    30003: Code(False, "the handset is off or out of reach", "recipient"),
    30004: Code(False, "the carrier or the handset blocks the message", "recipient"),
    30005: Code(False, "the number is unknown or no longer in use", "tenant"),
    30006: Code(False, "a landline, or a carrier that cannot be reached", "tenant"),
    30007: Code(False, "the carrier filtered the message", "operator"),
    30008: Code(False, "the carrier gave no reason", "nobody"),
    30032: Code(False, "the toll-free sender is not verified", "operator"),
    30034: Code(False, "the sender is not registered for US traffic (A2P 10DLC)", "operator"),
    30036: Code(False, "the message expired before it was sent", "nobody"),
    63038: Code(True, "the account's daily limit is used up", "operator", lane_wide=True),
}

#: Twilio's MessageStatus → ours. What says nothing new (queued, sending ...) is left out.
CALLBACK_STATUSES: dict[str, NotificationStatus] = {
    "sent": NotificationStatus.SENT,
    "delivered": NotificationStatus.DELIVERED,
    "read": NotificationStatus.DELIVERED,
    "undelivered": NotificationStatus.FAILED,
    "failed": NotificationStatus.FAILED,
    "canceled": NotificationStatus.FAILED,
}


def judge(code: int | None, http_status: int) -> Code:
    """Return what an error answer means."""
    if code in CODES:
        return CODES[code]
    if http_status == 429 or http_status >= 500:
        return Code(True, f"Twilio answered HTTP {http_status}", "nobody", lane_wide=http_status == 429)
    return Code(False, f"Twilio refused the message (HTTP {http_status}, code {code})", "operator")
