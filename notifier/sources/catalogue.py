"""Reads the shipped alert catalogue."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources

from notifier.core.catalogue import Catalogue, build


@cache
def load_catalogue() -> Catalogue:
    """Return the catalogue shipped with the package."""
    text = (resources.files("notifier.sources") / "alert_catalogue.toml").read_text(encoding="utf-8")
    return build(tomllib.loads(text))
