"""Twilio's Message resource as its callers see it: validation, error codes, pages of messages. Decides, does no I/O.

Sources: https://www.twilio.com/docs/messaging/api/message-resource, https://www.twilio.com/docs/iam/test-credentials
(the magic numbers, so that one can move to real test credentials), https://www.twilio.com/docs/api/errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

from notifier.core.sms_text import segments

LONGEST_BODY = 1600  #: characters
LARGEST_PAGE, PAGE = 1000, 50

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_SENDER = re.compile(r"(\+[1-9][0-9]{6,14}|[0-9]{3,8}|(?=.*[A-Za-z])[A-Za-z0-9 +\-_&]{1,11})")
_SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")

#: Recipients that always fail, and how.
MAGIC_TO = {
    "+15005550001": (21211, "The 'To' number is not a valid phone number"),
    "+15005550002": (21612, "The 'To' number is not currently reachable via SMS"),
    "+15005550003": (21408, "Permission to send an SMS has not been enabled for the region of the 'To' number"),
    "+15005550004": (21610, "Attempt to send to unsubscribed recipient"),
    "+15005550009": (21614, "The 'To' number is not a valid mobile number"),
}
#: Senders that always fail, and how. Any other sender is taken.
MAGIC_FROM = {
    "+15005550001": (21212, "The 'From' number is not a valid phone number, short code or sender id"),
    "+15005550007": (21606, "The 'From' number is not a valid, SMS-capable number of your account"),
    "+15005550008": (21611, "The 'From' number has exceeded the maximum number of queued messages"),
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error answer."""

    status: int
    code: int
    message: str

    def body(self) -> dict[str, Any]:
        """In Twilio's form."""
        more = f"https://www.twilio.com/docs/errors/{self.code}"
        return {"code": self.code, "message": self.message, "more_info": more, "status": self.status}


@dataclass(slots=True)
class Sms:
    """A message as the provider keeps it; its status moves on."""

    sid: str
    account_sid: str
    to: str
    sender: str
    body: str
    service: str
    callback: str
    created: datetime
    status: str = "queued"
    sent: datetime | None = None
    #: What became of the status call-backs, newest last: "sent: answered 204".
    told: list[str] = field(default_factory=list)

    def resource(self) -> dict[str, Any]:
        """In Twilio's form."""
        uri = f"{_messages(self.account_sid)}/{self.sid}"
        return {
            "account_sid": self.account_sid,
            "api_version": "2010-04-01",
            "body": self.body,
            "date_created": format_datetime(self.created),
            "date_sent": format_datetime(self.sent) if self.sent else None,
            "date_updated": format_datetime(self.sent or self.created),
            "direction": "outbound-api",
            "error_code": None,
            "error_message": None,
            "from": self.sender or None,
            "messaging_service_sid": self.service or None,
            "num_media": "0",
            "num_segments": str(segments(self.body).count),
            "price": None,
            "price_unit": "USD",
            "sid": self.sid,
            "status": self.status,
            "subresource_uris": {"media": f"{uri}/Media.json"},
            "to": self.to,
            "uri": f"{uri}.json",
        }


def read_request(form: Mapping[str, str], account_sid: str, sid: str, now: datetime) -> Sms | Refusal:
    """Check a request to create a message."""
    to, sender, service = form.get("To", ""), form.get("From", ""), form.get("MessagingServiceSid", "")
    body, callback = form.get("Body", ""), form.get("StatusCallback", "")
    refusal = _refuse_recipient(to) or _refuse_sender(sender, service) or _refuse_content(body, callback)
    return refusal or Sms(sid, account_sid, to, sender, body, service, callback, now)


def _refuse_recipient(to: str) -> Refusal | None:
    if not to:
        return Refusal(400, 21604, "A 'To' phone number is required.")
    if to in MAGIC_TO:
        return Refusal(400, *MAGIC_TO[to])
    return None if _E164.fullmatch(to) else Refusal(400, *MAGIC_TO["+15005550001"])


def _refuse_sender(sender: str, service: str) -> Refusal | None:
    if service and not _SERVICE.fullmatch(service):
        return Refusal(400, 21701, "The Messaging Service resource does not exist.")
    if not sender and not service:
        return Refusal(400, 21603, "A 'From' phone number is required.")
    if sender in MAGIC_FROM:
        return Refusal(400, *MAGIC_FROM[sender])
    return None if not sender or _SENDER.fullmatch(sender) else Refusal(400, *MAGIC_FROM["+15005550001"])


def _refuse_content(body: str, callback: str) -> Refusal | None:
    if not body:
        return Refusal(400, 21602, "Message body is required.")
    if len(body) > LONGEST_BODY:
        return Refusal(400, 21617, "The concatenated message body exceeds the 1600 character limit.")
    if callback and not _is_url(callback):
        return Refusal(400, 21609, "The 'StatusCallback' URL is not a valid URL.")
    return None


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


# -- lists -------------------------------------------------------------------------------------------------------------


def page_of(messages: Sequence[Sms], query: Mapping[str, str], account_sid: str) -> dict[str, Any] | Refusal:
    """One page of messages, given newest first, filtered by To, From, DateSent, DateSent< and DateSent>."""
    try:
        size = min(max(int(query.get("PageSize", PAGE)), 1), LARGEST_PAGE)
        number = max(int(query.get("Page", 0)), 0)
        found = [sms for sms in messages if _matches(sms, query)]
    except ValueError:
        return Refusal(400, 20001, "A parameter of the list is not valid.")
    start = number * size
    shown = found[start : start + size]
    more = start + size < len(found)
    return {
        "messages": [sms.resource() for sms in shown],
        "page": number,
        "page_size": size,
        "start": start,
        "end": start + max(len(shown) - 1, 0),
        "uri": _page_uri(account_sid, query, number),
        "first_page_uri": _page_uri(account_sid, query, 0),
        "next_page_uri": _page_uri(account_sid, query, number + 1) if more else None,
        "previous_page_uri": _page_uri(account_sid, query, number - 1) if number else None,
    }


def _matches(sms: Sms, query: Mapping[str, str]) -> bool:
    """A message not yet sent is found by the day it was created: a look-up must not miss what is still queued."""
    sent = sms.sent or sms.created
    if any(query.get(name, kept) != kept for name, kept in (("To", sms.to), ("From", sms.sender))):
        return False
    if on := query.get("DateSent"):
        first, after = _span(on)
        return first <= sent < after
    not_before, not_after = query.get("DateSent>"), query.get("DateSent<")
    return (not not_before or sent >= _span(not_before)[0]) and (not not_after or sent < _span(not_after)[1])


def _span(text: str) -> tuple[datetime, datetime]:
    """First moment and the moment after the last one: of a day, or of one second. Raises ValueError."""
    if len(text) == len("2026-01-01"):
        day = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
        return day, day + timedelta(days=1)
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment, moment + timedelta(seconds=1)


def _messages(account_sid: str) -> str:
    return f"/2010-04-01/Accounts/{account_sid}/Messages"


def _page_uri(account_sid: str, query: Mapping[str, str], number: int) -> str:
    return f"{_messages(account_sid)}.json?{urlencode({**query, 'Page': str(number)})}"
