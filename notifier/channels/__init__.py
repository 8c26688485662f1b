"""The channels: one file each. Adding one = a file with `CHANNEL`, a template folder, a test, a docs page."""

from __future__ import annotations

import importlib
import pkgutil

from notifier.channels._smtp import parse_url
from notifier.channels.callback import CallbackChannel, CallbackSettings
from notifier.channels.email import EmailChannel, EmailSettings
from notifier.channels.sms import SmsChannel, SmsSettings
from notifier.config import Settings
from notifier.core.model import ChannelName
from notifier.ports import Channel
from notifier.transport import AllowedNetworks


def discover() -> dict[str, type]:
    """Every channel class by the name of its module."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    return {name: importlib.import_module(f"{__name__}.{name}").CHANNEL for name in names}


def build_channels(settings: Settings) -> dict[ChannelName, Channel]:
    """Make the channels that this deployment has settings for. Raises ConfigError."""
    allowed = AllowedNetworks.parse(settings.callback_allow)
    made: dict[ChannelName, Channel] = {ChannelName.CALLBACK: CallbackChannel(CallbackSettings(allowed))}
    if smtp := settings.smtp_url.get_secret_value():
        made[ChannelName.EMAIL] = EmailChannel(EmailSettings(parse_url(smtp)))
    if settings.twilio_account_sid:
        made[ChannelName.SMS] = SmsChannel(
            SmsSettings(settings.twilio_account_sid, settings.twilio_auth_token, settings.twilio_base_url, allowed)
        )
    return made
