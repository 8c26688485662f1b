"""Tokens, short codes and the number."""

from __future__ import annotations

import base64
import hashlib
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import URLSafeSerializer

from notifier.core.ids import LinkId, OrderId, RecipientKey, new_id
from notifier.core.links import (
    CROCKFORD,
    NUMBERS,
    LinkPurpose,
    LinkSigner,
    kept_apart,
    normalise_code,
    two_digit_numbers,
)
from notifier.errors import LinkInvalid

OLD, NEW = b"o" * 32, b"n" * 32
ID = LinkId("01935851-0000-7000-8000-000000000000")
LATER = datetime(2026, 12, 1, tzinfo=UTC)
UUIDS = st.uuids().map(lambda value: LinkId(str(value)))
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # the strategy adds the zone


@given(id_=UUIDS, expires=MOMENTS, purpose=st.sampled_from(LinkPurpose))
def test_a_token_names_its_link_purpose_and_expiry(id_: LinkId, expires: datetime, purpose: LinkPurpose) -> None:
    opened = LinkSigner([NEW]).verify(LinkSigner([NEW]).token(purpose, id_, expires))
    assert (opened.link_id, opened.purpose) == (id_, purpose)
    assert opened.expires_at == expires.replace(microsecond=0)


def test_a_token_is_for_addresses_and_mail_filters() -> None:
    token = LinkSigner([NEW]).token(LinkPurpose.ORDER, ID, LATER)
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~")
    assert "." not in token and len(token) < 120


def test_a_token_has_no_dot_even_when_its_id_could_be_compressed() -> None:
    token = LinkSigner([NEW]).token(LinkPurpose.ORDER, LinkId(str(uuid.UUID(int=0))), LATER)
    assert "." not in token
    assert LinkSigner([NEW]).verify(token).link_id == str(uuid.UUID(int=0))


@given(expires=MOMENTS, purpose=st.sampled_from(LinkPurpose))
def test_a_token_is_what_itsdangerous_writes_with_the_newest_key(expires: datetime, purpose: LinkPurpose) -> None:
    """So the tokens of messages sent by any release open."""
    id_ = LinkId(new_id())
    theirs = URLSafeSerializer(
        [OLD, NEW],
        salt=f"notifier.link.{purpose.value}",
        signer_kwargs={"sep": "~", "key_derivation": "hmac", "digest_method": hashlib.sha256},
    )
    packed = base64.urlsafe_b64encode(uuid.UUID(id_).bytes).rstrip(b"=").decode()
    token = LinkSigner([OLD, NEW]).token(purpose, id_, expires)
    assert token == theirs.dumps([packed, int(expires.timestamp())])


@given(st.text(max_size=250) | st.binary(max_size=100).map(lambda raw: base64.urlsafe_b64encode(raw).decode() + "~x"))
def test_nothing_else_verifies_and_nothing_breaks(text: str) -> None:
    with pytest.raises(LinkInvalid):
        LinkSigner([NEW]).verify(text)


def test_another_spelling_of_the_same_bytes_is_refused() -> None:
    """The last letter of base64 holds unused bits; decoders ignore them, and foreign characters too."""
    token = LinkSigner([NEW]).token(LinkPurpose.ORDER, ID, LATER)
    payload, _, signature = token.partition("~")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    aliases = []
    for text in (signature,):
        wanted = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        for char in alphabet:
            other = text[:-1] + char
            if other != text and base64.urlsafe_b64decode(other + "=" * (-len(other) % 4)) == wanted:
                aliases.append(f"{payload}~{other}")
    assert aliases, "there are such spellings"
    for alias in [*aliases, token + "=", token + "\n", f" {token}", token.replace("~", "~~"), token + "!"]:
        with pytest.raises(LinkInvalid):
            LinkSigner([NEW]).verify(alias)


def test_keys_rotate_the_newest_signs_and_all_verify() -> None:
    before, both, after = LinkSigner([OLD]), LinkSigner([OLD, NEW]), LinkSigner([NEW])
    old, new = before.token(LinkPurpose.ORDER, ID, LATER), both.token(LinkPurpose.ORDER, ID, LATER)
    assert both.verify(old).link_id == both.verify(new).link_id == after.verify(new).link_id == ID
    with pytest.raises(LinkInvalid):
        after.verify(old)
    assert both.key_id == after.key_id != before.key_id
    assert both.sms_code(ID, before.key_id) == before.sms_code(ID)


