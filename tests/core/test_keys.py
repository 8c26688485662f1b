"""API keys: shown once, stored as a hash."""

from __future__ import annotations

import pytest

from notifier.core.keys import hash_of, make_api_key, well_formed


def test_a_key_is_well_formed_random_and_kept_as_a_hash_p10() -> None:
    keys = [make_api_key() for _ in range(100)]
    assert len({key.plaintext for key in keys}) == len({key.id for key in keys}) == 100
    for key in keys:
        assert well_formed(key.plaintext) and hash_of(key.plaintext) == key.secret_hash
        assert key.plaintext not in repr(key) and key.secret_hash not in repr(key)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nk_",
        "nk_0123456789ab_",
        "nk_0123456789AB_" + "a" * 43,
        "nk_0123456789ab_" + "a" * 44,
        "Bearer nk",
        "é" * 60,
    ],
)
def test_what_cannot_be_a_key_is_never_looked_up(text: str) -> None:
    assert not well_formed(text)
