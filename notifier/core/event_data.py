"""The `data` of each event type, as strict models: what a sender may write, and what templates may rely on.

Coolr documents no pushed payload; field meanings follow its public API (docs/reference/events.md says which names are
ours). Coolr's own PascalCase records are mapped onto these by notifier.sources.coolr. Money is integer minor units
(cents) beside an ISO 4217 `currency`; times are ISO 8601 with offset; texts are capped. Unknown fields are refused by
name, so that a typing mistake is not a silent loss; everything extra belongs into `extra`.
"""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from notifier.core.model import EventType

_KEY, _GUID, _CURRENCY = r"^[^\x00-\x1f\x7f]+$", r"^[0-9A-Za-z-]{8,64}$", r"^[A-Z]{3}$"
#: What a sender is told when a text does not fit.
PATTERNS = {
    _KEY: "must not be empty or hold control characters",
    _GUID: "must be 8 to 64 letters, digits and dashes",
    _CURRENCY: "must be three capital letters (ISO 4217)",
}


def _in_calendar(value: date) -> date:
    """Dates far off are mistakes (an empty date of .NET is the year 1), and arithmetic with them would overflow."""
    if not 2000 <= value.year <= 2100:
        raise ValueError("must lie between the years 2000 and 2100")
    return value


def _https(value: str) -> str:
    try:
        parts = urlsplit(value)
        plain = parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        plain = False
    if not plain or not value.isprintable() or " " in value or "\\" in value:
        raise ValueError("must be an https URL without user name, spaces and control characters")
    return value


Text = Annotated[str, StringConstraints(max_length=200)]
LongText = Annotated[str, StringConstraints(max_length=2000)]
Key = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=_KEY)]
Guid = Annotated[str, StringConstraints(pattern=_GUID)]
Url = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_https)]
Moment = Annotated[AwareDatetime, AfterValidator(_in_calendar)]  #: ISO 8601 with offset
Day = Annotated[date, AfterValidator(_in_calendar)]
Minor = Annotated[int, Field(ge=0, le=10**13)]  #: money in minor units
Count = Annotated[int, Field(ge=0, le=100_000)]
Percent = Annotated[float, Field(ge=0, le=1000)]
Currency = Annotated[str, StringConstraints(pattern=_CURRENCY)]


class EventData(BaseModel):
    """What all data have in common: unknown names are refused, numbers finite, values frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)


class OutletRef(EventData):
    """Which outlet; what the directory knows wins over the texts given here."""

    code: Key
    name: Text = ""
    city: Text = ""
    market: Text = ""
    channel: Text = ""
    classification: Text = ""
    timezone: Text = ""


class AssetRef(EventData):
    """Which cooler."""

    serial: Key
    type: Text = ""
    location: Text = ""  #: where in the store


class ImageRef(EventData):
    """A picture: Coolr's image GUID and type, or an https URL whose exact host the tenant lists."""

    guid: Guid | None = None
    type: Literal["Stitched", "Cam1", "Cam2", "Planogram", "InStore"] = "Stitched"
    url: Url | None = None
    taken_at: Moment | None = None


class ProductRef(EventData):
    """Which product."""

    sku: Key
    name: Text = ""
    product_id: Text = ""


class AlertStatus(StrEnum):
    """State of an alert at its source."""

    OPEN = "open"
    UPDATED = "updated"
    CLOSED = "closed"


class AlertData(EventData):
    """coolr.alert.opened, .updated, .closed."""

    alert_id: Key
    alert_type: Key  #: a key of the catalogue (e.g. "OutOfStock"); unknown ones go out in a generic form
    status: AlertStatus
    outlet: OutletRef
    title: Text = ""  #: "" = the catalogue's
    text: LongText = ""
    value: Annotated[float, Field(ge=-1e9, le=1e9)] | None = None
    threshold: Annotated[float, Field(ge=-1e9, le=1e9)] | None = None
    unit: Text = ""  #: "" = the catalogue's
    opened_at: Moment | None = None
    updated_at: Moment | None = None
    closed_at: Moment | None = None
    asset: AssetRef | None = None
    product: ProductRef | None = None
    image: ImageRef | None = None
    sales_rep: Text = ""
    extra: dict[str, Any] = Field(default_factory=dict)


class OutOfStockProduct(ProductRef):
    """A product missing on the picture."""

    shelf: Count | None = None


class ImageData(EventData):
    """coolr.image.processed (an AssetPurity record that reached Processed)."""

    image_id: Key
    outlet: OutletRef
    taken_at: Moment
    image: ImageRef
    asset: AssetRef | None = None
    stock_percentage: Percent | None = None
    planogram_compliance: Percent | None = None
    purity_percentage: Percent | None = None
    foreign_products: Count | None = None
    empty_facings: Count | None = None
    total_facings: Count | None = None
    temperature: Annotated[float, Field(ge=-100, le=200)] | None = None
    out_of_stock: Annotated[tuple[OutOfStockProduct, ...], Field(max_length=200)] = ()
    order_number: Text = ""  #: order suggested from this picture, if any
    extra: dict[str, Any] = Field(default_factory=dict)


class OrderLine(EventData):
    """One suggested line. Quantities are whole cases."""

    sku: Key
    name: Text
    product_id: Text = ""
    case_size: Annotated[int, Field(ge=1, le=10_000)] = 1  #: units in a case
    case_price: Minor | None = None
    suggested_cases: Count
    min_cases: Count = 0
    max_cases: Count | None = None
    multiple: Annotated[int, Field(ge=1, le=10_000)] = 1

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.max_cases is not None and self.max_cases < self.min_cases:
            raise PydanticCustomError("impossible", "must not be less than min_cases", {"where": ".max_cases"})
        return self


