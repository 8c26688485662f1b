"""What happens when a third-party program is not there: a failure in CI, a loud skip elsewhere. Never a quiet pass."""

from __future__ import annotations

import os

import pytest

MISSING = "peer missing: "


def require_peer(name: str, reason: str, *, found: object = None) -> None:
    """Go on when the peer was `found`; else fail (environment has CI) or skip, with how to get it as the reason."""
    if found:
        return
    text = f"{MISSING}{name} ({reason})"
    if os.environ.get("CI"):
        pytest.fail(text, pytrace=False)
    pytest.skip(text)
