"""What notifier.toml allows but hardly anybody means: the warnings of `config check`, each with its line. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from notifier.core import formatting
from notifier.core.addresses import country_of
from notifier.core.model import ChannelName
from notifier.core.policy import Condition, Policy, Target, TargetKind, TenantPolicy
from notifier.core.toml_lines import Lines
from notifier.errors import Problem

Found = tuple[str, str]  #: (path in the file, message)


def warnings(policy: Policy) -> Iterator[Found]:
    """Yield what looks like a mistake in a file that can be used."""
    for tenant in policy.tenants.values():
        yield from _of_tenant(tenant)


def located(text: str, file: str, found: Iterable[Found]) -> list[Problem]:
    """Return (path, message) pairs with the line of each path."""
    lines = Lines(text)
    return [Problem(f"{file}:{lines.find(path)}", message) for path, message in found]


def sends_of(tenant: TenantPolicy) -> Iterator[tuple[str, Target]]:
    """Every target of a tenant with its path in the file."""
    root = f"tenants.{tenant.id}"
    for index, rule in enumerate(tenant.rules):
        for position, target in enumerate(rule.send):
            yield f"{root}.rules[{index}].send[{position}]", target
    for position, target in enumerate(tenant.default):
        yield f"{root}.default[{position}]", target


def _of_tenant(tenant: TenantPolicy) -> Iterator[Found]:
    root = f"tenants.{tenant.id}"
    yield from _unreachable(tenant, root)
    yield from _silent(tenant)
    if not tenant.orders.decide_roles:
        yield f"{root}.orders.decide_roles", "no role may decide: nobody gets a link that accepts or changes an order"
    if formatting.locale_of(tenant.language) != tenant.language.partition("-")[0].lower():
        yield f"{root}.language", f"there are no templates in {tenant.language!r} yet; messages go out in English"
    for index, rule in enumerate(tenant.rules):
        compares = rule.when.value_below is not None or rule.when.value_above is not None
        if compares and not (rule.when.alert_types or rule.when.types or rule.when.categories):
            yield f"{root}.rules[{index}].when", "compares the value of every kind of alert; name an `alert_type` too"


def _silent(tenant: TenantPolicy) -> Iterator[Found]:
    """Targets that can never be reached."""
    for path, target in sends_of(tenant):
        phone = target.kind is TargetKind.ADDRESS and target.value.startswith("+")
        if not tenant.sms_enabled and (phone or ChannelName.SMS in target.channels):
            yield path, "text messages are not in this tenant's plan: set `sms = true`, or nobody gets this one"
        if phone and tenant.countries and (country := country_of(target.value)) not in tenant.countries:
            yield path, f"numbers of {country or 'that country'} are not in `countries`: nobody gets this one"


def _unreachable(tenant: TenantPolicy, root: str) -> Iterator[Found]:
    catch_all = [index for index, rule in enumerate(tenant.rules) if rule.when == Condition()]
    if not tenant.default and not catch_all:
        yield root, "no default route and no rule without conditions: an event that no rule matches is told to nobody"
    if not tenant.match_all and catch_all:
        for index in range(catch_all[0] + 1, len(tenant.rules)):
            yield f"{root}.rules[{index}]", "never reached: an earlier rule matches everything and match is first"
    named = {target.value for _, target in sends_of(tenant) if target.kind is TargetKind.ENDPOINT}
    for index, endpoint in enumerate(tenant.endpoints):
        if endpoint.name not in named:
            yield f"{root}.endpoints[{index}]", f"no rule sends anything to endpoint {endpoint.name}"