def test_expiry_is_judged_by_our_clock_and_not_by_when_a_token_was_signed() -> None:
    """A token made "in the future" by a signer whose clock runs ahead verifies like any other."""
    assert (
        LinkSigner([NEW]).verify(LinkSigner([NEW]).token(LinkPurpose.IMAGE, ID, LATER + timedelta(days=9999))).link_id
        == ID
    )


@pytest.mark.parametrize("keys", [[], [b"short"], [NEW, b"x" * 31]])
def test_there_is_no_signing_without_long_keys(keys: list[bytes]) -> None:
    with pytest.raises(ValueError):
        LinkSigner(keys)


# -- short codes -----------------------------------------------------------------------------------------------------


@given(UUIDS)
def test_a_code_is_sixteen_characters_that_can_be_dictated(id_: LinkId) -> None:
    code = LinkSigner([NEW]).sms_code(id_)
    assert len(code) == 16 and set(code) <= set(CROCKFORD)
    assert normalise_code(code) == code
    spoken = "-".join([code[:4], code[4:8], code[8:12], code[12:]]).lower()
    assert normalise_code(f" {spoken} ".replace("1", "i").replace("0", "o")) == code
    assert normalise_code(spoken.replace("1", "L").replace("0", "O")) == code


@pytest.mark.parametrize("text", ["", "A" * 15, "A" * 17, "U" * 16, "é" * 16, "0" * 15 + "!", "0" * 5000])
def test_what_is_no_code_is_not_looked_up(text: str) -> None:
    assert normalise_code(text) is None


def test_a_code_cannot_be_made_without_its_key_and_is_stored_as_a_hash() -> None:
    signer = LinkSigner([NEW])
    assert signer.sms_code(ID) != LinkSigner([OLD]).sms_code(ID)
    assert signer.sms_code(ID) not in signer.code_hash(signer.sms_code(ID))


# -- the number ------------------------------------------------------------------------------------------------------


@given(forbidden=st.sets(st.sampled_from(NUMBERS), max_size=89), order=UUIDS)
def test_the_number_stands_nowhere_else_in_sight(forbidden: set[str], order: LinkId) -> None:
    signer, key = LinkSigner([NEW]), RecipientKey("alice")
    round_, key_id = signer.choose_round(OrderId(order), key, forbidden)
    assert signer.number(OrderId(order), key, round_, key_id) not in forbidden


def test_when_every_number_is_in_sight_any_will_do() -> None:
    assert LinkSigner([NEW]).choose_round(OrderId("o"), RecipientKey("a"), set(NUMBERS))[0] == 0


def test_all_ninety_numbers_are_used_about_evenly() -> None:
    signer = LinkSigner([NEW])
    counts = dict.fromkeys(NUMBERS, 0)
    for _ in range(9000):
        counts[signer.number(OrderId(new_id()), RecipientKey("alice"), 0, signer.key_id)] += 1
    assert min(counts.values()) > 50 and max(counts.values()) < 160


def test_a_number_whose_key_is_gone_is_no_number() -> None:
    with pytest.raises(LinkInvalid):
        LinkSigner([NEW]).number(OrderId("o"), RecipientKey("a"), 0, "gone")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"a": 12, "b": ["x 34 y"]}, {"12", "34"}),
        ("412.50 EUR", {"50"}),
        ("2026-11-27", {"11", "27"}),
        ("123 4 5678", set()),
        (None, set()),
    ],
)
def test_two_digit_numbers_are_those_that_people_see(value: object, found: set[str]) -> None:
    assert two_digit_numbers(value) == found


@pytest.mark.parametrize(
    ("in_sight", "others", "apart"),
    [
        ({"12", "2026", "7"}, {"47"}, {"12", "47"}),
        (set(NUMBERS[:45]), {"99"}, {*NUMBERS[:45], "99"}),
        (set(NUMBERS[:46]), {"99"}, {"99"}),  # half of all and more: what is left would be a short list to guess from
        (set(NUMBERS[:89]), set(), set()),  # or no list at all
        (set(NUMBERS[:45]), set(NUMBERS[45:]), set(NUMBERS[45:])),  # nothing is free: unlike the other orders at least
    ],
)
def test_a_page_full_of_numbers_does_not_give_the_number_away(
    in_sight: set[str], others: set[str], apart: set[str]
) -> None:
    assert kept_apart(in_sight, others) == apart
