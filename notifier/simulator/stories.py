"""One hour in the life of the fleet, as a seeded list of things to send.

Each story is a small generator: an order with or without deadline and prices, an alert that opens, is updated and
closes, a processed picture, a missed opportunity, a burst, a duplicate, a late or out-of-order arrival, a sender's
mistake. The result is sorted by the second at which it is sent; everything is a function of (seed, base time).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from notifier.simulator.world import ASSET_TYPES, CURRENCY, PRODUCTS, Store, stores

HOUR = 3600.0
AFTER_THE_CLOSING = 2400.0  #: seconds: an update so late arrives when its alert is over

#: (alert type, unit, opening value, later value, normal value)
ALERTS = (
    ("OutOfStock", "", None, None, None),
    ("Stock", "%", 35.0, 20.0, 90.0),
    ("Health", "°C", 11.5, 14.0, 4.0),
    ("DoorOpenMax", "", 320.0, 340.0, 120.0),
    ("PlanogramAlert", "%", 48.0, 40.0, 95.0),
    ("NoCommunication", "h", 37.0, 39.0, 0.0),
    ("Battery", "%", 12.0, 9.0, 80.0),
)


@dataclass(frozen=True, slots=True)
class Sending:
    """One thing to send: when (seconds into the hour), by whom, how, and the body."""

    at: float
    tenant: str
    how: str  #: "event" (CloudEvents), "alert" or "image" (Coolr's own record shape), "celery"
    body: dict[str, Any]
    wave: int = 0  #: 0 begins a story, 1 and 2 go on with it: what must come after what, whatever the pace


def hour(seed: int, base: datetime) -> list[Sending]:
    """Return the sendings of one hour that begins at `base`, in the order in which they are sent."""
    return sorted(_Hour(seed, base).everything(), key=lambda sending: sending.at)


class _Hour:
    def __init__(self, seed: int, base: datetime) -> None:
        self.seed = seed
        self.base = base.astimezone(UTC).replace(microsecond=0)
        self.random = random.Random(seed)  # a simulator, not a secret
        self.stores = stores()
        self.counter = 0

    def everything(self) -> Iterator[Sending]:
        for index, store in enumerate(self.stores):
            yield from self.order(store, index)
            yield from self.alert(store, ALERTS[(index + self.seed) % len(ALERTS)])
            yield from self.picture(store, index)
        yield from self.burst(self.pick("acme"))
        yield from self.burst(self.pick("borealis"))
        for tenant in ("acme", "borealis"):
            yield from self.missed(self.pick(tenant))
            yield from self.unknown_kind(self.pick(tenant))
            yield from self.withdrawn(self.pick(tenant))
            yield from self.decided_in_coolr(self.pick(tenant))
            yield from self.coolr_records(self.pick(tenant))
            yield from self.mistakes(self.pick(tenant))

    # -- pieces ---------------------------------------------------------------------------------------------------

    def pick(self, tenant: str) -> Store:
        return self.random.choice([store for store in self.stores if store.tenant == tenant])

    def key(self) -> str:
        self.counter += 1
        return f"{self.seed}{self.counter:04d}"

    def time(self, at: float) -> str:
        return (self.base + timedelta(seconds=at)).isoformat().replace("+00:00", "Z")

    def stamp(self, at: float) -> str:
        """Coolr's 17 digits."""
        return (self.base + timedelta(seconds=at)).strftime("%Y%m%d%H%M%S000")

    def event(
        self, at: float, store: Store, kind: str, data: dict[str, Any], *, late: float = 0.0, wave: int = 0
    ) -> Sending:
        """An event that happened at `at` and is sent `late` seconds after."""
        body = {
            "specversion": "1.0",
            "id": f"sim-{self.seed}-{self.key()}",
            "source": f"coolr/{store.tenant}",
            "type": f"coolr.{kind}",
            "time": self.time(at),
            "datacontenttype": "application/json",
            "data": {**data, "outlet": {"code": store.code}},
        }
        how = "celery" if self.random.random() < 0.15 else "event"
        return Sending(at + late, store.tenant, how, body, wave)

    def asset(self, store: Store) -> dict[str, str]:
        number = 1 + self.stores.index(store) % 3
        return {"serial": f"VST-{store.code}-{number}", "type": ASSET_TYPES[number - 1], "location": "Entrance"}

    def image(self, store: Store) -> dict[str, str]:
        return {"guid": f"{self.seed:08x}-{self.random.getrandbits(64):016x}"}

    # -- stories --------------------------------------------------------------------------------------------------

    def order(self, store: Store, index: int) -> Iterator[Sending]:
        """Every store gets an order: every third without prices, every fourth without deadline; some come twice."""
        at = self.random.uniform(0, HOUR * 0.8)
        sending = self.event(at, store, "order.recommended", self.order_data(store, index))
        yield sending
        if index % 5 == 0:
            yield Sending(at + 40, store.tenant, "event", sending.body, wave=1)

    def order_data(self, store: Store, index: int) -> dict[str, Any]:
        priced, chosen = index % 3 != 2, self.random.sample(PRODUCTS, k=self.random.randint(2, 6))
        data: dict[str, Any] = {
            "order_number": self.key(),
            "lines": [self.line(product, priced=priced) for product in chosen],
            "reason": f"{chosen[0].name} and {len(chosen) - 1} more are running out.",
            "image": self.image(store),
            "asset": self.asset(store),
        }
        if priced:
            data["currency"] = CURRENCY[store.tenant]
        if index % 4 != 3:
            data["deadline"] = (self.base + timedelta(hours=self.random.choice([6, 20, 44]))).isoformat()
        return data

    def line(self, product: Any, *, priced: bool) -> dict[str, Any]:
        line = {
            "sku": product.sku,
            "name": product.name,
            "case_size": product.case_size,
            "suggested_cases": product.multiple * self.random.randint(1, 5),
            "min_cases": 0,
            "max_cases": product.multiple * 10,
            "multiple": product.multiple,
        }
        return {**line, "case_price": product.price} if priced else line

    def alert(self, store: Store, kind: tuple[Any, ...]) -> Iterator[Sending]:
        """Opens, is updated, closes within the hour (every fourth stays open); the update may arrive late."""
        name, unit, first, later, normal = kind
        opened = self.random.uniform(0, HOUR * 0.4)
        base = {"alert_id": f"A{self.key()}", "alert_type": name, "unit": unit, "asset": self.asset(store)}
        base["opened_at"] = self.time(opened)
        if name == "OutOfStock":
            base["product"] = {"sku": PRODUCTS[0].sku, "name": PRODUCTS[0].name}
        yield self.event(opened, store, "alert.opened", {**base, "status": "open", **_value(first)})
        updated, closed = opened + self.random.uniform(120, 600), opened + self.random.uniform(900, 1800)
        late = self.random.choice((0.0, 0.0, 0.0, 90.0, AFTER_THE_CLOSING))
        change = {"status": "updated", "updated_at": self.time(updated), **_value(later)}
        wave = 2 if late == AFTER_THE_CLOSING else 1
        yield self.event(updated, store, "alert.updated", {**base, **change}, late=late, wave=wave)
        if self.random.random() < 0.75:
            change = {"status": "closed", "closed_at": self.time(closed), **_value(normal)}
            yield self.event(closed, store, "alert.closed", {**base, **change}, wave=3 - wave)

    def picture(self, store: Store, index: int) -> Iterator[Sending]:
        """A processed picture; every fourth store's shelves are poor. Some pictures arrive twenty minutes late."""
        at = self.random.uniform(0, HOUR * 0.6)
        missing = [{"sku": p.sku, "name": p.name, "shelf": n} for n, p in enumerate(self.random.sample(PRODUCTS, 2), 1)]
        data = {
            "image_id": f"I{self.key()}",
            "taken_at": self.time(at),
            "image": self.image(store),
            "asset": self.asset(store),
            "stock_percentage": 28.0 if index % 4 == 0 else 76.0,
            "planogram_compliance": 81.0,
            "foreign_products": index % 3,
            "out_of_stock": missing if index % 4 == 0 else [],
        }
        yield self.event(at, store, "image.processed", data, late=1200.0 if index % 6 == 1 else 0.0)

    def burst(self, store: Store) -> Iterator[Sending]:
        """Twelve alerts of one store within two seconds."""
        at = self.random.uniform(HOUR * 0.3, HOUR * 0.5)
        for number in range(12):
            product = PRODUCTS[number % len(PRODUCTS)]
            data = {
                "alert_id": f"A{self.key()}",
                "alert_type": "StockAlertProductWise",
                "status": "open",
                "value": 10.0 + number,
                "unit": "%",
                "opened_at": self.time(at),
                "asset": self.asset(store),
                "product": {"sku": product.sku, "name": product.name},
            }
            yield self.event(at + number / 6, store, "alert.opened", data)

    def missed(self, store: Store) -> Iterator[Sending]:
        """A month's missed revenue."""
        end = self.base.date()
        products = self.random.sample(PRODUCTS, 3)
        data = {
            "opportunity_id": f"M{self.key()}",
            "period_start": (end - timedelta(days=30)).isoformat(),
            "period_end": end.isoformat(),
            "currency": CURRENCY[store.tenant],
            "missed_revenue": 48_250,
            "actual_revenue": 402_000,
            "uplift_percentage": 12.0,
            "products": [
                {"sku": p.sku, "name": p.name, "days_out_of_stock": 3 + n, "missed_revenue": 20_000 - n * 5_000}
                for n, p in enumerate(products)
            ],
        }
        yield self.event(self.random.uniform(0, HOUR), store, "opportunity.missed", data)

    def unknown_kind(self, store: Store) -> Iterator[Sending]:
        """An alert type that nobody has told us of goes out in a generic form."""
        at = self.random.uniform(0, HOUR)
        data = {
            "alert_id": f"A{self.key()}",
            "alert_type": "CompressorNoise",
            "title": "Compressor is loud",
            "status": "open",
            "text": "Noise above 62 dB for 30 minutes.",
            "asset": self.asset(store),
        }
        yield self.event(at, store, "alert.opened", data)

    def withdrawn(self, store: Store) -> Iterator[Sending]:
        """An order that Coolr takes back a while later."""
        at = self.random.uniform(0, HOUR * 0.3)
        data = self.order_data(store, 0)
        yield self.event(at, store, "order.recommended", data)
        gone = {"order_number": data["order_number"], "reason": "A newer picture shows enough stock."}
        yield self.event(at + 1500, store, "order.withdrawn", gone, wave=1)

    def decided_in_coolr(self, store: Store) -> Iterator[Sending]:
        """An order that somebody schedules in Playbook."""
        at = self.random.uniform(0, HOUR * 0.3)
        data = self.order_data(store, 1)
        yield self.event(at, store, "order.recommended", data)
        decided = {
            "order_number": data["order_number"],
            "decision": "accepted",
            "decided_at": self.time(at + 1400),
            "decided_by": "Playbook user",
        }
        yield self.event(at + 1400, store, "order.decided", decided, wave=1)

    def coolr_records(self, store: Store) -> Iterator[Sending]:
        """The same things in the shape of Coolr's own lists; the alert is pulled again and again until it is closed."""
        at, number = self.random.uniform(0, HOUR * 0.5), int(self.key())
        stamp = self.stamp(at)
        alert = {
            "AlertId": number,
            "AlertType": "OutOfStock",
            "Status": "New",
            "StatusId": 1,
            "AlertText": f"{PRODUCTS[3].name} is out of stock",
            "AlertAt": stamp,
            "LastUpdatedOn": stamp,
            "LocationCode": store.code,
            "Location": store.name,
            "AssetSerialNumber": self.asset(store)["serial"],
        }
        yield Sending(at, store.tenant, "alert", alert)
        yield Sending(at + 300, store.tenant, "alert", alert, wave=1)  # pulled again as it was
        touched = {**alert, "LastUpdatedOn": self.stamp(at + 360)}
        yield Sending(at + 400, store.tenant, "alert", touched, wave=1)  # only its time stamp moved
        worse = {**touched, "AlertText": f"{PRODUCTS[3].name} is out of stock on two shelves"}
        yield Sending(at + 700, store.tenant, "alert", {**worse, "LastUpdatedOn": self.stamp(at + 660)}, wave=1)
        over = {
            "Status": "Closed",
            "StatusId": 5,
            "ClosedOn": self.stamp(at + 960),
            "LastUpdatedOn": self.stamp(at + 960),
        }
        yield Sending(at + 1000, store.tenant, "alert", {**worse, **over}, wave=2)
        picture = {
            "AssetPurityId": int(self.key()),
            "PurityDateTime": stamp,
            "ImageStatus": "Processed",
            "StockPercentage": 31,
            "PlanogramCompliance": 55,
            "ForeignProduct": 2,
            "LocationCode": store.code,
            "Location": store.name,
            "SerialNumber": self.asset(store)["serial"],
        }
        yield Sending(at + 30, store.tenant, "image", picture)

    def mistakes(self, store: Store) -> Iterator[Sending]:
        """What a sender gets wrong: a type that is reserved, a missing field, another tenant, a changed repeat."""
        at = self.random.uniform(0, HOUR)
        good = self.event(at, store, "image.processed", {"image_id": f"I{self.key()}"}).body
        yield Sending(at, store.tenant, "event", good)  # taken_at and image are missing
        yield Sending(
            at + 1, store.tenant, "event", {**good, "id": good["id"] + "-r", "type": "coolr.decision.recorded"}
        )
        yield Sending(at + 2, store.tenant, "event", {**good, "id": good["id"] + "-t", "tenant": "somebody-else"})
        yield from self.changed_repeat(store, at)

    def changed_repeat(self, store: Store, at: float) -> Iterator[Sending]:
        """The same identity with other content: the first is kept, the second quarantined."""
        data = {
            "alert_id": f"A{self.key()}",
            "alert_type": "Power",
            "status": "open",
            "text": "Main switch off.",
            "asset": self.asset(store),
        }
        first = self.event(at, store, "alert.opened", data)
        yield first
        other = {**first.body, "data": {**first.body["data"], "text": "Main switch on."}}
        yield Sending(at + 60, store.tenant, "event", other, wave=1)


def _value(value: float | None) -> dict[str, float]:
    return {} if value is None else {"value": value}
