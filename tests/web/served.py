"""An application on a real socket: what only a server shows, such as bodies that never end."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI

from tests.peers.process import answers, find_free_port, wait_until


@contextlib.contextmanager
def served(app: FastAPI, **options: Any) -> Iterator[int]:
    """Run uvicorn in a thread; yields its port. `options` are uvicorn.Config's."""
    port = find_free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, **options))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: answers(port), "server ready")
        yield port
    finally:
        server.should_exit = True
        thread.join(10)
