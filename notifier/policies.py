"""The applied configuration as processes see it: parsed once per version, followed by its number in the database."""

from __future__ import annotations

import threading

import structlog

from notifier.core.policy import Policy
from notifier.core.policy_file import parse
from notifier.errors import ConfigError
from notifier.ports import Store
from notifier.unit import Reader

log = structlog.get_logger(__name__)


class StoredPolicies:
    """A PolicySource over the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._policy: Policy | None = None
        self._seen = 0  #: newest version looked at, readable or not; 0 = nothing was applied yet
        self._lock = threading.Lock()

    def current(self) -> Policy:
        """Return the newest policy this process has read, reading it the first time."""
        if self._policy is None:
            self.refresh()
        return self._policy or Policy(version=0, tenants={})

    def refresh(self) -> None:
        """Load a newer version if the number in the database says there is one."""
        with self._store.read() as tx:
            self.follow(tx)

    def follow(self, tx: Reader) -> Policy:
        """The same inside a transaction that is open anyway; returns the policy in force."""
        with self._lock:
            stored = tx.policy_text() if tx.policy_version() != self._seen else None
            if stored is not None:
                self._load(*stored)
                self._seen = stored[0]
            return self._policy or Policy(version=0, tenants={})

    def _load(self, version: int, text: str) -> None:
        try:
            parsed = parse(text, f"applied version {version}")
        except ConfigError as error:
            # `config apply` checks before it stores: only an older program meets what it cannot read. It goes on.
            log.error("the applied configuration cannot be read", action="policy_unreadable", error=str(error))
            return
        self._policy = Policy(version=version, tenants=parsed.tenants)
        log.info("configuration in force", action="policy_loaded", version=version)
