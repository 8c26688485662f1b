"""Signed links, short codes and the number: what a message carries so that people without an account can act.

A token is itsdangerous' URL-safe form over [link id, expiry], salted per purpose (P7); nothing personal is in it. The
separator is ``~``, since dots make mail filters see file names. It has one spelling: base64 has aliases, so that what
does not re-encode to itself is refused. The expiry is in the payload and judged against our own clock: a signer whose
clock runs ahead must not make links look expired.

Short codes (16 Crockford base32 characters, 80 bits) and the two-digit number are derived by HMAC and never stored.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from itsdangerous import BadData, URLSafeSerializer

from notifier.core.ids import LinkId, OrderId, RecipientKey
from notifier.core.model import ChannelName, EventType, LinkPlan
from notifier.core.policy import TenantPolicy
from notifier.core.routing import Facts, Planned
from notifier.errors import LinkInvalid

MIN_KEY_BYTES = 32
MOST_TOKEN = 200  #: characters; a longer one is not looked at
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
CODE_LENGTH = 16
NUMBERS = [f"{number}" for number in range(10, 100)]
MOST_IN_SIGHT = len(NUMBERS) // 2  #: of them a number keeps away from; who knows more could guess what is left
MOST_ROUNDS = 2000
_TWO_DIGITS = re.compile(r"(?<!\d)\d{2}(?!\d)")


class LinkPurpose(StrEnum):
    """What a link opens; part of its salt, so that a token of one purpose never serves another (P7)."""

    IMAGE = "image"
    ORDER = "order"
    OPPORTUNITY = "opportunity"


@dataclass(frozen=True, slots=True)
class Opened:
    """A token that verifies."""

    link_id: LinkId
    purpose: LinkPurpose
    expires_at: datetime


class LinkSigner:
    """Signs with the newest key (last), verifies with all."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Raises ValueError without keys or for one of fewer than 32 bytes."""
        if not keys or any(len(key) < MIN_KEY_BYTES for key in keys):
            raise ValueError(f"link keys: at least one, each at least {MIN_KEY_BYTES} bytes")
        self._keys = {_fingerprint(key): key for key in keys}
        self._newest = _fingerprint(keys[-1])
        self._serializers = {
            purpose: URLSafeSerializer(
                list(keys),
                salt=f"notifier.link.{purpose.value}",
                signer_kwargs={"sep": "~", "key_derivation": "hmac", "digest_method": hashlib.sha256},
            )
            for purpose in LinkPurpose
        }
        self._derived = {purpose: _derived(serializer, keys) for purpose, serializer in self._serializers.items()}

    @property
    def key_id(self) -> str:
        """Fingerprint of the newest key."""
        return self._newest

    def token(self, purpose: LinkPurpose, link_id: LinkId, expires_at: datetime) -> str:
        """Return the token of a link."""
        return _signed(self._derived[purpose][-1], link_id, expires_at)

    def verify(self, token: str) -> Opened:
        """Return what a token names, however old it is. Raises LinkInvalid."""
        opened = next((found for purpose in LinkPurpose if (found := self._verified(purpose, token))), None)
        if opened is None:
            raise LinkInvalid
        return opened

    def _verified(self, purpose: LinkPurpose, token: str) -> Opened | None:
        if len(token) > MOST_TOKEN or not token.isascii():
            return None
        try:
            packed, expires = self._serializers[purpose].loads(token)
            link_id = LinkId(str(uuid.UUID(bytes=base64.urlsafe_b64decode(f"{packed}=="))))
            opened = Opened(link_id, purpose, datetime.fromtimestamp(int(expires), UTC))
        except (BadData, ValueError, TypeError, OverflowError, OSError):
            return None
        spellings = (_signed(key, opened.link_id, opened.expires_at) for key in self._derived[purpose])
        return opened if token in spellings else None

    # -- short codes ----------------------------------------------------------------------------------------------

    def sms_code(self, link_id: LinkId, key_id: str | None = None) -> str:
        """Return the short code of a link, the same for as long as its key lives."""
        digest = self._mac(key_id or self._newest, "code", link_id)
        number = int.from_bytes(digest[:10], "big")
        return "".join(CROCKFORD[(number >> shift) & 31] for shift in range(75, -5, -5))

    def code_hash(self, code: str) -> str:
        """What is stored of a code: 80 random bits need no slow hash."""
        return hashlib.sha256(f"notifier.code:{code}".encode()).hexdigest()

    # -- the number -----------------------------------------------------------------------------------------------

    def number(self, order_id: OrderId, key: RecipientKey, round_: int, key_id: str) -> str:
        """Return the two digits of one (order, recipient). Raises LinkInvalid when their key is gone."""
        digest = self._mac(key_id, "number", f"{order_id}\0{key}\0{round_}")
        return NUMBERS[int.from_bytes(digest[:8], "big") % len(NUMBERS)]

    def choose_round(self, order_id: OrderId, key: RecipientKey, forbidden: set[str]) -> tuple[int, str]:
        """Return (round, key id) of a number that stands nowhere else in sight, if there is one."""
        if len(forbidden & set(NUMBERS)) == len(NUMBERS):
            forbidden = set()
        for round_ in range(MOST_ROUNDS):
            if self.number(order_id, key, round_, self._newest) not in forbidden:
                return round_, self._newest
        return 0, self._newest

    def _mac(self, key_id: str, what: str, text: str) -> bytes:
        if key_id not in self._keys:
            raise LinkInvalid
        return hmac.digest(self._keys[key_id], f"notifier.{what}\0{text}".encode(), "sha256")


