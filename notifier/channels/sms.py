"""SMS by Twilio's REST API. A lost answer is never repeated blindly: the API has no idempotency key (P4)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Self
from urllib.parse import urlencode

import httpx
from pydantic import SecretStr

from notifier.config import Settings
from notifier.core.model import ChannelName
from notifier.core.retrying import seconds_asked
from notifier.core.twilio_codes import judge
from notifier.errors import ConfigError, DeliveryError, OutcomeUnknown, PermanentFailure, Problem, TemporaryFailure
from notifier.ports import Delivery, Receipt, SmsTarget
from notifier.transport import TOTAL, AllowedNetworks, GuardedTransport

E164 = re.compile(r"\+[1-9][0-9]{6,14}")
BAD_CALLBACK = "21609"
LISTED = 200  #: messages read in a look-up
MOST_LIST = 1024 * 1024  #: bytes of a list
CLOCKS_DIFFER = timedelta(minutes=1)  #: how far Twilio's clock may be behind ours
#: What a gateway says when it lost the answer from behind it: without a code of Twilio's own, the message may exist.
AMBIGUOUS = {500, 502, 504}


@dataclass(frozen=True, slots=True)
class SmsSettings:
    """What the channel needs."""

    account_sid: str
    auth_token: SecretStr
    base_url: str = "https://api.twilio.com"
    allowed: AllowedNetworks = field(default_factory=AllowedNetworks)
    total: float = TOTAL  #: seconds that one request may take


class SmsChannel:
    """Creates messages."""

    name = ChannelName.SMS
    parts: tuple[str, ...] = ("text",)

    def __init__(self, settings: SmsSettings) -> None:
        self._settings = settings
        self._transport = GuardedTransport(settings.allowed, total=settings.total, most_body=MOST_LIST)
        self._url = f"{settings.base_url}/2010-04-01/Accounts/{settings.account_sid}/Messages.json"
        self._auth = httpx.BasicAuth(settings.account_sid, settings.auth_token.get_secret_value())

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """None without an account. Raises ConfigError for an account without its token."""
        if not settings.twilio_account_sid:
            return None
        if not settings.twilio_auth_token.get_secret_value():
            raise ConfigError([Problem("NOTIFIER_TWILIO_AUTH_TOKEN", "the Twilio account needs its auth token")])
        allowed = AllowedNetworks.parse(settings.callback_allow)
        return cls(
            SmsSettings(settings.twilio_account_sid, settings.twilio_auth_token, settings.twilio_base_url, allowed)
        )

    async def open(self) -> None:
        """Connections are made when needed."""

    async def close(self) -> None:
        """Close held connections."""
        await self._transport.aclose()

    async def send(self, delivery: Delivery) -> Receipt:
        """Create the message once; without the status call-back when Twilio does not accept its address."""
        form = build(delivery)
        try:
            return classify(await self._post(form, delivery.check), delivery.at)
        except PermanentFailure as error:
            if error.code != BAD_CALLBACK or "StatusCallback" not in form:
                raise
        plain = {name: value for name, value in form.items() if name != "StatusCallback"}
        return classify(await self._post(plain, delivery.check), delivery.at)

    async def lookup(self, to: str, body: str, since: datetime, known: Collection[str]) -> Receipt | None:
        """Return the receipt of a message to that number with that body created since, if Twilio has one.

        `known` are the sids of other messages of ours: the same words may have been sent to that number before.

        Raises TemporaryFailure when the list was not read to its end: "not there" means "send again" (P4).
        """
        day = (since - CLOCKS_DIFFER).strftime("%Y-%m-%d")
        query = urlencode({"To": to, "DateSent>": day, "PageSize": LISTED})
        answer = await self._transport.handle_async_request(self._request("GET", f"{self._url}?{query}"))
        if answer.status_code != 200:
            raise TemporaryFailure(
                "look_up", f"Twilio answered HTTP {answer.status_code}", code=str(answer.status_code)
            )
        listed = _json(answer)
        found = [item for item in _items(listed) if item.get("to") == to and item.get("body") == body]
        new = (item for item in found if _created(item) >= since - CLOCKS_DIFFER and item.get("sid") not in known)
        match = next(new, None)
        if match is None and listed.get("next_page_uri"):
            raise TemporaryFailure("look_up", "Twilio lists more messages to this number than are read")
        return Receipt(provider_id=match.get("sid"), detail=match.get("status")) if match else None

    async def _post(self, form: Mapping[str, str], check: Callable[[], None]) -> httpx.Response:
        request = self._request("POST", self._url, urlencode(form).encode())
        request.extensions["check"] = check
        return await self._transport.handle_async_request(request)

    def _request(self, method: str, url: str, body: bytes | None = None) -> httpx.Request:
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        request = httpx.Request(method, url, content=body, headers=headers)
        return next(self._auth.sync_auth_flow(request))


def build(delivery: Delivery) -> dict[str, str]:
    """Return the form of a message."""
    target = delivery.target
    assert isinstance(target, SmsTarget)
    if not target.sender:
        raise PermanentFailure("no_sender", "no sender number: set sms_from of the tenant or NOTIFIER_TWILIO_FROM")
    if not E164.fullmatch(target.to):
        raise PermanentFailure("bad_number", "the number is not in international form (E.164)")
    sender = "MessagingServiceSid" if target.sender.startswith("MG") else "From"
    form = {"To": target.to, sender: target.sender, "Body": delivery.parts["text"]}
    if target.status_callback:
        form["StatusCallback"] = target.status_callback
    if target.valid_seconds is not None:
        form["ValidityPeriod"] = str(target.valid_seconds)
    return form


def classify(answer: httpx.Response, now: datetime) -> Receipt:
    """Return the receipt of an answer, or raise what it means."""
    facts = _json(answer)
    if answer.status_code in (200, 201):
        return Receipt(provider_id=facts.get("sid"), detail=facts.get("status"))
    raise _refusal(answer, facts.get("code"), now)


def _refusal(answer: httpx.Response, code: Any, now: datetime) -> DeliveryError:
    if code is None and answer.status_code in AMBIGUOUS:
        return OutcomeUnknown(
            "gateway", f"HTTP {answer.status_code}, not from Twilio itself", code=str(answer.status_code)
        )
    meant = judge(code if isinstance(code, int) else None, answer.status_code)
    word = str(code) if isinstance(code, int) else str(answer.status_code)
    if not meant.temporary:
        return PermanentFailure("refused", meant.meaning, code=word, disable=meant.disable)
    retry_after = seconds_asked(answer.headers.get("retry-after"), now)
    return TemporaryFailure("refused", meant.meaning, code=word, retry_after=retry_after, lane_wide=meant.lane_wide)


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = json.loads(answer.content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _items(listed: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The messages of a list. Raises TemporaryFailure when the answer is none, or was cut."""
    found = listed.get("messages")
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise TemporaryFailure("look_up", "Twilio's list cannot be read")
    return found


def _created(item: Mapping[str, Any]) -> datetime:
    """When a listed message was created; one that does not say counts as new, so that it is not sent twice."""
    try:
        moment = parsedate_to_datetime(str(item.get("date_created")))
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def verify_signature(auth_token: str) -> Callable[[str, Mapping[str, str], str], bool]:
    """Return a check of X-Twilio-Signature (HMAC-SHA1 over URL and sorted parameters, Twilio's RequestValidator)."""
    from twilio.request_validator import RequestValidator  # imported late: only the web needs it

    validator = RequestValidator(auth_token)

    def verify(url: str, parameters: Mapping[str, str], signature: str) -> bool:
        return bool(auth_token) and bool(validator.validate(url, dict(parameters), signature))

    return verify


CHANNEL = SmsChannel
