"""The channels: one file each. Adding one = a file with `CHANNEL`, a template folder, a test, a docs page."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Protocol

from notifier.config import Settings
from notifier.core.model import ChannelName
from notifier.errors import ConfigError, Problem
from notifier.ports import Channel


class ChannelClass(Protocol):
    """What a channel's file offers as `CHANNEL`."""

    name: ChannelName

    def from_settings(self, settings: Settings) -> Channel | None:
        """Make the channel; None when this deployment has no settings for it. Raises ConfigError."""


def discover() -> dict[str, ChannelClass]:
    """Every channel class by the name of its module."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    return {name: importlib.import_module(f"{__name__}.{name}").CHANNEL for name in names}


def build_channels(settings: Settings) -> dict[ChannelName, Channel]:
    """Make the channels that this deployment has settings for. Raises ConfigError with the mistakes of all of them."""
    made: dict[ChannelName, Channel] = {}
    problems: dict[Problem, None] = {}
    for kind in discover().values():
        try:
            channel = kind.from_settings(settings)
        except ConfigError as error:
            problems.update(dict.fromkeys(error.problems))
            continue
        if channel is not None:
            made[kind.name] = channel
    if problems:
        raise ConfigError(list(problems))
    return made
