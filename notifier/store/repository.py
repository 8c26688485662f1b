"""The reader and the writer, put together from one module per area."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection

from notifier.store.acts import ActWrites
from notifier.store.admin import AdminReads, AdminWrites
from notifier.store.claiming import ClaimReads, ClaimWrites
from notifier.store.delivery import DeliveryWrites
from notifier.store.directory import DirectoryReads, DirectoryWrites
from notifier.store.intake import IntakeWrites
from notifier.store.lane_reads import LaneReads
from notifier.store.limiting import LimitReads
from notifier.store.orders import OrderReads, OrderWrites
from notifier.store.reads import EventReads
from notifier.store.routing import RoutingWrites
from notifier.store.sessions import SessionWrites
from notifier.store.switches import SwitchWrites
from notifier.store.unrouted import UnroutedReads

if TYPE_CHECKING:
    from notifier.unit import Reader, Writer


class SqlReader(DirectoryReads, OrderReads, EventReads, LaneReads, AdminReads, LimitReads, UnroutedReads, ClaimReads):
    """Everything that can be asked; lives as long as its transaction."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection


class SqlWriter(
    SqlReader,
    IntakeWrites,
    RoutingWrites,
    ClaimWrites,
    DeliveryWrites,
    SessionWrites,
    SwitchWrites,
    OrderWrites,
    ActWrites,
    DirectoryWrites,
    AdminWrites,
):
    """Everything that can be done; lives as long as its transaction."""


if TYPE_CHECKING:  # the type checker proves that the promises of unit.py are kept

    def _reader(value: SqlReader) -> Reader:
        return value

    def _writer(value: SqlWriter) -> Writer:
        return value
