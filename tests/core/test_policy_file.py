"""notifier.toml: every mistake at once, each at its line; nothing but ConfigError for whatever is in the file."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.core.ids import TenantId
from notifier.core.model import ChannelName, Priority
from notifier.core.policy import Confirmation, TargetKind, TenantPolicy, When
from notifier.core.policy_file import KEYS, parse
from notifier.core.policy_warnings import located, warnings
from notifier.errors import ConfigError

FULL = """\
[tenants.acme]
name = "Acme Beverages"
timezone = "Europe/Madrid"
language = "es-MX"
countries = ["ES", "PT"]
sms = true
sms_from = "Acme"
email_from = "Acme alerts <alerts@acme.example>"
email_reply_to = "help@acme.example"
base_url = "https://n.acme.example/"
image_hosts = ["Pictures.acme.example"]
match = "first"
default = [{ to = "role:Sales Rep" }]

[tenants.acme.help]
name = "Acme store support"
phone = "+34 600 000 000"
email = "help@acme.example"

[tenants.acme.links]
view_days = 30
order_days = 3
confirmation = "button"

[tenants.acme.orders]
decide_roles = ["Owner"]
deadline_margin_minutes = 30
undo_minutes = 0

[[tenants.acme.rules]]
name = "cold drinks"
send = [
  { to = "role:owner", by = ["sms", "email", "sms"] },
  { to = "address:Boss@Acme.example" },
  { to = "address:+34 600 000 001" },
  { to = "endpoint:erp" },
  { to = "carried" },
]
links = false
priority = "high"
updates = true

[tenants.acme.rules.when]
type = ["coolr.alert.*"]
category = ["equipment"]
alert_type = ["Health"]
market = ["Iberia"]
channel = ["Kiosk"]
classification = ["Gold"]
asset_type = ["Chest*"]
outlet = ["ES-*"]
value_below = 12
value_above = 7.5

[[tenants.acme.endpoints]]
name = "erp"
url = "https://erp.acme.example/hooks?x=1"
secrets = ["env:ERP_SECRET", "file:/run/secrets/erp"]
types = ["coolr.order.*"]
when = "at_once"
rate = 2.5
in_flight = 3
"""


def acme(text: str) -> TenantPolicy:
    return parse(text, "notifier.toml").tenants[TenantId("acme")]


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "notifier.toml")
    return [str(problem).removeprefix("notifier.toml:") for problem in caught.value.problems]


def test_everything_that_can_be_written_is_read() -> None:
    read = acme(FULL)
    assert (read.name, read.timezone, read.language) == ("Acme Beverages", "Europe/Madrid", "es-MX")
    assert (read.countries, read.sms_enabled, read.sms_from) == (("ES", "PT"), True, "Acme")
    assert (read.email_from, read.email_reply_to) == ("Acme alerts <alerts@acme.example>", "help@acme.example")
    assert (read.base_url, read.image_hosts) == ("https://n.acme.example", ("pictures.acme.example",))
    assert (read.help.name, read.help.phone) == ("Acme store support", "+34 600 000 000")
    assert not read.match_all
    assert read.links.confirmation is Confirmation.BUTTON
    assert (read.links.view_days, read.links.order_days) == (30, 3)
    assert (read.orders.decide_roles, read.orders.undo_minutes) == (("owner",), 0)
    assert read.orders.deadline_margin_minutes == 30
    (endpoint,) = read.endpoints
    assert (endpoint.when, endpoint.types, endpoint.rate) == (When.AT_ONCE, ("coolr.order.*",), 2.5)
    assert endpoint.in_flight == 3
    assert endpoint.secrets == ("env:ERP_SECRET", "file:/run/secrets/erp")


def test_a_rule_is_read_with_its_condition_and_targets() -> None:
    (rule,) = acme(FULL).rules
    assert (rule.links, rule.priority, rule.updates) == (False, Priority.HIGH, True)
    assert (rule.when.types, rule.when.categories) == (("coolr.alert.*",), ("equipment",))
    assert (rule.when.alert_types, rule.when.markets, rule.when.channels) == (("Health",), ("Iberia",), ("Kiosk",))
    assert (rule.when.classifications, rule.when.asset_types, rule.when.outlets) == (("Gold",), ("Chest*",), ("ES-*",))
    assert (rule.when.value_below, rule.when.value_above) == (12, 7.5)
    assert [(target.kind, target.value, target.channels) for target in rule.send] == [
        (TargetKind.ROLE, "owner", (ChannelName.SMS, ChannelName.EMAIL)),
        (TargetKind.ADDRESS, "boss@acme.example", (ChannelName.EMAIL,)),
        (TargetKind.ADDRESS, "+34600000001", (ChannelName.SMS,)),
        (TargetKind.ENDPOINT, "erp", (ChannelName.EMAIL,)),
        (TargetKind.CARRIED, "", (ChannelName.EMAIL,)),
    ]


def test_roles_are_spelled_as_the_directory_spells_them() -> None:
    assert [target.value for target in acme(FULL).default] == ["sales_rep"]


def test_the_full_example_uses_every_key() -> None:
    """So that no key can be forgotten by the tests above."""
    used = {line.partition("=")[0].strip() for line in FULL.splitlines() if "=" in line and not line.startswith(" ")}
    known = {name for kind, names in KEYS.items() for name, type_ in names.items() if kind != "send"}
    assert known - used == {"help", "links", "orders", "rules", "endpoints", "when"} - used


def test_every_mistake_is_listed_at_once_with_its_line() -> None:
    text = """\
