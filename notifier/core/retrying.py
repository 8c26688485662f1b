"""What follows an attempt: done, another try at a time, or the end. Pure; handed `now` and a random number.

Retry times are full jitter over a table of ceilings (a random moment between 1 s and the ceiling), so that a herd of
failed deliveries spreads out. Callbacks follow the ten steps of Standard Webhooks. A failure with a provider code was
answered (refused); one without never reached the receiver (not sent); a lost answer is `unknown` (promise P4).

A refusal that speaks of the lane or of us, and not of the message, costs none of its tries: it waits, until its life
ends (`expires_at`, which routing gives every notification).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from notifier.core.model import AttemptOutcome, ChannelName, NotificationStatus
from notifier.errors import DeliveryError, OutcomeUnknown, PermanentFailure, TemporaryFailure

#: Ceiling in seconds before try 2, 3, ... per channel. Sums: callbacks 75 h 35 min (Standard Webhooks), e-mail about
#: 29 h (RFC 5321 section 4.5.4.1 asks for days; an alert is stale long before), SMS 2 h.
CEILINGS: dict[ChannelName, tuple[int, ...]] = {
    ChannelName.CALLBACK: (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400),
    ChannelName.EMAIL: (30, 120, 300, 900, 1800, 3600, 7200, 14_400, 28_800, 43_200),
    ChannelName.SMS: (10, 30, 120, 600, 1800, 3600),
}
MIN_DELAY = 1.0  #: seconds
LANE_REST = 30.0  #: seconds a lane rests after a lane-wide failure that names no time
FENCED = "fenced"  #: reason of a failure by which a session kept itself from sending
NO_CONNECTION = "no_connection"  #: of one where all connections that may be held were busy
OURS = frozenset({FENCED, NO_CONNECTION})  #: reasons that speak of us
LONGEST_RETRY_AFTER = 86_400.0  #: seconds; a receiver asking for more gets a try a day
LOOK_UP_AFTER = timedelta(minutes=2)  #: SMS: wait for the status call-back before asking the provider


@dataclass(frozen=True, slots=True)
class Next:
    """What the attempt was, and what the notification becomes."""

    outcome: AttemptOutcome
    status: NotificationStatus
    due_at: datetime | None = None
    reason: str | None = None
    detail: str | None = None
    code: str | None = None
    rest_lane_until: datetime | None = None
    disable_target: bool = False
    waited: bool = False  #: counts for no retry


def seconds_asked(retry_after: str | None, now: datetime) -> float | None:
    """Read Retry-After (RFC 9110): seconds or a date. None when there is none, or nonsense."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, min(LONGEST_RETRY_AFTER, (moment - now).total_seconds()))


def after_success(*, delivered: bool) -> Next:
    """Return what a receipt means."""
    return Next(AttemptOutcome.SENT, NotificationStatus.DELIVERED if delivered else NotificationStatus.SENT)


def after_error(
    error: DeliveryError, channel: ChannelName, tries: int, expires_at: datetime | None, now: datetime, chance: float
) -> Next:
    """Return what follows a failed try. `tries` counts this one but none that waited; `chance` is uniform in [0, 1)."""
    match error:
        case PermanentFailure():
            return _ended(error, NotificationStatus.FAILED)
        case OutcomeUnknown() if channel is ChannelName.SMS:
            return Next(
                AttemptOutcome.UNKNOWN,
                NotificationStatus.UNKNOWN,
                due_at=now + LOOK_UP_AFTER,
                reason=error.reason,
                detail=error.detail,
                code=error.code,
            )
        case TemporaryFailure() | OutcomeUnknown():
            return _again(error, channel, tries, expires_at, now, chance)
    raise TypeError(f"not a delivery error: {type(error).__name__}")


def _again(
    error: TemporaryFailure | OutcomeUnknown,
    channel: ChannelName,
    tries: int,
    expires_at: datetime | None,
    now: datetime,
    chance: float,
) -> Next:
    ceilings, lane_wide = CEILINGS[channel], getattr(error, "lane_wide", False)
    waited = expires_at is not None and (lane_wide or error.reason in OURS)  # without an end it could wait for ever
    asked = min(getattr(error, "retry_after", None) or 0.0, LONGEST_RETRY_AFTER)
    rest = asked or LANE_REST if lane_wide else 0.0
    # Whatever becomes of this message: the others of its lane must not go on calling.
    rest_until = now + timedelta(seconds=rest) if lane_wide else None
    if tries > len(ceilings) and not waited:
        return replace(_ended(error, NotificationStatus.FAILED, "gave_up"), rest_lane_until=rest_until)
    delay = 0.0 if waited else chance * ceilings[tries - 1]  # the lane's rest is what a waiting row waits for
    due = now + timedelta(seconds=max(MIN_DELAY, delay, asked, rest))
    if expires_at is not None and due >= expires_at:
        return replace(_ended(error, NotificationStatus.EXPIRED, "no_time_left"), rest_lane_until=rest_until)
    return Next(
        _outcome(error),
        NotificationStatus.DUE,
        due,
        error.reason,
        error.detail,
        error.code,
        rest_lane_until=rest_until,
        waited=waited,
    )


def _ended(error: DeliveryError, status: NotificationStatus, reason: str | None = None) -> Next:
    return Next(
        _outcome(error),
        status,
        reason=reason or error.reason,
        detail=error.detail or error.reason,
        code=error.code,
        disable_target=getattr(error, "disable", False),
    )


def _outcome(error: DeliveryError) -> AttemptOutcome:
    if isinstance(error, OutcomeUnknown):
        return AttemptOutcome.UNKNOWN
    return AttemptOutcome.REFUSED if error.code else AttemptOutcome.NOT_SENT
