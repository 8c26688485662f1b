"""Addresses: normal forms, what is allowed, and the masked form in which people see them (P10).

E-mail by email-validator without DNS; phone numbers by phonenumbers (ITU E.164). Two spellings of one address have one
normal form, since "once per address" (P2) hangs on it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from phonenumbers import NumberParseException, PhoneNumberType

from notifier.core.model import Suppression

PREMIUM = (PhoneNumberType.PREMIUM_RATE, PhoneNumberType.SHARED_COST)
_EMAIL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,8}")
_PHONE = re.compile(r"\+\d(?:[ ().-]?\d){6,14}")
MOST_LENGTH = 320  #: characters of an address; RFC 5321: 64 + 1 + 255


class AddressError(ValueError):
    """The address cannot be used; `reason` is the Suppression that says why."""

    def __init__(self, reason: Suppression, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@lru_cache(10_000)  # the same few people, again and again; the rules for an address cost more than the rest of a plan
def normalise_email(text: str) -> str:
    """Return the normal form: lower-case, internationalised domain in ASCII. Raises AddressError."""
    if len(text) > MOST_LENGTH:
        raise AddressError(Suppression.BAD_ADDRESS, "the e-mail address is too long")
    try:
        parsed = validate_email(text.strip(), check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise AddressError(Suppression.BAD_ADDRESS, str(error)) from None
    return f"{parsed.local_part}@{parsed.ascii_domain}".lower()


def normalise_phone(text: str, region: str | None = None, allowed: Collection[str] | None = None) -> str:
    """Return E.164. `region` reads national numbers, `allowed` are ISO 3166 (None = any). Raises AddressError."""
    try:
        parsed = phonenumbers.parse(text[:50], region or None)
    except NumberParseException as error:
        raise AddressError(Suppression.BAD_ADDRESS, f"not a phone number: {error}") from None
    if parsed.extension:
        raise AddressError(Suppression.BAD_ADDRESS, "an extension cannot be written to; give a number of its own")
    if not phonenumbers.is_possible_number(parsed):
        raise AddressError(Suppression.BAD_ADDRESS, "no phone number has this form")
    if phonenumbers.number_type(parsed) in PREMIUM:
        raise AddressError(Suppression.PREMIUM_NUMBER, "premium numbers are never written to")
    country = phonenumbers.region_code_for_number(parsed) or ""
    codes = phonenumbers.region_codes_for_country_code(parsed.country_code or 0)
    if allowed is not None and country not in allowed and not (not country and set(codes) & set(allowed)):
        raise AddressError(Suppression.COUNTRY_NOT_ALLOWED, f"numbers of {country or 'that country'} are not allowed")
    return str(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))


def country_of(number: str) -> str:
    """The country (ISO 3166-1 alpha-2) of a number in E.164; "" when it has none."""
    return str(phonenumbers.region_code_for_number(phonenumbers.parse(number)) or "")


def mask(address: str) -> str:
    """Return what people may see of an address: enough to recognise one's own, too little to write to."""
    if "@" in address:
        local, _, domain = address.rpartition("@")
        return f"{local[:1]}…@{domain}"
    if address.startswith("+"):
        return f"{address[:3]}…{address[-2:]}"
    return address


def mask_all(text: str) -> str:
    """Return a text of somebody else's with every e-mail address and international phone number in it masked."""
    return _PHONE.sub(lambda match: mask(match[0]), _EMAIL.sub(lambda match: mask(match[0]), text))
