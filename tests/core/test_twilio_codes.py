"""Twilio's codes as a table: complete for what its test numbers answer, and consistent."""

from __future__ import annotations

import pytest

from notifier.core.model import NotificationStatus
from notifier.core.twilio_codes import CALLBACK_STATUSES, CODES, Code, judge


@pytest.mark.parametrize(
    ("code", "temporary"),
    [
        # what Twilio's magic test numbers answer
        (21211, False), (21212, False), (21408, False), (21606, False), (21610, False), (21612, False), (21614, False),
        (21611, True),
        # limits and credentials pass or get mended; the alert waits
        (20003, True), (20429, True), (30001, True), (30002, True), (63038, True),
        # carriers and handsets: said after the SMS was taken
        (30003, False), (30004, False), (30005, False), (30006, False), (30007, False), (30008, False), (30034, False),
    ],
)  # fmt: skip
def test_each_known_code_is_temporary_or_permanent(code: int, temporary: bool) -> None:
    assert judge(code, 400).temporary is temporary


@pytest.mark.parametrize(
    ("code", "status", "temporary", "lane_wide"),
    [
        (None, 429, True, True),
        (None, 503, True, False),
        (None, 400, False, False),
        (None, 302, False, False),
        (88888, 400, False, False),  # Twilio adds codes as it goes
        (88888, 503, True, False),
    ],
)
def test_an_unknown_code_is_judged_by_the_http_status(
    code: int | None, status: int, temporary: bool, lane_wide: bool
) -> None:
    meant = judge(code, status)
    assert (meant.temporary, meant.lane_wide) == (temporary, lane_wide)
    assert str(status) in meant.meaning


@pytest.mark.parametrize("code", CODES.values(), ids=str)
def test_each_code_says_what_it_means_and_who_mends_it(code: Code) -> None:
    assert code.meaning
    assert code.fixed_by in ("nobody", "operator", "tenant", "recipient")
    assert not code.lane_wide or code.temporary, "what concerns every message must not end each of them"
    assert not code.disable or not code.temporary


def test_only_a_stop_closes_a_number() -> None:
    assert [number for number, code in CODES.items() if code.disable] == [21610]


def test_states_before_the_hand_over_move_nothing() -> None:
    assert not {"accepted", "scheduled", "queued", "sending"} & set(CALLBACK_STATUSES)
    assert {CALLBACK_STATUSES[name] for name in ("failed", "undelivered")} == {NotificationStatus.FAILED}