[tenants.acme]
timezon = "Europe/Madrid"
sms = "yes"
countries = ["ES", "Spain"]

[[tenants.acme.rules]]
send = [{ to = "endpoint:erpp" }]
priority = "urgent"

[[tenants.acme.endpoints]]
name = "erp"
url = "http://erp.example"
secrets = ["whsec_c2VjcmV0"]

[other]
"""
    assert mistakes(text) == [
        "15: unknown table 'other'; everything stands under [tenants.<id>]",
        "2: unknown key 'timezon'; did you mean 'timezone'?",
        "3: sms must be true or false",
        '13: secrets are references, "env:NAME" or "file:/path", never the secret itself',
        "12: must begin with https://; plain http is for this machine only",
        "6: a rule needs a name: it is shown where people ask why they got a message",
        "8: 'urgent' is not one of high, normal, low",
        "7: no endpoint named 'erpp'; did you mean 'erp'?",
        "4: 'Spain' is not a country code such as ES (ISO 3166-1 alpha-2)",
    ]


def test_a_secret_that_was_written_down_is_not_quoted_p10() -> None:
    text = '[tenants.a]\n[[tenants.a.endpoints]]\nname="e"\nurl="https://e.example"\nsecrets=["whsec_dGVsbHRhbGU="]'
    assert "dGVsbHRhbGU" not in "".join(mistakes(text))


TENANT: list[tuple[str, str]] = [
    # what the values mean is checked, not only their type
    ('timezone = "Europe/Madird"', "no IANA time zone is named 'Europe/Madird'; did you mean 'Europe/Madrid'?"),
    ('language = "spanish"', "'spanish' is no language code such as en or es-MX (BCP 47)"),
    ('countries = ["A1"]', "'A1' is not a country code such as ES (ISO 3166-1 alpha-2)"),
    ('match = "any"', "'any' is not one of all, first"),
    ('sms_from = "600000001"', "write it with + and the country code"),
    ('email_from = "Acme"', "'Acme'"),
    ('email_reply_to = "x <>"', "is no sender such as"),
    ('help = { email = "nobody" }', "'nobody'"),
    ('help = { phone = "call us" }', "'call us'"),
    ('image_hosts = ["https://pictures.example"]', "is no host name"),
    ('base_url = "https://u:p@n.example"', "must be a complete https:// address without user or password"),
    ('base_url = "https://n.example/?x"', "no ? and no #"),
    ('base_url = "http://n.example"', "must begin with https://"),
    ('base_url = "https://[::1"', "is no web address"),
    ('base_url = "https://n.example:port"', "is no web address"),
    ("links = { view_days = -1 }", "view_days must be between 0 and 365"),
    ("links = { view_days = 99999999999999999999 }", "view_days must be between 0 and 365"),
    ('links = { confirmation = "none" }', "'none' is not one of button, number"),
    ("orders = { undo_minutes = true }", "undo_minutes must be a whole number"),
    ("orders = { decide_roles = [1] }", "decide_roles must be a list of texts"),
    ("rules = [1]", "rules must be a list of tables"),
    # a line end in a sender would be a second header
    ('email_from = "Acme\\r\\nBcc: eve@x.example <a@acme.example>"', "must be one line"),
    ('name = "Acme\\u202e"', "must be one line"),
    (f'name = "{"x" * 501}"', "at most 500 characters"),
    (f"countries = {json.dumps(['ES'] * 1001)}", "has 1,001 entries, at most 1,000"),
]


@pytest.mark.parametrize(("line", "said"), TENANT)
def test_a_wrong_value_of_a_tenant_is_named_at_its_line(line: str, said: str) -> None:
    (found,) = mistakes(f"[tenants.acme]\n{line}\n")
    assert found.startswith("2: ") and said in found


RULE: list[tuple[str, str]] = [
    ('send = [{ to = "owner" }]', '`to` must be "role:<role>"'),
    ('send = [{ to = "role:" }]', '`to` must be "role:<role>"'),
    ('send = [{ to = "carried:all" }]', '`to` must be "role:<role>"'),
    ('send = [{ by = ["email"] }]', '`to` must be "role:<role>"'),
    # nobody would be told, in silence
    ('send = [{ to = "role:owner", by = [] }]', "`by` names no channel"),
    ("send = []", "a rule needs `send`"),
    ('send = [{ to = "role:owner", by = ["fax"] }]', "'fax' is not one of email, sms"),
    ('send = [{ to = "carried", by = ["sms"] }]', "`by` has no meaning for carried"),
    ('send = [{ to = "address:a@b.example", by = ["sms"] }]', "an e-mail address is reached by email"),
    ('send = [{ to = "address:600000001" }]', "write it with + and the country code"),
    ('send = [{ to = "address:+34803123456" }]', "premium numbers are never written to"),
    ('send = [{ to = "carried" }]\nwhen = { type = ["coolr.alerts.*"] }', "no event type matches 'coolr.alerts.*'"),
    ('send = [{ to = "carried" }]\nwhen = { value_below = 1, value_above = 2 }', "can never match"),
    ('send = [{ to = "carried" }]\nwhen = { value_below = nan }', "no value that an alert could have"),
    ('send = [{ to = "carried" }]\nwhen = { value_above = inf }', "no value that an alert could have"),
    (f'send = [{{ to = "carried" }}]\nwhen = {{ value_above = {"9" * 400} }}', "no value that an alert could have"),
    ('send = [{ to = "carried" }]\nwhen = { value = 1 }', "unknown key 'value'"),
]


@pytest.mark.parametrize(("body", "said"), RULE)
def test_a_wrong_rule_says_what_is_wrong(body: str, said: str) -> None:
    (found,) = mistakes(f'[tenants.acme]\n[[tenants.acme.rules]]\nname = "r"\n{body}\n')
    assert said in found


ENDPOINT: list[tuple[str, str]] = [
    ('url = "https://e.example"\nsecrets = ["env:S"]', "an endpoint needs `name`"),
    ('name = "e"\nsecrets = ["env:S"]', "an endpoint needs `url`"),
    ('name = "e"\nurl = "https://e.example"', "an endpoint needs `secrets`"),
    ('name = "e"\nurl = "https://e.example"\nsecrets = ["env:"]', "secrets are references"),
    ('name = "e"\nurl = "ftp://e.example"\nsecrets = ["env:S"]', "must be a complete https:// address"),
    ('name = "e"\nurl = "https://e.example"\nsecrets = ["env:S"]\ntypes = ["alerts"]', "no event type matches"),
    ('name = "e"\nurl = "https://e.example"\nsecrets = ["env:S"]\nwhen = "later"', "is not one of final, at_once"),
    ('name = "e"\nurl = "https://e.example"\nsecrets = ["env:S"]\nrate = 0', "rate must be between 0.001 and 10,000"),
    ('name = "e"\nurl = "https://e.example"\nsecrets = ["env:S"]\nin_flight = 0', "must be between 1 and 1,000"),
    ('name = "e"\nurl = "https://e.example"\nsecrets = ["env:S"]\nrate = nan', "leave it out for no limit"),
]


@pytest.mark.parametrize(("body", "said"), ENDPOINT)
def test_a_wrong_endpoint_says_what_is_wrong(body: str, said: str) -> None:
    (found,) = mistakes(f"[tenants.acme]\n[[tenants.acme.endpoints]]\n{body}\n")
    assert said in found


def test_names_that_would_be_mistaken_for_each_other_are_refused() -> None:
    rule = '[[tenants.acme.rules]]\nname = "r"\nsend = [{ to = "carried" }]\n'
    assert mistakes(f"[tenants.acme]\n{rule}{rule}") == ["5: a second rule named 'r'"]


WHOLE: list[tuple[str, str]] = [
    ("", "1: no tenant: begin with [tenants.<id>]"),
    ("tenants = 3", "1: no tenant: begin with [tenants.<id>]"),
    ("[tenants]\nacme = 1", "2: must be a table"),
    ('[tenants."a b"]', "1: a tenant's id is 1 to 60 letters, digits, - and _, and begins with a letter or digit"),
    # where the parser says so, and at the end where it does not
    ("[tenants.acme]\nname = = 1", "2: not TOML"),
    ("[tenants.acme]\nrules = [\n", "2: not TOML: Invalid value"),
    ('[tenants.acme]\n\nname = "x', "3: not TOML"),
    # what the parser of the standard library lets through as other errors
    ("a = " + "[" * 5000, "not TOML: a number too long, or nested too deep"),
    ("a = 1" + "0" * 5000, "not TOML: a number too long, or nested too deep"),
]


@pytest.mark.parametrize(("text", "said"), WHOLE, ids=range(len(WHOLE)))
def test_a_file_that_is_none_says_so(text: str, said: str) -> None:
    (found,) = mistakes(text)
    assert said in found


# -- whatever is in the file -------------------------------------------------------------------------------------------

KEY_NAMES = sorted({name for names in KEYS.values() for name in names} | {"surprise"})
SCALARS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["role:owner", "carried", "endpoint:e", "address:+", "coolr.*", "first", "ES", "https://[", "env:"]
    ),
    st.integers(),
    st.floats(),
    st.booleans(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEY_NAMES), inner, max_size=4),
    max_leaves=12,
)


def toml(value: Any) -> str:
    """Write a value as TOML, inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {toml(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float):
        return repr(float(value))
    return json.dumps(value)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from(KEY_NAMES), VALUES, max_size=6))
