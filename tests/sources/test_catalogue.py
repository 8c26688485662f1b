"""The alert catalogue: data, complete against what is publicly known of Coolr, generic for everything else."""

from __future__ import annotations

import pytest

from notifier.core.catalogue import Entry, build
from notifier.core.model import Priority
from notifier.sources.catalogue import load_catalogue

#: Every type named in Coolr's documentation, as it is written there.
DOCUMENTED = [
    "Device data without asset/location",
    "No communication (>36h)",
    "Hub unplugged",
    "No door data",
    "Battery running low",
    "Signal issues",
    "Intermittent connectivity",
    "Displacement",
    "Temperature",
    "No door opens",
    "Excessive door opens",
    "Cooler malfunction",
    "Non-functional camera",
    "Excessive pings",
    "High image count",
    "High image rejection rate",
    "Images rejected because no planogram is set",
    "Out of stock by category",
    "Out of stock by shelf",
    "Out of stock by product",
    "Foreign product",
    "Additional shelf",
    "Shelf missing",
    "Planogram compliance",
    "Planogram deviation",
    "Stock below a percentage",
]
#: Every type of the sibling platform.
SIBLING = [
    "Battery",
    "CoolerConnectivity",
    "CoolerMalfunction",
    "DeviceAccumulatedMovement",
    "Door",
    "DoorOpenMax",
    "DoorOpenMin",
    "EnvironmentHealth",
    "GpsDisplacement",
    "Health",
    "HubAccumulatedMovement",
    "MissingData",
    "Movement",
    "NoData",
    "NoDoorData",
    "PlanogramAlert",
    "Power",
    "Purity",
    "Stock",
    "MovementCount",
    "StockAlertProductWise",
    "StockAlertShelfWise",
    "Light",
    "EnvironmentLight",
    "DoorPercentage",
    "OutletSOVI",
    "VHCoreBattery",
    "OutOfStock",
    "LowStock",
    "ProductPositionAlert",
    "SmartRewardIssue",
    "DoorOpenMinAndSales",
    "LightOffHoursAndSales",
    "TemperatureAndSales",
    "HighUtilizationLowSales",
    "LowUtilizationHighSales",
    "SystemDoor",
    "OutofStockSKUBased",
    "OutofStockPlanogramBased",
    "HubMovementDuration",
    "StokeSensorAlert",
    "NoInitialTransmission",
    "NonAuthorizedMovement",
    "Battery_GSM",
    "SmartTemperatureAlert",
    "CoolerMissing",
]


@pytest.mark.parametrize("name", [*DOCUMENTED, *SIBLING])
def test_every_type_that_is_known_has_an_entry(name: str) -> None:
    assert load_catalogue().entry(name).known


@pytest.mark.parametrize("entry", load_catalogue().entries.values(), ids=lambda entry: entry.key)
def test_an_entry_can_be_read_in_a_store(entry: Entry) -> None:
    assert entry.category in ("merchandising", "equipment", "device", "data")
    assert 0 < len(entry.title) <= 40
    assert entry.advice.endswith(".")
    assert entry.source


def test_case_spaces_and_underscores_do_not_count() -> None:
    catalogue = load_catalogue()
    assert {catalogue.entry(name).key for name in ("out_of_stock", "Out Of Stock", "OUTOFSTOCK", "OOS")} == {
        "OutOfStock"
    }


@pytest.mark.parametrize(
    ("name", "title"), [("CompressorNoise", "Compressor Noise"), ("HTTPFault2", "HTTP Fault 2"), ("***", "Alert")]
)
def test_an_unknown_type_gets_a_generic_entry(name: str, title: str) -> None:
    entry = load_catalogue().entry(name)
    assert (entry.known, entry.title, entry.category, entry.priority) == (False, title, "other", Priority.NORMAL)


def test_no_name_stands_for_two_types() -> None:
    catalogue = load_catalogue()
    assert all(catalogue.entry(key).key == key for key in catalogue.entries)


@pytest.mark.parametrize("row", [{"title": "x"}, {"title": "x", "category": "data", "colour": "red"}])
def test_a_malformed_catalogue_does_not_load(row: dict[str, str]) -> None:
    with pytest.raises(TypeError):
        build({"X": row})