def _derived(serializer: URLSafeSerializer, keys: Sequence[bytes]) -> tuple[bytes, ...]:
    """What the serializer derives from each key and its salt, worked out once."""
    return tuple(map(serializer.make_signer(serializer.salt).derive_key, keys))


def _signed(derived: bytes, link_id: LinkId, expires_at: datetime) -> str:
    """A token as the serializer writes it, but never compressed: random bytes get no shorter, a dot would mark it."""
    payload = _base64(f'["{_base64(bytes.fromhex(link_id.replace("-", "")))}",{int(expires_at.timestamp())}]'.encode())
    return f"{payload}~{_base64(hmac.digest(derived, payload.encode(), 'sha256'))}"


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def normalise_code(text: str) -> str | None:
    """Read a short code as people type it: any case, spaces and dashes, I and L for 1, O for 0. None = no code."""
    plain = re.sub(r"[\s-]", "", text[:60]).upper().translate(str.maketrans("ILO", "110"))
    return plain if len(plain) == CODE_LENGTH and all(char in CROCKFORD for char in plain) else None


def kept_apart(in_sight: set[str], others: set[str]) -> set[str]:
    """What a number must not be: in sight of its reader, or the number of another open order.

    A page that shows most numbers would give the number away to whoever sees the page alone: then only the other
    orders count, and each guess has its even chance.
    """
    shown = in_sight & set(NUMBERS)
    return others if len(shown) > MOST_IN_SIGHT or shown | others >= set(NUMBERS) else shown | others


def two_digit_numbers(value: Any) -> set[str]:
    """Every number of two digits that a person would see in a context."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return set(_TWO_DIGITS.findall(text))


# -- which links a notification carries ------------------------------------------------------------------------------

#: Kinds whose messages point at the order.
ORDER_TYPES = (EventType.ORDER_RECOMMENDED, EventType.DECISION_RECORDED, EventType.DECISION_UNDONE)


def plan_links(
    planned: Planned,
    facts: Facts,
    policy: TenantPolicy,
    signer: LinkSigner,
    now: datetime,
    new_id: Callable[[], str],
) -> dict[str, LinkPlan]:
    """Return the links of a notification by name. Callbacks carry none; a rule can switch them off."""
    if not planned.links or planned.channel is ChannelName.CALLBACK:
        return {}
    wanted = _wanted(facts)
    if planned.channel is ChannelName.SMS:
        wanted = dict(list(wanted.items())[:1])  # one link fits
    return {
        purpose.value: _plan(purpose, object_, planned, facts, policy, signer, now, new_id)
        for purpose, object_ in wanted.items()
    }


def _wanted(facts: Facts) -> dict[LinkPurpose, str]:
    """Purpose → object, the most important first."""
    found: dict[LinkPurpose, str] = {}
    if facts.order is not None and facts.event.type in ORDER_TYPES:
        found[LinkPurpose.ORDER] = f"order/{facts.order.id}"
    if facts.event.type is EventType.OPPORTUNITY_MISSED:
        found[LinkPurpose.OPPORTUNITY] = f"event/{facts.event.id}"
    image = getattr(facts.data, "image", None)
    if image is not None and (image.guid or image.url) and facts.event.type is not EventType.ALERT_CLOSED:
        found[LinkPurpose.IMAGE] = f"event/{facts.event.id}"
    return found


def _plan(
    purpose: LinkPurpose,
    object_: str,
    planned: Planned,
    facts: Facts,
    policy: TenantPolicy,
    signer: LinkSigner,
    now: datetime,
    new_id: Callable[[], str],
) -> LinkPlan:
    link_id = LinkId(new_id())
    short = planned.channel is ChannelName.SMS
    return LinkPlan(
        id=link_id,
        tenant=policy.id,
        recipient_key=planned.recipient_key,
        recipient_id=planned.recipient_id,
        purpose=purpose.value,
        object=object_,
        object_version=facts.order.version if facts.order and purpose is LinkPurpose.ORDER else None,
        expires_at=_expiry(purpose, facts, policy, now),
        event_id=facts.event.id,
        may_act=planned.may_act and purpose is LinkPurpose.ORDER,
        code_hash=signer.code_hash(signer.sms_code(link_id)) if short else None,
    )


def _expiry(purpose: LinkPurpose, facts: Facts, policy: TenantPolicy, now: datetime) -> datetime:
    """Links to an order outlive its answer-by time, so that a late visitor learns how it ended."""
    view = now + timedelta(days=policy.links.view_days)
    if purpose is not LinkPurpose.ORDER or facts.order is None:
        return view
    end = facts.order.answer_by or now + timedelta(days=policy.links.order_days)
    return max(view, end + timedelta(days=1))


def reference(plan: LinkPlan, key_id: str) -> Mapping[str, Any]:
    """How a frozen message names a link: enough to derive it with the key, useless without."""
    return {
        "id": plan.id,
        "purpose": plan.purpose,
        "expires": int(plan.expires_at.timestamp()),
        "short": plan.code_hash is not None,
        "key_id": key_id,
    }


def _fingerprint(key: bytes) -> str:
    return hashlib.sha256(b"notifier.key:" + key).hexdigest()[:12]
