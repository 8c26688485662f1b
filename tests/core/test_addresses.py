"""One normal form per address (P2), the ones that are never written to, and the form people may see (P10)."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.addresses import AddressError, country_of, mask, mask_all, normalise_email, normalise_phone
from notifier.core.model import Suppression

EMAILS = [
    # case and blanks around it do not make another person
    (" Alice@Example.COM ", "alice@example.com"),
    # an internationalised domain in ASCII
    ("eva@bücher.example", "eva@xn--bcher-kva.example"),
    # a tag is another mailbox
    ("alice+coolr@example.com", "alice+coolr@example.com"),
]


@pytest.mark.parametrize(("given_", "normal"), EMAILS)
def test_spellings_of_one_mailbox_have_one_normal_form_p2(given_: str, normal: str) -> None:
    assert normalise_email(given_) == normal == normalise_email(normal)


BAD_EMAILS = [
    "",
    "alice",
    "alice@",
    "@example.com",
    "a@b@c.example",
    "a\r\nBcc: x@example.com",
    "a" * 400 + "@x.example",
]


@pytest.mark.parametrize("text", BAD_EMAILS)
def test_what_is_no_mailbox_is_refused(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        normalise_email(text)
    assert caught.value.reason is Suppression.BAD_ADDRESS


PHONES = [
    # national numbers are read with the outlet's country
    ("600 000 001", "ES", "+34600000001"),
    ("(0176) 12 34 56 78", "DE", "+4917612345678"),
    # international ones as they are
    ("+34 600-000-001", None, "+34600000001"),
    ("0034600000001", "PT", "+34600000001"),
    # Arabic digits
    ("+٣٤٦٠٠٠٠٠٠٠١", None, "+34600000001"),
]


@pytest.mark.parametrize(("text", "region", "normal"), PHONES)
def test_spellings_of_one_number_become_e164_p2(text: str, region: str | None, normal: str) -> None:
    assert normalise_phone(text, region) == normal


BAD_PHONES = [
    # no country known
    ("600000001", None, Suppression.BAD_ADDRESS),
    ("600000001", "", Suppression.BAD_ADDRESS),
    # a country that does not exist
    ("600000001", "QQ", Suppression.BAD_ADDRESS),
    # too short, and no number at all
    ("+3460", None, Suppression.BAD_ADDRESS),
    ("ask for Alice", "ES", Suppression.BAD_ADDRESS),
    # a text message does not reach an extension
    ("+34 600 000 001 ext. 5", None, Suppression.BAD_ADDRESS),
    # premium rate, shared cost
    ("+34 803 123 456", None, Suppression.PREMIUM_NUMBER),
    ("+44 843 123 4567", None, Suppression.PREMIUM_NUMBER),
]


@pytest.mark.parametrize(("text", "region", "reason"), BAD_PHONES)
def test_numbers_that_are_never_written_to_say_why(text: str, region: str | None, reason: Suppression) -> None:
    with pytest.raises(AddressError) as caught:
        normalise_phone(text, region)
    assert caught.value.reason is reason


def test_no_list_of_countries_allows_any_and_an_empty_one_none() -> None:
    assert normalise_phone("+34600000001", allowed=None) == normalise_phone("+34600000001", allowed={"ES"})
    for allowed in (set(), {"PT"}):
        with pytest.raises(AddressError) as caught:
            normalise_phone("+34600000001", allowed=allowed)
        assert caught.value.reason is Suppression.COUNTRY_NOT_ALLOWED


def test_a_shared_country_code_is_told_apart_by_the_number() -> None:
    assert country_of("+12025550123") == "US"
    with pytest.raises(AddressError):
        normalise_phone("+18765550123", allowed={"US"})  # Jamaica


MASKED = [
    ("alice@example.com", "a…@example.com"),
    ("+34600000001", "+34…01"),
    # an endpoint's name is no secret
    ("erp", "erp"),
    ("", ""),
]


@pytest.mark.parametrize(("address", "shown"), MASKED)
def test_people_see_too_little_of_an_address_to_write_to_p10(address: str, shown: str) -> None:
    assert mask(address) == shown


def test_addresses_inside_a_foreign_text_are_masked_p10() -> None:
    text = '{"address": "alice.b+x@mail.example.com", "other": "+34 600 000 001", "order": "1042"}'
    assert mask_all(text) == '{"address": "a…@mail.example.com", "other": "+34…01", "order": "1042"}'


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_a_reason(text: str) -> None:
    """Nothing else is ever raised."""
    for normal in (normalise_email, lambda given_: normalise_phone(given_, "ES")):
        with contextlib.suppress(AddressError):
            assert normal(text)


@given(st.text(max_size=200))
def test_masking_any_text_leaves_no_address_p10(text: str) -> None:
    assert "alice@example.com" not in mask_all(f"{text} alice@example.com {text}")
