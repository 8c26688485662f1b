"""The deployment's settings: environment `NOTIFIER_*` (secrets also as `NOTIFIER_*_FILE`), read once by `load`.

Knows no channel: bootstrap hands each part its own section. Tenants, rules and endpoints are not here but in
notifier.toml (notifier.core.policy_file). Secrets print as stars.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, field_validator

from notifier.errors import ConfigError, Problem

PREFIX = "NOTIFIER_"
MIN_KEY_BYTES = 32
SLOWEST = 0.001  #: messages per second; less would be a switch
MOST_SECRET = 100_000  #: bytes of a file with a secret
#: Settings that hold or may hold a secret: they can lie in a file, NOTIFIER_<NAME>_FILE, and are never printed.
SECRET = (
    "database_url",
    "broker_url",
    "redis_url",
    "smtp_url",
    "twilio_auth_token",
    "link_keys",
    "metrics_key",
)
#: Variables of ours that are no settings of a deployment: the command line, the demo and the tests read them.
OTHERS = ("NOTIFIER_API_KEY", "NOTIFIER_OUTBOX_PORT", "NOTIFIER_OUTBOX_SMTP_PORT")


def _split(value: Any) -> Any:
    return [part for part in value.replace("\n", ",").split(",") if part.strip()] if isinstance(value, str) else value


def _stripped(value: Any) -> Any:
    return [part.strip() for part in _split(value)] if isinstance(value, str) else value


Listed = Annotated[tuple[str, ...], BeforeValidator(_stripped)]
SecretList = Annotated[tuple[SecretStr, ...], BeforeValidator(_stripped)]


class Settings(BaseModel):
    """Everything a process of this product needs to know of its deployment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Where the truth lives: `sqlite:///path` (default, one machine) or `postgresql://...`.
    database_url: str = Field(default="sqlite:///.notifier/notifier.db", repr=False)
    #: Celery broker; carries hints only. Redis or Valkey, AOF on, noeviction.
    broker_url: str = Field(default="", repr=False)
    #: Redis for rate limits, which all workers share there; a database of its own beside the broker's.
    redis_url: str = Field(default="", repr=False)
    #: Public address of the link pages, e.g. https://n.example.com; links are made from it, never from `Host`.
    base_url: str = "http://127.0.0.1:8000"
    #: smtp://user:password@host:587?starttls=required, or smtps://...
    smtp_url: SecretStr = SecretStr("")
    #: Default sender mailbox when a tenant names none.
    email_from: str = ""
    twilio_account_sid: str = ""
    twilio_auth_token: SecretStr = SecretStr("")
    #: E.164 number or Messaging Service SID used when a tenant names none.
    twilio_from: str = ""
    twilio_base_url: str = "https://api.twilio.com"
    #: Keys that sign links: base64, comma or line separated, newest last; at least 32 random bytes each.
    link_keys: SecretList = ()
    #: Most mails per second of the SMTP account; 0 = no limit.
    email_rate: float = Field(default=0, ge=0, le=10_000)
    #: Most text messages per second of each sender, e.g. 1 for a long code; 0 = no limit.
    sms_rate: float = Field(default=0, ge=0, le=10_000)
    #: Path of notifier.toml, read by `config check` and `config apply` only.
    config: Path = Path("notifier.toml")
    #: Folder of the embedded parts.
    data_dir: Path = Path(".notifier")
    #: Folder of the templates; empty = the ones shipped with the package.
    templates_dir: Path | None = None
    #: Addresses callbacks and picture fetches may reach although not public, e.g. "10.1.0.0/16,127.0.0.1:8901".
    callback_allow: Listed = ()
    #: Addresses of reverse proxies whose X-Forwarded-* headers count.
    trusted_proxies: Listed = ()
    #: Key for /metrics (Authorization: Bearer ...); empty = only loopback may read it.
    metrics_key: SecretStr = SecretStr("")
    #: Sends in flight per delivery worker process.
    slots: int = Field(default=100, ge=1, le=2000)
    #: "json" for machines, "text" for people.
    log_format: str = Field(default="json", pattern="^(json|text)$")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    #: Coolr's portal, for pictures given by GUID; empty = such pictures are not shown.
    coolr_base_url: str = ""

    @field_validator("base_url", "twilio_base_url", "coolr_base_url")
    @classmethod
    def _web_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError("must be a complete address that begins with http:// or https://")
        if parts.query or parts.fragment or parts.username or parts.password:
            raise ValueError("must have no user, no ? and no #")
        return value.rstrip("/")

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            ipaddress.ip_network(text)
        return value

    @field_validator("email_rate", "sms_rate")
    @classmethod
    def _not_endless(cls, value: float) -> float:
        if 0 < value < SLOWEST:
            raise ValueError(f"must be 0 (no limit) or at least {SLOWEST:g}")
        return value

    @field_validator("link_keys")
    @classmethod
    def _long_keys(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for position, key in enumerate(value, 1):
            if len(decode_key(key.get_secret_value())) < MIN_KEY_BYTES:
                raise ValueError(
                    f"key {position} is shorter than {MIN_KEY_BYTES} bytes; make one with `notifier keys link`"
                )
        return value

    @property
    def link_key_bytes(self) -> tuple[bytes, ...]:
        """The signing keys, newest last."""
        return tuple(decode_key(key.get_secret_value()) for key in self.link_keys)


def decode_key(text: str) -> bytes:
    """Return the bytes of a base64 (URL-safe or standard) key. Raises ValueError without quoting the key."""
    padded = text.strip().replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64; make one with `notifier keys link`") from None


def load(environ: Mapping[str, str]) -> Settings:
    """Read settings from any mapping. Raises ConfigError with every problem at once."""
    values, problems = _collect(environ)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems += [_problem(detail) for detail in error.errors(include_input=False, include_url=False)]
        raise ConfigError(problems) from None
    if problems:
        raise ConfigError(problems)
    return settings


def _collect(environ: Mapping[str, str]) -> tuple[dict[str, str], list[Problem]]:
    values: dict[str, str] = {}
    problems: list[Problem] = []
    for field in Settings.model_fields:
        name = PREFIX + field.upper()
        value, file = environ.get(name, ""), environ.get(f"{name}_FILE", "")
        if file and field not in SECRET:
            problems.append(Problem(f"{name}_FILE", f"only secrets can lie in a file; set {name} itself"))
        elif file and value:
            problems.append(Problem(name, f"{name}_FILE is set too; which of the two counts?"))
        elif file:
            try:
                values[field] = _content(Path(file))
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                problems.append(Problem(f"{name}_FILE", f"cannot read the file: {reason}"))
        elif value:
            values[field] = value
    return values, problems


def _content(path: Path) -> str:
    """The secret in a file. Raises OSError or ValueError, neither of which quotes it."""
    with path.open("rb") as file:
        raw = file.read(MOST_SECRET + 1)
    if len(raw) > MOST_SECRET:
        raise ValueError(f"larger than {MOST_SECRET:,} bytes")
    try:
        return raw.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None


def nearest_setting(variable: str) -> str | None:
    """The setting that somebody probably meant with a variable that is none; None when it is one, or like none."""
    names = [PREFIX + field.upper() for field in Settings.model_fields]
    names += [f"{PREFIX}{field.upper()}_FILE" for field in SECRET]
    if not variable.startswith(PREFIX) or variable in (*names, *OTHERS):
        return None
    return next(iter(difflib.get_close_matches(variable, names, 1, cutoff=0.9)), None)


def _problem(detail: Any) -> Problem:
    where = PREFIX + "_".join(str(part) for part in detail["loc"][:1]).upper()
    return Problem(where, str(detail["msg"]).removeprefix("Value error, "))