def test_any_table_is_a_policy_or_a_list_of_mistakes(table: dict[str, Any]) -> None:
    body = "\n".join(f"{name} = {toml(value)}" for name, value in table.items())
    with contextlib.suppress(ConfigError):  # and nothing else
        assert set(parse(f"[tenants.acme]\n{body}\n", "f").tenants) == {"acme"}


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_a_policy_or_a_list_of_mistakes(text: str) -> None:
    with pytest.raises(ConfigError):  # no such text happens to hold a tenant
        parse(text, "f")


# -- warnings --------------------------------------------------------------------------------------------------------


def doubts(text: str) -> list[str]:
    found = located(text, "f", warnings(parse(text, "f")))
    return [str(problem).removeprefix("f:") for problem in found]


QUIET = 'default = [{ to = "carried" }]'

DOUBTS: list[tuple[str, str]] = [
    ("", "1: no default route and no rule without conditions: an event that no rule matches is told to nobody"),
    (f'{QUIET}\nlanguage = "es"', "3: there are no templates in 'es' yet; messages go out in English"),
    (f"{QUIET}\norders = {{ decide_roles = [] }}", "3: no role may decide"),
    ('default = [{ to = "role:owner", by = ["sms"] }]', "2: text messages are not in this tenant's plan"),
    (
        'sms = true\ncountries = ["ES"]\ndefault = [{ to = "address:+351912345678" }]',
        "4: numbers of PT are not in `countries`: nobody gets this one",
    ),
    (
        f'{QUIET}\n[[tenants.acme.rules]]\nname = "r"\nsend = [{{ to = "carried" }}]\nwhen = {{ value_below = 3 }}',
        "6: compares the value of every kind of alert; name an `alert_type` too",
    ),
    (
        f'{QUIET}\n[[tenants.acme.endpoints]]\nname = "e"\nurl = "https://e.example"\nsecrets = ["env:S"]',
        "3: no rule sends anything to endpoint e",
    ),
    (
        'match = "first"\n' + '[[tenants.acme.rules]]\nname = "{}"\nsend = [{{ to = "carried" }}]\n' * 2,
        "6: never reached: an earlier rule matches everything and match is first",
    ),
]


@pytest.mark.parametrize(("body", "said"), DOUBTS)
def test_what_is_hardly_meant_is_a_warning(body: str, said: str) -> None:
    text = f"[tenants.acme]\n{body.format('a', 'b') if '{}' in body else body}\n"
    (found,) = doubts(text)
    assert found.startswith(said)


def test_an_endpoint_of_the_default_route_is_no_orphan() -> None:
    endpoint = '[[tenants.acme.endpoints]]\nname = "e"\nurl = "https://e.example"\nsecrets = ["env:S"]'
    assert doubts(f'[tenants.acme]\ndefault = [{{ to = "endpoint:e" }}]\n{endpoint}\n') == []
