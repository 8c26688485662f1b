"""What holds for every test: the real third-party peers as fixtures, and the count of those that were missing."""

from __future__ import annotations

import pytest

from tests.peers.policy import MISSING

# process first: the others import it, and pytest wants to rewrite its assertions before that.
pytest_plugins = [
    "tests.peers.process",
    "tests.peers.browser",
    "tests.peers.mail",
    "tests.peers.postgres",
    "tests.peers.twilio_mock",
    "tests.stores",
]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A skipped peer is no pass: say how many, last."""
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    missing = sum(MISSING in reason for reason in skipped)
    if missing:
        terminalreporter.write_line(
            f"{missing} tests skipped because a peer is missing; with CI set they fail", red=True
        )
