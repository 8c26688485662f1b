"""What follows an attempt (promise P4): a table of errors, and properties of the retry times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.model import AttemptOutcome, ChannelName, NotificationStatus
from notifier.core.retrying import CEILINGS, LANE_REST, LOOK_UP_AFTER, after_error, after_success, seconds_asked
from notifier.errors import DeliveryError, OutcomeUnknown, PermanentFailure, TemporaryFailure

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
EMAIL, SMS, CALLBACK = ChannelName.EMAIL, ChannelName.SMS, ChannelName.CALLBACK

CASES = [
    # a dead host: the request never left, another try is scheduled
    (TemporaryFailure("connect"), EMAIL, 1, AttemptOutcome.NOT_SENT, NotificationStatus.DUE),
    # the server answered "later"
    (TemporaryFailure("busy", code="421"), EMAIL, 1, AttemptOutcome.REFUSED, NotificationStatus.DUE),
    # the server answered "never"
    (PermanentFailure("no_mailbox", code="550"), EMAIL, 1, AttemptOutcome.REFUSED, NotificationStatus.FAILED),
    # P4: a lost answer to a mail or callback is sent again under the same id
    (OutcomeUnknown("timeout"), EMAIL, 1, AttemptOutcome.UNKNOWN, NotificationStatus.DUE),
    (OutcomeUnknown("timeout"), CALLBACK, 1, AttemptOutcome.UNKNOWN, NotificationStatus.DUE),
    # P4: a lost answer to an SMS waits for the status call-back and a look-up, never a blind repeat
    (OutcomeUnknown("timeout"), SMS, 1, AttemptOutcome.UNKNOWN, NotificationStatus.UNKNOWN),
    # the last step of the table was the last try
    (TemporaryFailure("connect"), SMS, len(CEILINGS[SMS]) + 1, AttemptOutcome.NOT_SENT, NotificationStatus.FAILED),
]


@pytest.mark.parametrize(("error", "channel", "tries", "outcome", "status"), CASES)
def test_each_error_has_one_meaning_p4(
    error: DeliveryError, channel: ChannelName, tries: int, outcome: AttemptOutcome, status: NotificationStatus
) -> None:
    follows = after_error(error, channel, tries, None, NOW, 0.5)
    assert (follows.outcome, follows.status) == (outcome, status)


def test_an_unknown_sms_is_looked_at_after_two_minutes_p4() -> None:
    assert after_error(OutcomeUnknown("timeout"), SMS, 1, None, NOW, 0.5).due_at == NOW + LOOK_UP_AFTER


def test_a_retry_that_would_come_after_the_end_of_life_is_not_scheduled() -> None:
    follows = after_error(TemporaryFailure("connect"), EMAIL, 3, NOW + timedelta(seconds=5), NOW, 0.99)
    assert (follows.status, follows.reason, follows.due_at) == (NotificationStatus.EXPIRED, "no_time_left", None)


def test_retry_after_is_honoured_as_the_earliest_time() -> None:
    error = TemporaryFailure("rate_limited", code="429", retry_after=90, lane_wide=True)
    follows = after_error(error, CALLBACK, 1, None, NOW, 0.0)
    assert follows.due_at == NOW + timedelta(seconds=90)
    assert follows.rest_lane_until == NOW + timedelta(seconds=90)


def test_a_lane_wide_failure_without_a_time_rests_the_lane_for_a_while() -> None:
    follows = after_error(TemporaryFailure("login", lane_wide=True), EMAIL, 1, None, NOW, 0.0)
    assert follows.rest_lane_until == NOW + timedelta(seconds=LANE_REST)


@pytest.mark.parametrize("reason", ["rate_limited", "fenced", "no_connection"])
def test_a_refusal_that_speaks_of_the_lane_or_of_us_costs_no_try_however_often(reason: str) -> None:
    error = TemporaryFailure(reason, lane_wide=reason == "rate_limited")
    last = len(CEILINGS[CALLBACK]) + 1
    follows = after_error(error, CALLBACK, last, NOW + timedelta(days=1), NOW, 0.5)
    assert (follows.status, follows.waited) == (NotificationStatus.DUE, True)
    assert not after_error(TemporaryFailure("connect"), CALLBACK, 1, NOW + timedelta(days=1), NOW, 0.5).waited


def test_what_waits_is_due_when_its_lane_is_and_not_on_the_ladder() -> None:
    error = TemporaryFailure("login", lane_wide=True)
    follows = after_error(error, EMAIL, 9, NOW + timedelta(days=1), NOW, 0.99)
    assert follows.due_at == follows.rest_lane_until == NOW + timedelta(seconds=LANE_REST)


def test_waiting_ends_with_the_life_of_the_message() -> None:
    error = TemporaryFailure("rate_limited", retry_after=60, lane_wide=True)
    follows = after_error(error, CALLBACK, 1, NOW + timedelta(seconds=60), NOW, 0.5)
    assert (follows.status, follows.reason) == (NotificationStatus.EXPIRED, "no_time_left")


@pytest.mark.parametrize("life", [timedelta(seconds=60), None])
def test_the_lane_rests_also_when_the_message_that_was_refused_has_ended(life: timedelta | None) -> None:
    error = TemporaryFailure("rate_limited", retry_after=3600, lane_wide=True)
    last = len(CEILINGS[CALLBACK]) + 1
    follows = after_error(error, CALLBACK, last, NOW + life if life else None, NOW, 0.5)
    assert follows.status is (NotificationStatus.EXPIRED if life else NotificationStatus.FAILED)
    assert follows.rest_lane_until == NOW + timedelta(hours=1)


def test_without_an_end_of_life_waiting_counts_as_trying() -> None:
    error = TemporaryFailure("rate_limited", lane_wide=True)
    assert not after_error(error, CALLBACK, 1, None, NOW, 0.5).waited
    assert after_error(error, CALLBACK, len(CEILINGS[CALLBACK]) + 1, None, NOW, 0.5).status is NotificationStatus.FAILED


@given(
    channel=st.sampled_from(ChannelName),
    tries=st.integers(1, 20),
    chance=st.floats(0, 1, exclude_max=True),
    life=st.none() | st.integers(1, 400_000),
)
def test_every_row_is_final_or_due_in_the_future_and_within_its_life(
    channel: ChannelName, tries: int, chance: float, life: int | None
) -> None:
    expires = None if life is None else NOW + timedelta(seconds=life)
    follows = after_error(TemporaryFailure("connect"), channel, tries, expires, NOW, chance)
    if follows.status is NotificationStatus.DUE:
        assert follows.due_at is not None
        assert follows.due_at > NOW
        assert expires is None or follows.due_at < expires
        assert follows.due_at <= NOW + timedelta(seconds=CEILINGS[channel][tries - 1])
    else:
        assert follows.due_at is None


def test_a_receipt_is_final_only_where_taking_it_is() -> None:
    assert after_success(delivered=True).status is NotificationStatus.DELIVERED
    assert after_success(delivered=False).status is NotificationStatus.SENT


def test_callbacks_are_retried_as_long_as_standard_webhooks_advises() -> None:
    assert sum(CEILINGS[CALLBACK]) == 75 * 3600 + 35 * 60 + 5


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 5 ", 5.0),
        ("0", 0.0),
        # RFC 9110: a date; one that has passed is "now"
        ("Mon, 23 Nov 2026 12:01:30 GMT", 90.0),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0.0),
        ("Mon, 23 Nov 2026 12:01:30 -0000", 90.0),
        # at most a day
        ("999999999999999999999", 86_400.0),
        ("Mon, 23 Nov 2099 12:00:00 GMT", 86_400.0),
        # nonsense is no wish
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("soon", None),
        ("Mon, 99999999999999999999 Nov 2026 12:00:00 GMT", None),
        ("Mon, 23 Nov 2026 12:00:00 +99999999999999999999", None),
        ("", None),
        (None, None),
    ],
)
def test_what_a_receiver_asks_for_is_read_in_both_forms(header: str | None, seconds: float | None) -> None:
    assert seconds_asked(header, NOW) == seconds
