"""SMS whose answer was lost: ask the provider before sending again (promise P4).

Twilio's create-message call has no idempotency key, so a repeat is a second SMS. The status call-back may settle it
first; else the provider's list is searched by recipient and body; only what is not there is sent again, and only
while its life lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

import structlog

from notifier.core.model import ChannelName, NotificationStatus
from notifier.core.records import UnknownAttempt
from notifier.core.twilio_codes import CALLBACK_STATUSES
from notifier.errors import DeliveryError, NotifierError
from notifier.ports import Channel, Clock, Receipt, Store, StoreCall
from notifier.unit import CommitPoint

log = structlog.get_logger(__name__)

SAME_WORDS = timedelta(hours=1)  #: before the attempt: whose message the same words may be
AT_ONCE = 20  #: unknowns looked up in one round


@runtime_checkable
class LooksUp(Protocol):
    """A channel that can be asked whether it took a message."""

    async def lookup(self, to: str, body: str, since: datetime, known: Collection[str]) -> Receipt | None:
        """Return the receipt of a message to that number with that body accepted since, if there is one.

        `known` are the provider's names of messages that belong to other attempts.
        """


async def look_up_unknowns(
    channels: Mapping[ChannelName, Channel],
    call: StoreCall,
    store: Store,
    body_of: Callable[[UnknownAttempt], str],
    clock: Clock,
) -> int:
    """Resolve what is due for a look-up. Returns how many were asked about."""
    channel: object = channels.get(ChannelName.SMS)
    if not isinstance(channel, LooksUp):
        return 0

    def waiting() -> list[UnknownAttempt]:
        with store.write(CommitPoint.LOOK_UP) as tx:
            return tx.open_unknowns(ChannelName.SMS, clock(), AT_ONCE)

    unknowns = await call(waiting)
    for unknown in unknowns:
        await _look_up(channel, unknown, body_of, call, store, clock)
    return len(unknowns)


async def _look_up(
    channel: LooksUp,
    unknown: UnknownAttempt,
    body_of: Callable[[UnknownAttempt], str],
    call: StoreCall,
    store: Store,
    clock: Clock,
) -> None:
    receipt = None
    try:
        known = await call(lambda: _known(store, unknown))
        receipt = await channel.lookup(unknown.address, body_of(unknown), unknown.started_at, known)
    except NotifierError as error:
        why = error.reason if isinstance(error, DeliveryError) else type(error).__name__
        log.warning("cannot look an SMS up", action="look_up_failed", reason=why)
        if unknown.expires_at is None or unknown.expires_at > clock():
            return  # it is asked about again
    now = clock()
    status, due_at, reason = _verdict(receipt, unknown.expires_at, now)

    def resolve() -> bool:
        with store.write(CommitPoint.RESOLVE) as tx:
            provider_id = receipt.provider_id if receipt else None
            return tx.resolve_unknown(unknown.attempt_id, status, due_at, provider_id, reason, now)

    await call(resolve)


def _known(store: Store, unknown: UnknownAttempt) -> frozenset[str]:
    with store.read() as tx:
        return tx.provider_ids(unknown.address, unknown.started_at - SAME_WORDS)


def _verdict(
    receipt: Receipt | None, expires_at: datetime | None, now: datetime
) -> tuple[NotificationStatus, datetime | None, str | None]:
    if receipt is not None:
        status = CALLBACK_STATUSES.get(receipt.detail or "", NotificationStatus.SENT)
        return status, None, "provider reported failure" if status is NotificationStatus.FAILED else None
    if expires_at is not None and expires_at <= now:
        return NotificationStatus.EXPIRED, None, "unknown_until_expiry"
    return NotificationStatus.DUE, now, "not_found_at_provider"
