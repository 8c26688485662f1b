"""Every error this package raises on purpose, drawn once.

::

    NotifierError
    ├── EventError            an event cannot be accepted: field and reason
    ├── RenderError           a template did not produce a usable message
    ├── StoreError            the database refused or is away
    ├── DeliveryError
    │   ├── TemporaryFailure  worth another try, perhaps at a stated time
    │   ├── PermanentFailure  another try cannot help
    │   └── OutcomeUnknown    the request left us and no usable answer came back
    └── LinkError
        ├── LinkInvalid       does not verify: one answer for all of these
        ├── LinkExpired       verified, too old
        ├── LinkRevoked       verified, withdrawn by us
        └── LinkUsed          verified, what it points at is decided
    ConfigError               beside the tree: start-up only, lists every problem at once

Errors carry facts for the reader and a small reason for metrics; none carries a secret or a full address.
This module must not import anything of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


class NotifierError(Exception):
    """Something in the notifier went wrong; the class docstring is the default message."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").splitlines()[0])


class EventError(NotifierError):
    """The event cannot be accepted."""

    def __init__(self, reason: str, field: str | None = None, code: str = "invalid") -> None:
        """`reason` is a sentence for the sender, `field` a dotted path such as ``data.lines[2].name``."""
        super().__init__(f"{field}: {reason}" if field else reason)
        self.reason = reason
        self.field = field
        self.code = code


class RenderError(NotifierError):
    """The template did not produce a usable message."""


class StoreError(NotifierError):
    """The database refused the operation or is away.

    `conflict` says that somebody else committed the same key first: doing it again reads what they wrote.
    `refused` says that the data themselves were refused (a text too long): doing it again cannot help. A broken
    constraint may be either, so it is both: done again once, and set aside when that fails too.
    """

    def __init__(self, message: str | None = None, *, conflict: bool = False, refused: bool = False) -> None:
        super().__init__(message)
        self.conflict = conflict
        self.refused = refused


class DeliveryError(NotifierError):
    """The message was not delivered.

    `reason` is a short word for metrics (``refused``, ``timeout``, ``rate_limited`` ...), `detail` a sentence
    for people, `code` the provider's own code.
    """

    def __init__(self, reason: str, detail: str = "", *, code: str | None = None) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
        self.code = code


class TemporaryFailure(DeliveryError):
    """Worth another try.

    `retry_after` is in seconds, as the receiver asked (Retry-After). `lane_wide` says that the whole lane is
    affected (429, provider limit, refused log-in), not this message alone.
    """

    def __init__(
        self,
        reason: str,
        detail: str = "",
        *,
        code: str | None = None,
        retry_after: float | None = None,
        lane_wide: bool = False,
    ) -> None:
        super().__init__(reason, detail, code=code)
        self.retry_after = retry_after
        self.lane_wide = lane_wide


class PermanentFailure(DeliveryError):
    """Another try cannot help.

    `disable` says that the receiver asked never to be called again (HTTP 410, STOP, unknown mailbox).
    """

    def __init__(self, reason: str, detail: str = "", *, code: str | None = None, disable: bool = False) -> None:
        super().__init__(reason, detail, code=code)
        self.disable = disable


class OutcomeUnknown(DeliveryError):
    """The request was written and no usable answer came back: the receiver may have it (promise P4)."""


class LinkError(NotifierError):
    """The link cannot be used."""


class LinkInvalid(LinkError):
    """The link does not verify."""


class LinkExpired(LinkError):
    """The link has expired."""

    def __init__(self, expired_at: datetime, tenant: str = "") -> None:
        super().__init__(f"The link expired at {expired_at.isoformat()}")
        self.expired_at = expired_at
        self.tenant = tenant  #: whose link it is: whom the reader can call


class LinkRevoked(LinkError):
    """The link was withdrawn."""

    def __init__(self, tenant: str = "") -> None:
        super().__init__()
        self.tenant = tenant


class LinkUsed(LinkError):
    """What the link points at is already decided."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a configuration file or environment: where and what to do."""

    where: str  #: "notifier.toml:41" or "NOTIFIER_SMTP_URL"
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class ConfigError(Exception):
    """The configuration cannot be used; lists every problem at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)
