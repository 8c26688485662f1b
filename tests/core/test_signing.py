"""Standard Webhooks signatures: the specification's own example, and what a secret may look like."""

from __future__ import annotations

import base64

import pytest

from notifier.core.signing import decode_secret, signature

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_example_of_the_specification_comes_out() -> None:
    body = b'{"test": 2432232314}'
    made = signature([decode_secret(SECRET)], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_several_secrets_make_several_signatures_newest_first() -> None:
    one, two = bytes(range(32)), bytes(range(1, 33))
    both = signature([one, two], "id", 1, b"body").split()
    assert both == [*signature([one], "id", 1, b"body").split(), *signature([two], "id", 1, b"body").split()]


def of_length(size: int) -> str:
    """A secret of that many bytes."""
    return "whsec_" + base64.b64encode(bytes(size)).decode()


@pytest.mark.parametrize("text", [SECRET, f" {SECRET}\n", SECRET.removeprefix("whsec_"), of_length(24), of_length(64)])
def test_a_secret_is_base64_with_or_without_its_prefix(text: str) -> None:
    assert 24 <= len(decode_secret(text)) <= 64


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_not*base64", "whsec_abc", of_length(23), of_length(65), "ÄÖÜ"])
def test_any_other_is_refused_without_being_quoted_p10(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        decode_secret(text)
    assert not text or text.removeprefix("whsec_") not in str(caught.value) or text == "whsec_"
