"""Standard Webhooks signatures (spec 1.0.0): HMAC-SHA256 over ``id.timestamp.body``, several secrets while rotating."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"
MIN_SECRET, MAX_SECRET = 24, 64  #: bytes, as the specification says


def decode_secret(text: str) -> bytes:
    """Return the bytes of a ``whsec_<base64>`` secret. Raises ValueError without quoting it."""
    try:
        secret = base64.b64decode(text.strip().removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a webhook secret must be whsec_ and base64") from None
    if not MIN_SECRET <= len(secret) <= MAX_SECRET:
        raise ValueError(f"a webhook secret has {MIN_SECRET} to {MAX_SECRET} bytes")
    return secret


def signature(secrets: Sequence[bytes], webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` header: one ``v1,`` entry per secret."""
    signed = b".".join((webhook_id.encode(), str(timestamp).encode(), body))
    marks = (base64.b64encode(hmac.digest(secret, signed, "sha256")).decode() for secret in secrets)
    return " ".join(f"v1,{mark}" for mark in marks)
