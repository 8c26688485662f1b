"""Prism, mocking Twilio's API from Twilio's own OpenAPI description: says whether our requests are well formed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.policy import require_peer
from tests.peers.process import Argument, answers, find_free_port, running

NODE = Path(__file__).parent / "node"
PRISM = NODE / "node_modules/@stoplight/prism-cli/dist/index.js"
DESCRIPTION = NODE / "node_modules/@twilio/cli-core/src/services/twilio-api/twilio_api_v2010.json"


@pytest.fixture(scope="session")
def node_peers() -> Path:
    """The folder whose node_modules hold the peers written in JavaScript; its `node` is on PATH."""
    require_peer("node", "install Node.js 20 or newer", found=shutil.which("node"))
    require_peer("node modules", "run npm ci in tests/peers/node", found=(NODE / "node_modules").is_dir())
    return NODE


@pytest.fixture(scope="session")
def prism_twilio(node_peers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of the mock. It checks paths, credentials and fields, and always answers with Twilio's example."""
    port = find_free_port()
    command: list[Argument] = ["node", PRISM, "mock", "-h", "127.0.0.1", "-p", str(port), "--errors", DESCRIPTION]
    log = tmp_path_factory.mktemp("prism") / "log"
    with running(command, lambda: answers(port), log=log):
        yield f"http://127.0.0.1:{port}"
