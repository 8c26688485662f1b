"""Builds everything: the one composition root. Settings in, a System out; nothing is connected until it is used.

Workers, web and command line build the same System and take what they need. The web stack is not imported here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib import resources
from pathlib import Path

import structlog

from notifier.acting import LinkService
from notifier.allowances import AllowanceKeeper, PolicyLimits
from notifier.channels import build_channels
from notifier.config import Settings
from notifier.core.catalogue import Catalogue
from notifier.core.ids import TenantId
from notifier.core.limits import AccountRates
from notifier.core.links import LinkSigner
from notifier.core.model import ChannelName, Credential
from notifier.core.rendering import Templates
from notifier.core.signing import decode_secret
from notifier.engine import Engine, EngineLimits
from notifier.errors import ConfigError, Problem
from notifier.hints import BrokerHints, NoHints
from notifier.pipeline import Pipeline
from notifier.planning import Planner
from notifier.policies import StoredPolicies
from notifier.ports import Channel, Clock, Hints
from notifier.preparing import Preparation, Senders
from notifier.sources.catalogue import load_catalogue
from notifier.sources.coolr import adapt_record
from notifier.store import SqlStore, open_store

log = structlog.get_logger(__name__)

CELERY_KEY = "celery"  #: name of the key whose rights events from Celery have


def utc_now() -> datetime:
    """The clock of every process."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class System:
    """Everything one process may need, made on first use."""

    settings: Settings
    environ: Mapping[str, str]
    publish: Callable[[str], None] | None = None
    clock: Clock = utc_now

    @cached_property
    def store(self) -> SqlStore:
        """The database."""
        return open_store(self.settings.database_url)

    @cached_property
    def policies(self) -> StoredPolicies:
        """The applied notifier.toml."""
        return StoredPolicies(self.store)

    @cached_property
    def templates(self) -> Templates:
        """Compiled templates."""
        return Templates(templates_root(self.settings))

    @cached_property
    def catalogue(self) -> Catalogue:
        """Alert types."""
        return load_catalogue()

    @cached_property
    def signer(self) -> LinkSigner:
        """Signs links. Raises ConfigError without keys: there is no default secret."""
        if not self.settings.link_keys:
            raise ConfigError(
                [Problem("NOTIFIER_LINK_KEYS", "no key to sign links with; make one with `notifier keys link`")]
            )
        return LinkSigner(self.settings.link_key_bytes)

    @cached_property
    def hints(self) -> Hints:
        """Tells workers that there is work."""
        return BrokerHints(self.publish) if self.publish and self.settings.broker_url else NoHints()

    @cached_property
    def planner(self) -> Planner:
        """From events to notifications."""
        return Planner(self.policies, self.catalogue, self.templates, self.signer)

    @cached_property
    def preparation(self) -> Preparation:
        """From rows to deliveries."""
        settings = self.settings
        senders = Senders(settings.base_url, settings.email_from, settings.twilio_from)
        return Preparation(self.templates, self.signer, senders, self.secret, _tell_operator)

    @cached_property
    def pipeline(self) -> Pipeline:
        """The story."""
        return Pipeline(self.store, self.hints, self.policies, self.clock, adapt_record, self.planner, self.preparation)

    @cached_property
    def link_service(self) -> LinkService:
        """Opens links and takes decisions."""
        return LinkService(self.store, self.signer, self.policies, self.hints, self.clock, self.settings.base_url)

    def channels(self) -> dict[ChannelName, Channel]:
        """New channel objects; they belong to one event loop."""
        return build_channels(self.settings)

    def new_engine(self) -> Engine:
        """A delivery engine for this process."""
        limits = EngineLimits(slots=self.settings.slots)
        return Engine(self.pipeline, self.channels(), self.clock, limits, allowances=self.allowances())

    def allowances(self) -> AllowanceKeeper:
        """New: asks Redis for the tokens of rate limits; belongs to one event loop."""
        from notifier.limiter import LocalLimiter, RedisLimiter  # only delivery workers need Redis' client

        settings = self.settings
        rates = AccountRates(settings.email_rate, settings.sms_rate, settings.twilio_from)
        limiter = RedisLimiter(settings.redis_url) if settings.redis_url else LocalLimiter()
        return AllowanceKeeper(limiter, PolicyLimits(self.policies, rates), self.pipeline.demand)

    @property
    def drain_seconds(self) -> float:
        """How long a warm shutdown may take."""
        return EngineLimits().drain

    def secret(self, reference: str) -> bytes:
        """Resolve "env:NAME" or "file:/path" to the bytes of a Standard Webhooks secret. Raises KeyError."""
        kind, _, name = reference.partition(":")
        if kind == "env" and name in self.environ:
            return decode_secret(self.environ[name])
        if kind == "file" and Path(name).is_file():
            return decode_secret(Path(name).read_text(encoding="utf-8").strip())
        raise KeyError(reference)

    def celery_credential(self, tenant: str) -> Credential | None:
        """The rights of events from Celery: those of the tenant's enabled key named "celery"."""
        with self.store.read() as tx:
            keys = [key for key in tx.api_keys(TenantId(tenant)) if key.name == CELERY_KEY and key.disabled_at is None]
        if not keys:
            return None
        key = keys[-1]
        return Credential(key.id, key.tenant, key.sources, key.types, key.may_address, key.may_read)


def build(
    settings: Settings, environ: Mapping[str, str] | None = None, publish: Callable[[str], None] | None = None
) -> System:
    """Return a System for these settings; `environ` resolves the secret references of notifier.toml."""
    return System(settings, os.environ if environ is None else environ, publish)


def templates_root(settings: Settings) -> Path:
    """The deployment's own templates, else the checkout's, else those shipped in the wheel."""
    if settings.templates_dir is not None:
        return settings.templates_dir
    package = Path(str(resources.files("notifier")))
    shipped = package / "_templates"
    return shipped if shipped.is_dir() else package.parent / "templates"


def _tell_operator(kind: str, channel: str) -> None:
    log.error("a template is broken", action="template_broken", template=f"templates/{channel}/{kind}")
