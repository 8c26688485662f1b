"""The settings of the embedded parts: what is not named by the environment, and nothing that is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from notifier.embedded.folder import Folder
from notifier.embedded.ports import HOST, Ports
from notifier.embedded.secrets import Secrets
from notifier.embedded.valkey import embedded_broker
from notifier.outbox.settings import is_public

#: Settings that only make sense together: one of them from outside switches the embedded part off.
TOGETHER = (
    frozenset({"NOTIFIER_TWILIO_ACCOUNT_SID", "NOTIFIER_TWILIO_AUTH_TOKEN", "NOTIFIER_TWILIO_BASE_URL"}),
    frozenset({"NOTIFIER_LINK_KEYS", "NOTIFIER_LINK_KEYS_FILE"}),
)


def embedded_settings(folder: Folder, ports: Ports, secrets: Secrets, given: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of the embedded parts, without those that the environment already names."""
    broker = embedded_broker(folder)
    settings = {
        "NOTIFIER_DATA_DIR": str(folder.root),
        "NOTIFIER_DATABASE_URL": f"sqlite:///{folder.database}",
        "NOTIFIER_BROKER_URL": broker.broker_url,
        "NOTIFIER_BASE_URL": local(ports.web),
        "NOTIFIER_LINK_KEYS_FILE": str(folder.link_keys),
        "NOTIFIER_CALLBACK_ALLOW": f"{HOST}:{ports.outbox}",
        "NOTIFIER_EMAIL_FROM": "Coolr alerts <alerts@coolr.example>",
        "NOTIFIER_LOG_FORMAT": "text",
        "NOTIFIER_OUTBOX_PORT": str(ports.outbox),
        "NOTIFIER_OUTBOX_SMTP_PORT": str(ports.smtp),
    }
    if not _given(given, "NOTIFIER_BROKER_URL"):
        settings["NOTIFIER_REDIS_URL"] = broker.redis_url
    if not Path("notifier.toml").exists():
        settings["NOTIFIER_CONFIG"] = str(folder.root / "notifier.toml")
    if not is_public(given.get("NOTIFIER_BASE_URL", "")):
        settings |= _outbox_settings(ports, secrets)
    # The folder was chosen by our caller, so it is the one setting that is not looked up again.
    own = {k: v for k, v in settings.items() if k == "NOTIFIER_DATA_DIR" or not _given(given, k)}
    if given.get("NOTIFIER_CALLBACK_ALLOW") and not is_public(given.get("NOTIFIER_BASE_URL", "")):
        # A list of the user's adds to the outbox, or every callback to the outbox would fail for good.
        own["NOTIFIER_CALLBACK_ALLOW"] = f"{given['NOTIFIER_CALLBACK_ALLOW']},{HOST}:{ports.outbox}"
    return own


def _outbox_settings(ports: Ports, secrets: Secrets) -> dict[str, str]:
    return {
        "NOTIFIER_SMTP_URL": f"smtp://{HOST}:{ports.smtp}",
        "NOTIFIER_TWILIO_BASE_URL": local(ports.outbox),
        "NOTIFIER_COOLR_BASE_URL": local(ports.outbox),  # draws pictures
        **twilio_credentials(secrets),
        "NOTIFIER_TWILIO_FROM": "+15005550006",  # Twilio's own test number
        **secrets.environment(),
    }


def twilio_credentials(secrets: Secrets) -> dict[str, str]:
    """The account of the outbox's Twilio-shaped server."""
    return {
        "NOTIFIER_TWILIO_ACCOUNT_SID": secrets.twilio_account_sid,
        "NOTIFIER_TWILIO_AUTH_TOKEN": secrets.twilio_auth_token,
    }


def _given(environ: Mapping[str, str], name: str) -> bool:
    names = next((group for group in TOGETHER if name in group), frozenset({name}))
    return any(environ.get(spelling) for base in names for spelling in (base, f"{base}_FILE"))


def local(port: int) -> str:
    """Address of a server of ours on this machine."""
    return f"http://{HOST}:{port}"
