"""`notifier keys`: an API key is shown once, kept as a hash, listed without it, and switched off at once."""

from __future__ import annotations

import base64

from notifier.core.keys import hash_of, well_formed
from notifier.testing import ACME
from tests.cli.conftest import KEY_ID, Cli


def test_a_key_is_printed_once_and_only_its_hash_is_kept_p10(cli: Cli) -> None:
    made = cli("keys", "create", ACME, "--name", "erp", "--source", "coolr/*", "--type", "coolr.order.*").out.strip()
    assert well_formed(made)
    with cli.system.store.read() as tx:
        key = tx.api_key(hash_of(made))
    assert key is not None
    assert (key.name, key.sources, key.types) == ("erp", ("coolr/*",), ("coolr.order.*",))
    assert not key.may_address and not key.may_read
    for form in ((), ("--json",)):
        assert made not in cli("keys", "list", *form).out and hash_of(made) not in cli("keys", "list", *form).out


def test_rights_are_given_one_by_one(cli: Cli) -> None:
    cli("keys", "create", ACME, "--name", "all", "--may-address", "--read")
    rows = {row["name"]: row for row in cli("keys", "list", "--tenant", ACME, "--json").json()}
    assert rows["all"]["rights"] == "send, address, read"
    assert rows["coolr"]["rights"] == "send"


def test_a_disabled_key_is_listed_as_such_and_disabled_once(cli: Cli) -> None:
    assert cli("keys", "disable", KEY_ID).out == f"key {KEY_ID} is disabled\n"
    assert cli("keys", "list", "--json").json()[0]["disabled"]
    assert "no enabled key with id" in cli("keys", "disable", KEY_ID, code=1).err


def test_a_key_for_nobody_is_refused(cli: Cli) -> None:
    assert "no tenant named zeta" in cli("keys", "create", "zeta", code=1).err


def test_a_pattern_that_matches_no_event_type_is_refused(cli: Cli) -> None:
    assert "no event type matches coolr.orders.*" in cli("keys", "create", ACME, "--type", "coolr.orders.*", code=1).err


def test_link_keys_are_32_random_bytes(bare: Cli) -> None:
    one, two = (bare("keys", "link").out.strip() for _ in range(2))
    assert one != two and len(base64.urlsafe_b64decode(one)) == 32
