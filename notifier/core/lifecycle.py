"""The life of an alert as this system sees it: what a touch of it means against the last stored state.

Coolr's list says how an alert is now, not what happened: opened, updated or closed is derived. A touch that changes
neither status nor value is `unchanged`. An alert that opens again after it was closed is opened anew.

What is older than the stored state is accepted, since receivers of everything want it, but does not move the state
back; people must not be told what no longer holds. So it is an update, with one exception: an opening that comes after
its own updates, while the alert is still open, is the first that people hear of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from notifier.core.event_data import STATUS_OF, AlertData, AlertStatus
from notifier.core.model import EventType

TYPE_OF = {status: type_ for type_, status in STATUS_OF.items()}


@dataclass(frozen=True, slots=True)
class Life:
    """What a touch of an alert means: the event type (None = unchanged), and the state to keep."""

    type: EventType | None
    state: Mapping[str, Any]


def touch(data: AlertData, time: datetime, state: Mapping[str, Any], *, derived: bool) -> Life:
    """Return what this alert data means, given the stored state ({} when the alert is new)."""
    status = _derive(data, state) if derived else data.status
    if status is None:
        return Life(None, state)
    if _older(time, state):
        still_news = status is AlertStatus.OPEN and state["status"] == AlertStatus.UPDATED
        return Life(EventType.ALERT_OPENED if still_news else EventType.ALERT_UPDATED, state)
    after = {"status": status.value, "value": data.value, "text": data.text, "time": time.isoformat()}
    return Life(TYPE_OF[status], after)


def _derive(data: AlertData, state: Mapping[str, Any]) -> AlertStatus | None:
    before = state.get("status")
    if data.status is AlertStatus.CLOSED:
        return None if before == AlertStatus.CLOSED else AlertStatus.CLOSED
    if before in (None, AlertStatus.CLOSED):
        return AlertStatus.OPEN
    same = (state.get("value"), state.get("text")) == (data.value, data.text)
    return None if same else AlertStatus.UPDATED


def _older(time: datetime, state: Mapping[str, Any]) -> bool:
    return "time" in state and time < datetime.fromisoformat(state["time"])
