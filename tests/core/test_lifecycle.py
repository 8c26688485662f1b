"""What a touch of an alert means against the stored state."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from notifier.core.event_data import AlertData
from notifier.core.lifecycle import touch
from notifier.core.model import EventType

T0 = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
OPENED, UPDATED, CLOSED = EventType.ALERT_OPENED, EventType.ALERT_UPDATED, EventType.ALERT_CLOSED
Touch = tuple[int, str, float]  #: minute, status, value

STORIES: dict[str, tuple[bool, list[Touch], list[EventType | None]]] = {
    # story: (derived from records, touches in the order of arrival, what each means)
    "opens, stays, worsens, closes": (
        True,
        [(0, "open", 1), (1, "open", 1), (2, "open", 2), (3, "closed", 2)],
        [OPENED, None, UPDATED, CLOSED],
    ),
    "closed twice": (True, [(0, "open", 1), (1, "closed", 1), (2, "closed", 5)], [OPENED, CLOSED, None]),
    "opens again": (True, [(0, "open", 1), (1, "closed", 1), (2, "open", 1)], [OPENED, CLOSED, OPENED]),
    "first heard of when closed": (True, [(0, "closed", 1)], [CLOSED]),
    # Late: people must not be told what no longer holds.
    "an old opening after the closing": (True, [(5, "closed", 1), (1, "open", 1)], [CLOSED, UPDATED]),
    "an old closing of an alert that is open again": (True, [(5, "open", 1), (1, "closed", 1)], [OPENED, UPDATED]),
    "late touches move nothing back": (
        True,
        [(0, "open", 1), (5, "open", 9), (3, "open", 4), (6, "open", 9)],
        [OPENED, UPDATED, UPDATED, None],
    ),
    "a sender's own words": (
        False,
        [(0, "open", 1), (1, "updated", 1), (2, "closed", 1), (3, "open", 1)],
        [OPENED, UPDATED, CLOSED, OPENED],
    ),
    "the opening comes after its update": (False, [(5, "updated", 2), (0, "open", 1)], [UPDATED, OPENED]),
    "the opening comes after the closing": (False, [(5, "closed", 2), (0, "open", 1)], [CLOSED, UPDATED]),
    "the update comes after the closing": (False, [(5, "closed", 2), (3, "updated", 1)], [CLOSED, UPDATED]),
    "an older closing after a new opening": (False, [(5, "open", 2), (3, "closed", 1)], [OPENED, UPDATED]),
}


@pytest.mark.parametrize("story", STORIES)
def test_life_of_an_alert(story: str) -> None:
    derived, touches, meanings = STORIES[story]
    state: dict[str, object] = {}
    told = []
    for minute, status, value in touches:
        data = AlertData.model_validate(
            {"alert_id": "1", "alert_type": "T", "status": status, "outlet": {"code": "A"}, "value": value}
        )
        life = touch(data, T0 + timedelta(minutes=minute), state, derived=derived)
        told.append(life.type)
        state = dict(life.state)
    assert told == meanings
