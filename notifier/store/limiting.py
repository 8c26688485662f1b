"""Rate limits in SQL: the lanes of a limit, and how much waits in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, func, or_, select, tuple_

from notifier.core.ids import TenantId
from notifier.core.limits import Limit, LimitKey, Limits
from notifier.core.model import ChannelName
from notifier.store.lanes import DUE
from notifier.store.switches import SwitchReads, no_lane_switch
from notifier.store.tables import lanes, notifications


def named(limits: Iterable[Limit]) -> dict[str, Any]:
    """The parameters of OUTSIDE for these limits. Lists, however many they are: SQLite takes no deep expressions."""
    found = list(limits)
    whole = [limit for limit in found if not limit.tenants]
    senders = [limit for limit in found if limit.tenants and not limit.target]
    return {
        "limited_channels": [limit.channel.value for limit in whole],
        "own_senders": [(limit.channel.value, tenant) for limit in whole for tenant in sorted(limit.but)],
        "limited_senders": [(limit.channel.value, tenant) for limit in senders for tenant in sorted(limit.tenants)],
        "limited_endpoints": [(tenant, limit.target) for limit in found if limit.target for tenant in limit.tenants],
    }


def _outside() -> ColumnElement[bool]:
    sender = tuple_(lanes.c.channel, lanes.c.tenant)
    endpoint = tuple_(lanes.c.tenant, lanes.c.target)
    return and_(
        or_(
            lanes.c.channel.not_in(bindparam("limited_channels", expanding=True)),
            sender.in_(bindparam("own_senders", expanding=True)),
        ),
        sender.not_in(bindparam("limited_senders", expanding=True)),
        or_(
            lanes.c.channel != ChannelName.CALLBACK.value,
            endpoint.not_in(bindparam("limited_endpoints", expanding=True)),
        ),
    )


OUTSIDE = _outside()  #: lanes that none of the limits given as parameters has


class LimitReads(SwitchReads):
    """What waits where there is a limit."""

    def waiting_in(self, limits: Limits, most: int, now: datetime) -> Mapping[LimitKey, int]:
        """Due rows by limit, of lanes that may be claimed from; no lane is counted further than `most`."""
        due = (
            select(notifications.c.id)
            .where(
                notifications.c.lane_id == lanes.c.id,
                notifications.c.status == DUE,
                notifications.c.due_at <= now,
            )
            .correlate(lanes)
            .limit(most)
            .subquery()
        )
        count = select(func.count()).select_from(due).correlate(lanes).scalar_subquery()
        awake = or_(lanes.c.paused_until.is_(None), lanes.c.paused_until <= now)
        query = select(lanes.c.tenant, lanes.c.channel, lanes.c.target, count).where(
            lanes.c.next_due_at <= now, awake, ~OUTSIDE, no_lane_switch()
        )
        waiting: Counter[LimitKey] = Counter()
        for tenant, channel, target, rows in self.connection.execute(query, named(limits)):
            key = limits.of_lane(TenantId(tenant), ChannelName(channel), target)
            if key is not None and rows:
                waiting[key] += rows
        return waiting