class Range(EventData):
    """An optional minimum and maximum, both inclusive."""

    min: Minor | None = None
    max: Minor | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.min is not None and self.max is not None and self.max < self.min:
            raise PydanticCustomError("impossible", "must not be less than min", {"where": ".max"})
        return self


class OrderData(EventData):
    """coolr.order.recommended."""

    order_number: Key  #: what people read, e.g. "1042"
    outlet: OutletRef
    lines: Annotated[tuple[OrderLine, ...], Field(min_length=1, max_length=200)]
    currency: Currency | None = None
    deadline: Moment | None = None  #: Coolr's real cut-off; people see it minus the tenant's margin
    reason: LongText = ""  #: why it was suggested
    paused: bool = False  #: "Suggested Ordering Paused"
    cases: Range = Field(default_factory=Range)  #: MOQ: total cases
    value: Range = Field(default_factory=Range)  #: MOV: total value, minor units
    image: ImageRef | None = None
    asset: AssetRef | None = None
    extra: dict[str, Any] = Field(default_factory=dict)

    @field_validator("lines")
    @classmethod
    def _each_once(cls, lines: tuple[OrderLine, ...]) -> tuple[OrderLine, ...]:
        """People and receivers name a line by its SKU: two of the same could not be told apart."""
        first: dict[str, int] = {}
        for index, line in enumerate(lines):
            if first.setdefault(line.sku, index) != index:
                facts = {"where": f"[{index}].sku", "line": first[line.sku]}
                raise PydanticCustomError("duplicate_sku", "stands in lines[{line}] already", facts)
        return lines


class OrderWithdrawnData(EventData):
    """coolr.order.withdrawn."""

    order_number: Key
    outlet: OutletRef
    reason: LongText = ""


class OrderDecidedData(EventData):
    """coolr.order.decided: decided elsewhere (Playbook); closes ours, nothing is echoed back."""

    order_number: Key
    outlet: OutletRef
    decision: Literal["accepted", "modified", "cancelled"]
    decided_at: Moment
    decided_by: Text = ""


class MissedProduct(ProductRef):
    """A product that was away, and what that cost."""

    days_out_of_stock: Count = 0
    missed_revenue: Minor | None = None
    missed_units: Count | None = None


class OpportunityData(EventData):
    """coolr.opportunity.missed."""

    opportunity_id: Key
    outlet: OutletRef
    period_start: Day
    period_end: Day
    currency: Currency | None = None
    missed_revenue: Minor | None = None
    actual_revenue: Minor | None = None
    uplift_percentage: Percent | None = None
    products: Annotated[tuple[MissedProduct, ...], Field(max_length=200)] = ()
    asset: AssetRef | None = None
    extra: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.period_end < self.period_start:
            raise PydanticCustomError("impossible", "lies before period_start", {"where": ".period_end"})
        return self


class DecidedLine(EventData):
    """A line as decided."""

    sku: Key
    name: Text
    suggested_cases: Count
    cases: Count
    case_price: Minor | None = None
    case_size: int = 1


class DecisionData(EventData):
    """coolr.decision.recorded and .undone: produced by a decision row, never accepted from outside."""

    decision_id: Key
    order_number: Key
    outlet: OutletRef
    decision: Literal["accepted", "modified", "cancelled"]
    coolr_action: Literal["schedule", "edit_and_schedule", "ignore"]  #: Coolr's words
    order_version: int
    decided_at: datetime
    decided_by: Text  #: given name or role, never an address
    via: Text  #: "email", "sms", "operator", "policy"
    reason: LongText = ""
    lines: tuple[DecidedLine, ...]
    currency: Currency | None = None
    total: Minor | None = None
    total_cases: int
    final: bool
    final_at: datetime


class DecisionUndoneData(DecisionData):
    """coolr.decision.undone: the decision as it was recorded, and who took it back."""

    undone_at: datetime
    undone_by: Text  #: given name or role, never an address
    undone_via: Text


DATA_MODELS: dict[EventType, type[EventData]] = {
    EventType.ALERT_OPENED: AlertData,
    EventType.ALERT_UPDATED: AlertData,
    EventType.ALERT_CLOSED: AlertData,
    EventType.IMAGE_PROCESSED: ImageData,
    EventType.ORDER_RECOMMENDED: OrderData,
    EventType.ORDER_WITHDRAWN: OrderWithdrawnData,
    EventType.ORDER_DECIDED: OrderDecidedData,
    EventType.OPPORTUNITY_MISSED: OpportunityData,
    EventType.DECISION_RECORDED: DecisionData,
    EventType.DECISION_UNDONE: DecisionUndoneData,
}


#: What an alert's data say in an event of each type.
STATUS_OF: dict[EventType, AlertStatus] = {
    EventType.ALERT_OPENED: AlertStatus.OPEN,
    EventType.ALERT_UPDATED: AlertStatus.UPDATED,
    EventType.ALERT_CLOSED: AlertStatus.CLOSED,
}


def subject_of(data: EventData) -> str:
    """Return the object an event is about, e.g. ``order/1042``: the key of sequence and life cycle."""
    match data:
        case AlertData():
            return f"alert/{data.alert_id}"
        case ImageData():
            return f"image/{data.image_id}"
        case OpportunityData():
            return f"opportunity/{data.opportunity_id}"
        case OrderData() | OrderWithdrawnData() | OrderDecidedData() | DecisionData():
            return f"order/{data.order_number}"
    raise TypeError(f"no subject for {type(data).__name__}")
