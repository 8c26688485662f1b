"""Hints: coalesced "there is work" messages to the broker, sent by a background thread after the commit.

A hint buys latency, never correctness (P3): a refused publish blocks 0.6 s, so that no request or transaction may
wait for one; what cannot be sent is dropped. Many hints of one kind while one is being sent become one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

Publish = Callable[[str], None]  #: sends the task of that name without arguments
QUIET_AFTER_ERROR = 1.0  #: seconds without another try after the broker refused


class BrokerHints:
    """`Hints` over a publish function; safe to call from any thread."""

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        self._wanted: set[str] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def route(self) -> None:
        """Unrouted events exist."""
        self._want("notifier.route")

    def deliver(self) -> None:
        """Due notifications exist."""
        self._want("notifier.deliver")

    def close(self) -> None:
        """Stop the thread; hints not sent yet are dropped."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _want(self, name: str) -> None:
        with self._changed:
            self._wanted.add(name)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hints", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._stopped)
                if self._stopped:
                    return
                names, self._wanted = self._wanted, set()
            for name in sorted(names):
                self._send(name)

    def _send(self, name: str) -> None:
        try:
            self._publish(name)
        except Exception as error:
            # Whatever the broker's client raises: the row is committed and is found without the hint.
            log.warning(
                "hint dropped; the work is found without it", action="hint_dropped", task=name, error=repr(error)
            )
            with self._changed:
                self._changed.wait(QUIET_AFTER_ERROR)


class NoHints:
    """For commands and tests without a broker: the workers look by themselves."""

    def route(self) -> None:
        """Nothing to tell."""

    def deliver(self) -> None:
        """Nothing to tell."""

    def close(self) -> None:
        """Nothing to close."""
