"""Hints buy latency, never correctness (P3): they never block, never raise, and coalesce."""

from __future__ import annotations

import threading
import time

from notifier.hints import BrokerHints


def test_a_broker_that_hangs_delays_nobody_p3() -> None:
    release = threading.Event()

    def hang(_: str) -> None:
        release.wait(5)

    hints = BrokerHints(hang)
    began = time.monotonic()
    for _ in range(1000):
        hints.route()
    assert time.monotonic() - began < 1
    release.set()
    hints.close()


def test_many_hints_while_one_is_sent_become_one() -> None:
    sent: list[str] = []
    started, release = threading.Event(), threading.Event()

    def publish(name: str) -> None:
        sent.append(name)
        started.set()
        release.wait(5)

    hints = BrokerHints(publish)
    hints.route()
    assert started.wait(5)
    for _ in range(100):
        hints.route()
        hints.deliver()
    release.set()
    _until(lambda: len(sent) == 3)
    assert sorted(sent) == ["notifier.deliver", "notifier.route", "notifier.route"]
    hints.close()


def test_a_refused_hint_is_dropped_and_the_next_is_sent_p3() -> None:
    sent: list[str] = []

    def publish(name: str) -> None:
        sent.append(name)
        if len(sent) == 1:
            raise ConnectionError("no broker")

    hints = BrokerHints(publish)
    hints.route()
    _until(lambda: len(sent) == 1)
    hints.deliver()
    _until(lambda: sent == ["notifier.route", "notifier.deliver"])
    hints.close()


def _until(condition, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.005)
