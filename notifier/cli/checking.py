"""What `config check` can only say of this deployment: secrets, addresses, alert types, the directory. Only reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from notifier.bootstrap import System
from notifier.config import nearest_setting
from notifier.core.matching import like
from notifier.core.policy import Endpoint, Policy, TargetKind, TenantPolicy
from notifier.core.policy_warnings import Found, sends_of
from notifier.errors import StoreError
from notifier.transport import AllowedNetworks, public

PORTS = {"http": 80, "https": 443}
WILD = "*?["


def doubts(policy: Policy, system: System) -> Iterator[Found]:
    """Yield (path in the file, message) of what may not work here."""
    allowed = AllowedNetworks.parse(system.settings.callback_allow)
    for tenant in policy.tenants.values():
        for index, endpoint in enumerate(tenant.endpoints):
            at = f"tenants.{tenant.id}.endpoints[{index}]"
            yield from _secrets(endpoint, f"{at}.secrets", system)
            yield from _address(endpoint, f"{at}.url", allowed)
        yield from _alerts(tenant, system)
        yield from _roles(tenant, system)


def misspelt(environ: Mapping[str, str]) -> Iterator[Found]:
    """Yield variables that look like a setting with a slip of the pen."""
    for name in sorted(environ):
        if (meant := nearest_setting(name)) is not None:
            yield name, f"no such setting; did you mean {meant}?"


def _secrets(endpoint: Endpoint, at: str, system: System) -> Iterator[Found]:
    for reference in endpoint.secrets:
        kind, _, name = reference.partition(":")
        try:
            system.secret(reference)
        except KeyError:
            what = f"environment variable {name} is not set" if kind == "env" else f"file {name} cannot be read"
            yield at, f"endpoint {endpoint.name}: {what} here; callbacks to it would fail"
        except (ValueError, OSError):
            yield at, f"endpoint {endpoint.name}: {reference} holds no secret (whsec_ and base64, 24 bytes or more)"


def _address(endpoint: Endpoint, at: str, allowed: AllowedNetworks) -> Iterator[Found]:
    """Addresses that the guard will refuse; names are looked up only when a callback is sent."""
    parts = urlsplit(endpoint.url)
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname or ""
    try:
        refused = not public(host) and not allowed.hold(host, parts.port or PORTS[parts.scheme])
    except ValueError:  # a name
        return
    if refused:
        yield at, f"endpoint {endpoint.name}: not a public address; refused unless NOTIFIER_CALLBACK_ALLOW lists it"


def _alerts(tenant: TenantPolicy, system: System) -> Iterator[Found]:
    """Alert types are data and may be new, so an unknown one is only a doubt."""
    entries = system.catalogue.entries.values()
    categories = {entry.category for entry in entries} | {"other"}
    for index, rule in enumerate(tenant.rules):
        at = f"tenants.{tenant.id}.rules[{index}].when"
        for name in rule.when.alert_types:
            if not any(char in name for char in WILD) and not system.catalogue.entry(name).known:
                yield f"{at}.alert_type", f"no alert type of the catalogue is named {name!r}"
        for name in rule.when.categories:
            if not any(like(category, name) for category in categories):
                yield f"{at}.category", f"no alert has the category {name!r}; there are {', '.join(sorted(categories))}"


def _roles(tenant: TenantPolicy, system: System) -> Iterator[Found]:
    """Roles that nobody has, once there is a directory."""
    known = _known_roles(tenant, system)
    for path, target in sends_of(tenant):
        if known and target.kind is TargetKind.ROLE and target.value not in known:
            yield path, f"nobody in the directory has the role {target.value}; there are {', '.join(sorted(known))}"


def _known_roles(tenant: TenantPolicy, system: System) -> frozenset[str]:
    address = system.store.url
    if address.get_backend_name() == "sqlite" and not Path(address.database or "").is_file():
        return frozenset()  # asking would make an empty database
    try:
        with system.store.read() as tx:
            return tx.roles(tenant.id)
    except StoreError:  # a file can be checked where no database is
        return frozenset()
