"""notifier.toml → Policy. Lists every mistake at once, with its line; pure.

Errors make the file unusable; what is allowed but hardly meant is the business of notifier.core.policy_warnings.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, cast
from urllib.parse import urlsplit
from zoneinfo import available_timezones

import phonenumbers

from notifier.core import formatting
from notifier.core.addresses import AddressError, normalise_email, normalise_phone
from notifier.core.ids import EndpointName, TenantId
from notifier.core.matching import like
from notifier.core.model import ChannelName, EventType, Priority
from notifier.core.policy import (
    IN_FLIGHT,
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
    role_slug,
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
    "endpoint": {
        "name": "text",
        "url": "text",
        "secrets": "texts",
        "types": "texts",
        "when": "text",
        "rate": "number",
        "in_flight": "count",
    },
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
#: The largest whole number of a key.
MOST = {
    "view_days": 365,
    "order_days": 365,
    "deadline_margin_minutes": 10_080,
    "undo_minutes": 10_080,
    "in_flight": 1000,
}
LEAST = {"in_flight": 1}
MOST_TEXT = 500  #: characters of a text
MOST_ENTRIES = 1000  #: of a list
SLOWEST, FASTEST = 0.001, 10_000  #: messages per second
MOST_VALUE = 1e15  #: beyond, and NaN, numbers are no measured values
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?")
_MAILBOX = re.compile(r"(?:[^<>@]*<([^<>]+)>|([^<>\s]+))")
_SMS_SENDER = re.compile(r"MG[0-9a-f]{32}|(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def parse(text: str, file: str) -> Policy:
    """Return the policy. Raises ConfigError with every mistake."""
    reader = _Reader(text, file)
    policy = reader.read()
    if reader.problems:
        raise ConfigError(reader.problems)
    return policy


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
            raise ConfigError([Problem(f"{self.file}:{_line_of(error, self.text)}", f"not TOML: {error}")]) from None
        except (ValueError, RecursionError):  # the standard library's parser lets these two through
            raise ConfigError([Problem(self.file, "not TOML: a number too long, or nested too deep")]) from None
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
        if not _ID.fullmatch(name):
            self.problem(at, "a tenant's id is 1 to 60 letters, digits, - and _, and begins with a letter or digit")
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
            language=self.language(table.get("language", "en"), f"{at}.language"),
            countries=countries,
            help=self.help(table.get("help", {}), f"{at}.help"),
            base_url=self.base(table.get("base_url", ""), f"{at}.base_url"),
            email_from=self.mailbox(table.get("email_from", ""), f"{at}.email_from"),
            email_reply_to=self.mailbox(table.get("email_reply_to", ""), f"{at}.email_reply_to"),
            sms_enabled=table.get("sms", False),
            sms_from=self.sms_sender(table.get("sms_from", ""), f"{at}.sms_from"),
            image_hosts=self.hosts(table.get("image_hosts", []), f"{at}.image_hosts"),
            match_all=self.choice(table.get("match", "all"), ("all", "first"), f"{at}.match") == "all",
            rules=rules,
            default=self.sends(table.get("default", []), f"{at}.default", names),
            endpoints=endpoints,
            links=self.links(table.get("links", {}), f"{at}.links"),
            orders=self.orders(table.get("orders", {}), f"{at}.orders"),
        )

    def help(self, raw: Any, at: str) -> Help:
        table = self.table("help", raw, at)
        for name in ("email", "phone"):
            if table.get(name):
                self.address(table[name], f"{at}.{name}", email=name == "email")
        return Help(**table)

    def links(self, raw: Any, at: str) -> LinkPolicy:
        table = self.table("links", raw, at)
        word = self.choice(
            table.pop("confirmation", "number"), [kind.value for kind in Confirmation], f"{at}.confirmation"
        )
        return LinkPolicy(**table, confirmation=Confirmation(word))

    def orders(self, raw: Any, at: str) -> OrderPolicy:
        table = self.table("orders", raw, at)
        if "decide_roles" in table:
            table["decide_roles"] = tuple(role_slug(role) for role in table["decide_roles"])
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
        self.types(table.get("type", []), f"{at}.type")
        lists = {plural.get(name, f"{name}s"): tuple(value) for name, value in table.items() if isinstance(value, list)}
        return Condition(**lists, value_below=below, value_above=above)

    def sends(self, raw: Any, at: str, endpoints: set[EndpointName]) -> tuple[Target, ...]:
        found = (self.target(entry, f"{at}[{index}]", endpoints) for index, entry in enumerate(raw))
        return tuple(target for target in found if target is not None)

    def target(self, raw: Any, at: str, endpoints: set[EndpointName]) -> Target | None:
        table = self.table("send", raw, at)
        kind, _, value = str(table.get("to", "")).partition(":")
        if kind not in list(TargetKind) or (kind != TargetKind.CARRIED) != bool(value.strip()):
            self.problem(at, '`to` must be "role:<role>", "address:<address>", "endpoint:<name>" or "carried"')
            return None
        channels = self.channels(table, TargetKind(kind), at)
        if kind == TargetKind.ROLE:
            value = role_slug(value)
        if kind == TargetKind.ENDPOINT and value not in endpoints:
            self.problem(at, f"no endpoint named {value!r}{_meant(value, endpoints)}")
        if kind == TargetKind.ADDRESS:
            value = self.address(value, at, email="@" in value)
            usual = (ChannelName.EMAIL,) if "@" in value else (ChannelName.SMS,)
            if "by" in table and channels != usual:
                self.problem(f"{at}.by", "an e-mail address is reached by email, a phone number by sms")
            channels = usual
        return Target(TargetKind(kind), value, channels)

    def channels(self, table: Mapping[str, Any], kind: TargetKind, at: str) -> tuple[ChannelName, ...]:
        words = table.get("by", ["email"])
        if not words:
            self.problem(f"{at}.by", '`by` names no channel; "email", "sms" or both')
        if "by" in table and kind in (TargetKind.ENDPOINT, TargetKind.CARRIED):
            self.problem(f"{at}.by", f"`by` has no meaning for {kind.value}; leave it out")
        chosen = (ChannelName(self.choice(word, ("email", "sms"), f"{at}.by")) for word in words)
        return tuple(dict.fromkeys(chosen))

    def endpoint(self, raw: Any, at: str) -> Endpoint:
        table = self.table("endpoint", raw, at)
        for name in ("name", "url", "secrets"):
            if not table.get(name):
                self.problem(at, f"an endpoint needs `{name}`")
        for secret in table.get("secrets", []):
            if not secret.startswith(("env:", "file:")) or not secret.partition(":")[2]:
                self.problem(
                    f"{at}.secrets", 'secrets are references, "env:NAME" or "file:/path", never the secret itself'
                )
        self.types(table.get("types", ["coolr.*"]), f"{at}.types")
        when = self.choice(table.get("when", "final"), [word.value for word in When], f"{at}.when")
        return Endpoint(
            name=EndpointName(table.get("name", "")),
            url=self.url(table.get("url", ""), f"{at}.url"),
            secrets=tuple(table.get("secrets", ())),
            types=tuple(table.get("types", ("coolr.*",))),
            when=When(when),
            rate=table.get("rate", 0.0),
            in_flight=table.get("in_flight", IN_FLIGHT),
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
            elif (wrong := _unfit(name, value)) is not None:
                self.problem(f"{at}.{name}", f"{name} {wrong}")
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

    def language(self, name: str, at: str) -> str:
        if not formatting.is_language(name):
            self.problem(at, f"{name!r} is no language code such as en or es-MX (BCP 47)")
        return name

    def types(self, patterns: list[str], at: str) -> None:
        for pattern in patterns:
            if not any(like(type_.value, pattern) for type_ in EventType):
                self.problem(at, f"no event type matches {pattern!r}{_meant(pattern, EventType)}")

    def base(self, text: str, at: str) -> str:
        url = self.url(text, at).rstrip("/")
        if "?" in url or "#" in url:
            self.problem(at, "links are made from it: no ? and no #")
        return url

    def url(self, text: str, at: str) -> str:
        try:
            parts = urlsplit(text)
            host, _ = parts.hostname, parts.port
        except ValueError:
            self.problem(at, "is no web address")
            return text
        if text and (not host or parts.username or parts.scheme not in ("http", "https") or " " in text):
            self.problem(at, "must be a complete https:// address without user or password")
        elif text and parts.scheme == "http" and host not in LOOPBACK:
            self.problem(at, "must begin with https://; plain http is for this machine only")
        return text

    def hosts(self, names: list[str], at: str) -> tuple[str, ...]:
        for name in names:
            if not _HOST.fullmatch(name.lower()):
                self.problem(at, f"{name!r} is no host name such as pictures.example.com; no https://, no path")
        return tuple(name.lower() for name in names)

    def mailbox(self, text: str, at: str) -> str:
        """Check "Name <address>" or an address."""
        if text:
            found = _MAILBOX.fullmatch(text.strip())
            if found is None:
                self.problem(at, f"{text!r} is no sender such as Coolr alerts <alerts@example.com>")
            else:
                self.address(found[1] or found[2], at, email=True)
        return text

    def sms_sender(self, text: str, at: str) -> str:
        if not text or _SMS_SENDER.fullmatch(text):
            return text
        return self.address(text, at, email=False)

    def address(self, text: str, at: str, *, email: bool) -> str:
        try:
            return normalise_email(text) if email else normalise_phone(text)
        except AddressError as error:
            hint = "" if email or text.strip().startswith("+") else "; write it with + and the country code"
            self.problem(at, f"{text!r}: {error}{hint}")
            return text

    def countries(self, codes: tuple[str, ...], at: str) -> None:
        for code in codes:
            if code not in phonenumbers.SUPPORTED_REGIONS:
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
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case "table":
            return isinstance(value, dict)
    return isinstance(value, list) and all(isinstance(item, Mapping) for item in value)


def _unfit(name: str, value: Any) -> str | None:
    """What is wrong with a value of the right type."""
    texts = value if isinstance(value, list) else [value]
    if len(texts) > MOST_ENTRIES:
        return f"has {len(texts):,} entries, at most {MOST_ENTRIES:,}"
    if any(isinstance(text, str) and not (text.isprintable() and len(text) <= MOST_TEXT) for text in texts):
        return f"must be one line of at most {MOST_TEXT} characters, without control characters"
    if name in MOST and not LEAST.get(name, 0) <= value <= MOST[name]:
        return f"must be between {LEAST.get(name, 0)} and {MOST[name]:,}"
    if name == "rate" and not SLOWEST <= value <= FASTEST:
        return f"must be between {SLOWEST:g} and {FASTEST:,} messages per second; leave it out for no limit"
    if name.startswith("value_") and not abs(value) <= MOST_VALUE:
        return "is no value that an alert could have"
    return None


def _meant(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word[:100], [str(item) for item in known], 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _line_of(error: tomllib.TOMLDecodeError, text: str) -> str:
    found = re.search(r"\(at line (\d+),", str(error))
    return found[1] if found else str(max(1, len(text.splitlines())))
