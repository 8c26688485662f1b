"""API keys: ``nk_<id>_<secret>``. Only the SHA-256 of the whole key is stored; the secret has 256 random bits.

A plain hash is enough for a random secret of that size; a slow one would only tax every request.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field

_FORM = re.compile(r"nk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A fresh key: shown once, then only its hash exists."""

    id: str
    plaintext: str = field(repr=False)
    secret_hash: str = field(repr=False)


def make_api_key() -> MadeKey:
    """Make a key."""
    key_id = secrets.token_hex(6)
    plaintext = f"nk_{key_id}_{secrets.token_urlsafe(32)}"
    return MadeKey(key_id, plaintext, hash_of(plaintext))


def well_formed(text: str) -> bool:
    """Whether this can be a key at all: what is not is never looked up."""
    return _FORM.fullmatch(text) is not None


def hash_of(plaintext: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(plaintext.encode()).hexdigest()
