"""The fleet: outlets, contacts and products, read from the CSV files shipped with the package."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources

from notifier.core.ids import TenantId

DATA = resources.files("notifier.simulator") / "data"


@dataclass(frozen=True, slots=True)
class Store:
    """One outlet as the simulator sees it."""

    tenant: str
    code: str
    name: str
    market: str
    country: str


@dataclass(frozen=True, slots=True)
class Product:
    """One product; `price` is the case price in minor units of the tenant's currency."""

    sku: str
    name: str
    case_size: int
    price: int
    multiple: int = 1


PRODUCTS = (
    Product("COLA-033", "Coolr Cola 0.33 l can", 24, 1344),
    Product("COLA-050", "Coolr Cola 0.5 l bottle", 12, 1188),
    Product("ZERO-033", "Coolr Zero 0.33 l can", 24, 1344),
    Product("LEMN-033", "Lemon Sparkle 0.33 l can", 24, 1296),
    Product("WATR-050", "Still Water 0.5 l", 24, 720, multiple=2),
    Product("WATR-150", "Still Water 1.5 l", 6, 468, multiple=4),
    Product("TEAP-050", "Peach Iced Tea 0.5 l", 12, 1056),
    Product("ENRG-025", "Energy Rush 0.25 l can", 24, 2640),
    Product("ORNG-100", "Orange Juice 1 l", 8, 1520),
    Product("TONI-020", 'Tonic "Dry" 0.2 l', 24, 1680),
)
CURRENCY = {"acme": "EUR", "borealis": "USD"}
TENANTS = tuple(TenantId(name) for name in CURRENCY)
ASSET_TYPES = ("Vista 400 Upright", "Vista 650 Double", "Island Freezer 200")


def stores() -> tuple[Store, ...]:
    """Return the outlets in file order."""
    rows = csv.DictReader(text("outlets.csv").splitlines())
    return tuple(Store(row["Tenant"], row["Code"], row["Name"], row["Market"], row["Country"]) for row in rows)


def text(name: str) -> str:
    """Return a file of the fleet's data folder."""
    return (DATA / name).read_text(encoding="utf-8")
