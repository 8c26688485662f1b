"""notifier.toml → Policy. Lists every mistake at once, with its line; pure.

Errors make the file unusable; warnings (`check`) name what is allowed but hardly meant.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, cast
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from notifier.core.addresses import AddressError, normalise_email, normalise_phone
from notifier.core.ids import EndpointName, TenantId
from notifier.core.model import ChannelName, Priority
from notifier.core.policy import (
    Condition,
    Confirmation,
    Endpoint,
    Help,
    LinkPolicy,
    OrderPolicy,
    Policy,
    Rule,
    Target,
    TargetKind,
    TenantPolicy,
    When,
)
from notifier.core.toml_lines import Lines
from notifier.errors import ConfigError, Problem

#: Every key of the file: the reference page and the parser use this table.
KEYS: dict[str, dict[str, str]] = {
    "tenant": {
        "name": "text",
        "timezone": "text",
        "language": "text",
        "countries": "texts",
        "sms": "flag",
        "email_from": "text",
        "email_reply_to": "text",
        "sms_from": "text",
        "image_hosts": "texts",
        "match": "text",
        "base_url": "text",
        "help": "table",
        "default": "tables",
        "links": "table",
        "orders": "table",
        "rules": "tables",
        "endpoints": "tables",
    },
    "help": {"name": "text", "phone": "text", "email": "text"},
    "links": {"view_days": "count", "order_days": "count", "confirmation": "text"},
    "orders": {"decide_roles": "texts", "deadline_margin_minutes": "count", "undo_minutes": "count"},
    "rule": {
        "name": "text",
        "when": "table",
        "send": "tables",
        "links": "flag",
        "priority": "text",
        "updates": "flag",
    },
    "when": {
        "type": "texts",
        "category": "texts",
        "alert_type": "texts",
        "market": "texts",
        "channel": "texts",
        "classification": "texts",
        "asset_type": "texts",
        "outlet": "texts",
        "value_below": "number",
        "value_above": "number",
    },
    "send": {"to": "text", "by": "texts"},
    "endpoint": {"name": "text", "url": "text", "secrets": "texts", "types": "texts", "when": "text"},
}
WORDS = {
    "text": "a text",
    "texts": "a list of texts",
    "flag": "true or false",
    "count": "a whole number",
    "number": "a number",
    "table": "a table",
    "tables": "a list of tables",
}
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def parse(text: str, file: str) -> Policy:
    """Return the policy. Raises ConfigError with every mistake."""
    reader = _Reader(text, file)
    policy = reader.read()
    if reader.problems:
        raise ConfigError(reader.problems)
    return policy


def check(text: str, file: str) -> list[Problem]:
    """Return warnings. Raises ConfigError with every mistake."""
    policy = parse(text, file)
    lines = Lines(text)
    return [
        Problem(f"{file}:{lines.find(path)}", message)
        for tenant in policy.tenants.values()
        for path, message in _warnings(tenant)
    ]


def _warnings(tenant: TenantPolicy) -> Iterator[tuple[str, str]]:
    root = f"tenants.{tenant.id}"
    catch_all = [index for index, rule in enumerate(tenant.rules) if rule.when == Condition()]
    if not tenant.default and not catch_all:
        yield root, "no default route and no rule without conditions: an event that no rule matches is told to nobody"
    if not tenant.match_all and catch_all:
        for index in range(catch_all[0] + 1, len(tenant.rules)):
            yield f"{root}.rules[{index}]", "never reached: an earlier rule matches everything and match is first"
    named = {target.value for rule in tenant.rules for target in rule.send if target.kind is TargetKind.ENDPOINT}
    for index, endpoint in enumerate(tenant.endpoints):
        if endpoint.name not in named:
            yield f"{root}.endpoints[{index}]", f"no rule sends anything to endpoint {endpoint.name}"


class _Reader:
    """Reads the parsed tables and collects mistakes."""

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.lines = Lines(text)
        self.problems: list[Problem] = []
        self.text = text

    def read(self) -> Policy:
        try:
            document = tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError([Problem(f"{self.file}:{_line_of(error)}", f"not TOML: {error}")]) from None
        for name in document:
            if name != "tenants":
                self.problem(name, f"unknown table {name!r}; everything stands under [tenants.<id>]")
        tables = document.get("tenants", {})
        if not isinstance(tables, dict) or not tables:
            self.problem("tenants", "no tenant: begin with [tenants.<id>]")
            return Policy(0, {})
        tenants = {TenantId(name): self.tenant(name, table) for name, table in tables.items()}
        return Policy(0, tenants)

    # -- tables ------------------------------------------------------------------------------------------------------

    def tenant(self, name: str, raw: Any) -> TenantPolicy:
        at = f"tenants.{name}"
        if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
            self.problem(at, "a tenant's id has letters, digits, - and _ only")
        table = self.table("tenant", raw, at)
        endpoints = tuple(self.endpoint(t, f"{at}.endpoints[{i}]") for i, t in enumerate(table.get("endpoints", [])))
        self.unique([endpoint.name for endpoint in endpoints], f"{at}.endpoints", "endpoint")
        names = {endpoint.name for endpoint in endpoints}
        rules = tuple(self.rule(t, f"{at}.rules[{i}]", names) for i, t in enumerate(table.get("rules", [])))
        self.unique([rule.name for rule in rules], f"{at}.rules", "rule")
        countries = tuple(table.get("countries", ()))
        self.countries(countries, at)
        return TenantPolicy(
            id=TenantId(name),
            name=table.get("name", name),
            timezone=self.zone(table.get("timezone", "UTC"), f"{at}.timezone"),
            language=table.get("language", "en"),
            countries=countries,
            help=Help(**self.table("help", table.get("help", {}), f"{at}.help")),
            base_url=self.url(table.get("base_url", ""), f"{at}.base_url").rstrip("/"),
            email_from=self.mailbox(table.get("email_from", ""), f"{at}.email_from"),
            email_reply_to=self.mailbox(table.get("email_reply_to", ""), f"{at}.email_reply_to"),
            sms_enabled=table.get("sms", False),
            sms_from=table.get("sms_from", ""),
            image_hosts=tuple(host.lower() for host in table.get("image_hosts", ())),
            match_all=self.choice(table.get("match", "all"), ("all", "first"), f"{at}.match") == "all",
            rules=rules,
            default=self.sends(table.get("default", []), f"{at}.default", names),
            endpoints=endpoints,
            links=self.links(table.get("links", {}), f"{at}.links"),
            orders=self.orders(table.get("orders", {}), f"{at}.orders"),
        )

    def links(self, raw: Any, at: str) -> LinkPolicy:
        table = self.table("links", raw, at)
        word = self.choice(
            table.pop("confirmation", "number"), [kind.value for kind in Confirmation], f"{at}.confirmation"
        )
        return LinkPolicy(**table, confirmation=Confirmation(word))

    def orders(self, raw: Any, at: str) -> OrderPolicy:
        table = self.table("orders", raw, at)
        if "decide_roles" in table:
            table["decide_roles"] = tuple(table["decide_roles"])
        return OrderPolicy(**table)

    def rule(self, raw: Any, at: str, endpoints: set[EndpointName]) -> Rule:
        table = self.table("rule", raw, at)
        if not table.get("name"):
            self.problem(at, "a rule needs a name: it is shown where people ask why they got a message")
        if not table.get("send"):
            self.problem(at, "a rule needs `send`: whom it tells")
        priority = table.get("priority")
        if priority is not None:
            priority = Priority(self.choice(priority, [kind.value for kind in Priority], f"{at}.priority"))
        return Rule(
            name=table.get("name", ""),
            when=self.condition(table.get("when", {}), f"{at}.when"),
            send=self.sends(table.get("send", []), f"{at}.send", endpoints),
            links=table.get("links", True),
            priority=priority,
            updates=table.get("updates", False),
        )

    def condition(self, raw: Any, at: str) -> Condition:
        table = self.table("when", raw, at)
        below, above = table.get("value_below"), table.get("value_above")
        if below is not None and above is not None and above >= below:
            self.problem(at, f"can never match: nothing is above {above:g} and below {below:g}")
        plural = {"type": "types", "category": "categories"}
        lists = {plural.get(name, f"{name}s"): tuple(value) for name, value in table.items() if isinstance(value, list)}
        return Condition(**lists, value_below=below, value_above=above)

    def sends(self, raw: Any, at: str, endpoints: set[EndpointName]) -> tuple[Target, ...]:
        found = (self.target(entry, f"{at}[{index}]", endpoints) for index, entry in enumerate(raw))
        return tuple(target for target in found if target is not None)

    def target(self, raw: Any, at: str, endpoints: set[EndpointName]) -> Target | None:
        table = self.table("send", raw, at)
        kind, _, value = str(table.get("to", "")).partition(":")
        channels = tuple(
            ChannelName(self.choice(word, ("email", "sms"), f"{at}.by")) for word in table.get("by", ["email"])
        )
        if kind not in [item.value for item in TargetKind] or (kind != TargetKind.CARRIED and not value):
            self.problem(at, '`to` must be "role:<role>", "address:<address>", "endpoint:<name>" or "carried"')
            return None
        if kind == TargetKind.ENDPOINT and value not in endpoints:
            self.problem(at, f"no endpoint named {value!r}{_meant(value, endpoints)}")
        if kind == TargetKind.ADDRESS:
            value = self.address(value, at)
            if "by" in table and channels != ((ChannelName.EMAIL,) if "@" in value else (ChannelName.SMS,)):
                self.problem(at, "an e-mail address is reached by email, a phone number by sms")
        return Target(TargetKind(kind), value, channels)

    def endpoint(self, raw: Any, at: str) -> Endpoint:
        table = self.table("endpoint", raw, at)
        for name in ("name", "url", "secrets"):
            if not table.get(name):
                self.problem(at, f"an endpoint needs `{name}`")
        for secret in table.get("secrets", []):
            if not secret.startswith(("env:", "file:")):
                self.problem(at, 'secrets are references, "env:NAME" or "file:/path", never the secret itself')
        when = self.choice(table.get("when", "final"), [word.value for word in When], f"{at}.when")
        return Endpoint(
            name=EndpointName(table.get("name", "")),
            url=self.url(table.get("url", ""), f"{at}.url"),
            secrets=tuple(table.get("secrets", ())),
            types=tuple(table.get("types", ("coolr.*",))),
            when=When(when),
        )

    # -- values -------------------------------------------------------------------------------------------------------

    def table(self, kind: str, raw: Any, at: str) -> dict[str, Any]:
        """The known keys of a table that have the right type; everything else is a problem."""
        if not isinstance(raw, dict):
            self.problem(at, "must be a table")
            return {}
        good = {}
        for name, value in raw.items():
            if name not in KEYS[kind]:
                self.problem(f"{at}.{name}", f"unknown key {name!r}{_meant(name, KEYS[kind])}")
            elif not _is(KEYS[kind][name], value):
                self.problem(f"{at}.{name}", f"{name} must be {WORDS[KEYS[kind][name]]}")
            else:
                good[name] = value
        return good

    def choice(self, word: str, allowed: Any, at: str) -> str:
        if word in allowed:
            return word
        self.problem(at, f"{word!r} is not one of {', '.join(allowed)}{_meant(word, allowed)}")
        return cast("str", next(iter(allowed)))

    def zone(self, name: str, at: str) -> str:
        if name not in available_timezones():
            self.problem(at, f"no IANA time zone is named {name!r}{_meant(name, available_timezones())}")
        return name

    def url(self, text: str, at: str) -> str:
        parts = urlsplit(text)
        if text and (not parts.hostname or parts.username or parts.scheme not in ("http", "https")):
            self.problem(at, "must be a complete https:// address without user or password")
        elif text and parts.scheme == "http" and parts.hostname not in LOOPBACK:
            self.problem(at, "must begin with https://; plain http is for this machine only")
        return text

    def mailbox(self, text: str, at: str) -> str:
        if text:
            self.address(text.rpartition("<")[2].rstrip("> "), at)
        return text

    def address(self, text: str, at: str) -> str:
        try:
            return normalise_email(text) if "@" in text else normalise_phone(text)
        except AddressError as error:
            self.problem(at, f"{text!r}: {error}")
            return text

    def countries(self, codes: tuple[str, ...], at: str) -> None:
        for code in codes:
            if len(code) != 2 or not code.isupper() or not code.isascii():
                self.problem(f"{at}.countries", f"{code!r} is not a country code such as ES (ISO 3166-1 alpha-2)")

    def unique(self, names: list[Any], at: str, what: str) -> None:
        for index, name in enumerate(names):
            if name and name in names[:index]:
                self.problem(f"{at}[{index}]", f"a second {what} named {name!r}")

    def problem(self, at: str, message: str) -> None:
        self.problems.append(Problem(f"{self.file}:{self.lines.find(at)}", message))


def _is(kind: str, value: Any) -> bool:
    match kind:
        case "text":
            return isinstance(value, str)
        case "texts":
            return isinstance(value, list) and all(isinstance(item, str) for item in value)
        case "flag":
            return isinstance(value, bool)
        case "count":
            return isinstance(value, int) and not isinstance(value, bool) and value >= 0
        case "number":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case "table":
            return isinstance(value, dict)
    return isinstance(value, list) and all(isinstance(item, Mapping) for item in value)


def _meant(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, [str(item) for item in known], 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _line_of(error: tomllib.TOMLDecodeError) -> str:
    _, _, rest = str(error).rpartition("(at line ")
    return rest.split(",")[0] if rest else "1"
