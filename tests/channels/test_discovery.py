"""Channels are found by their files and make themselves from the settings."""

from __future__ import annotations

import pytest

from notifier.channels import build_channels, discover
from notifier.config import Settings
from notifier.core.model import ChannelName
from notifier.errors import ConfigError

FULL = {"smtp_url": "smtp://127.0.0.1:25", "twilio_account_sid": "AC1", "twilio_auth_token": "token"}


def test_every_channel_has_its_file_and_every_file_its_channel() -> None:
    found = discover()
    assert {channel.name for channel in found.values()} == set(ChannelName)
    assert all(name == channel.name.value for name, channel in found.items())


def test_a_deployment_gets_the_channels_that_it_has_settings_for() -> None:
    assert set(build_channels(Settings())) == {ChannelName.CALLBACK}
    made = build_channels(Settings.model_validate(FULL))
    assert set(made) == set(ChannelName)
    assert all(channel.name is name for name, channel in made.items())


def test_the_mistakes_of_all_channels_are_listed_at_once_each_once() -> None:
    settings = Settings.model_validate(FULL | {"smtp_url": "http://x", "callback_allow": ("erp.local",)})
    with pytest.raises(ConfigError) as caught:
        build_channels(settings)
    named = [problem.where for problem in caught.value.problems]
    assert sorted(named) == ["NOTIFIER_CALLBACK_ALLOW", "NOTIFIER_SMTP_URL"]
