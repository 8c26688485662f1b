"""How a call ends without an answer; whether the request can have arrived is said by the class (P4)."""

from __future__ import annotations


class AddressRefused(Exception):
    """The guard refused every address that the name leads to."""


class NoConnection(Exception):
    """There is no connection: nothing was written."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NoAnswer(Exception):
    """The request was written and no status came back."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
