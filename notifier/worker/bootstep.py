"""Runs the delivery engine inside a Celery worker: one loop thread, started and drained with the worker.

A bootstep, not a task: a long task would hold a pool slot and the visibility timeout and could not hear a warm
shutdown. Only workers that consume `deliver` get one. When the engine's loop dies it is started anew.
"""

from __future__ import annotations

import threading
import time
from typing import Any, ClassVar

import structlog
import uvloop
from celery import bootsteps

from notifier.engine import Engine
from notifier.errors import ConfigError, StoreError
from notifier.worker import current
from notifier.worker.app import DELIVER, app

log = structlog.get_logger(__name__)

RESTART_AFTER = 1.0  #: seconds between a crash of the loop and its new start
SETTLING = 12.0  #: seconds after the drain: the last outcomes and the session's end, with SQLite's patience of 10 s
_running: Engine | None = None


def wake_engine() -> None:
    """Tell this process's engine, if it has one, that there may be work."""
    if _running is not None:
        _running.wake()


class EngineThread(threading.Thread):
    """Keeps an engine running until told to stop."""

    def __init__(self) -> None:
        super().__init__(name="delivery-engine", daemon=True)
        self._stopping = threading.Event()
        self._engine: Engine | None = None
        self.drain = 0.0

    def run(self) -> None:
        """Run engines one after another; each ends by stop() or by a crash, which is logged."""
        global _running
        while not self._stopping.is_set():
            try:
                self._engine = _running = current.system().new_engine()
                if self._stopping.is_set():  # stop() came before there was an engine to be told
                    break
                uvloop.run(self._engine.run())
            except ConfigError as error:
                log.error("the delivery engine cannot start", action="engine_config", error=str(error))
            except StoreError as error:
                log.warning("the store is away; the delivery engine waits", action="store_away", error=str(error))
            except Exception:
                log.exception("the delivery engine crashed; starting it again", action="engine_crashed")
            finally:
                _running = None
            self._stopping.wait(RESTART_AFTER)

    def stop(self, patience: float) -> None:
        """Drain: stop claiming, wait for what is in flight, settle, return the rest."""
        self._stopping.set()
        if self._engine is not None:
            self._engine.stop()
        self.join(patience)
        if self.is_alive():
            log.error("the engine did not end in time; the sweep frees what it held", action="engine_abandoned")


class DeliveryEngineStep(bootsteps.StartStopStep):
    """Start the engine after the consumer's pool, stop it before the worker ends."""

    requires: ClassVar[set[str]] = {"celery.worker.components:Pool"}

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        self.thread: EngineThread | None = None
        super().__init__(parent, **kwargs)

    def include_if(self, parent: Any) -> bool:
        """Only where the deliver queue is consumed."""
        return DELIVER in parent.app.amqp.queues.consume_from

    def start(self, parent: Any) -> None:
        """Called once when the worker starts."""
        self.thread = EngineThread()
        self.thread.start()

    def stop(self, parent: Any) -> None:
        """Called on warm shutdown (SIGTERM)."""
        if self.thread is not None:
            began = time.monotonic()
            self.thread.stop(current.system().drain_seconds + SETTLING)
            log.info("delivery engine drained", action="engine_drained", seconds=round(time.monotonic() - began, 2))
            self.thread = None

    terminate = stop


app.steps["worker"].add(DeliveryEngineStep)
