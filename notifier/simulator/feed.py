"""Send an hour of the fleet to a running system: by HTTP (single and batched, with gzip) and by Celery.

Everything that is sent is also written to a file first, one JSON line each with what was answered, so that a checker
that knows nothing of this product can work out what should have been delivered.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from notifier.simulator.stories import Sending

BATCH = 20  #: most events of one request
Publish = Callable[[str, dict[str, Any]], None]  #: (tenant, event) → Celery


def feed(
    sendings: Sequence[Sending],
    base_url: str,
    keys: Mapping[str, str],
    publish: Publish,
    ledger: Path,
    *,
    pace: float = 0.0,
    stopping: Callable[[], bool] = lambda: False,
) -> int:
    """Send everything in order; `pace` is real seconds per simulated second (0 = at once). Returns how many.

    Ends early when `stopping` says so. Raises httpx.HTTPError when the system does not take events.
    """
    sent = 0
    with httpx.Client(base_url=base_url, timeout=30, trust_env=False) as client, ledger.open("a") as file:
        began, origin = time.monotonic(), sendings[0].at if sendings else 0.0
        for batch in _batches(sendings):
            _wait_until(began + (batch[0].at - origin) * pace, stopping)
            if stopping():
                break
            for sending, answer in zip(batch, _send(batch, client, keys, publish), strict=True):
                line = {
                    "at": sending.at,
                    "tenant": sending.tenant,
                    "how": sending.how,
                    "wave": sending.wave,
                    "body": sending.body,
                }
                file.write(json.dumps({**line, "answer": answer}) + "\n")
            sent += len(batch)
    return sent


def _wait_until(moment: float, stopping: Callable[[], bool]) -> None:
    while (rest := moment - time.monotonic()) > 0 and not stopping():
        time.sleep(min(rest, 0.2))


def _batches(sendings: Sequence[Sending]) -> Iterator[list[Sending]]:
    """Neighbours of one tenant and one way of sending travel together."""
    batch: list[Sending] = []
    for sending in sendings:
        if batch and (_group(sending) != _group(batch[0]) or len(batch) >= BATCH):
            yield batch
            batch = []
        batch.append(sending)
    if batch:
        yield batch


def _group(sending: Sending) -> tuple[str, str]:
    return sending.tenant, sending.how


def _send(batch: list[Sending], client: httpx.Client, keys: Mapping[str, str], publish: Publish) -> list[str]:
    if batch[0].how == "celery":
        for sending in batch:
            publish(sending.tenant, sending.body)
        return ["published"] * len(batch)
    headers = {"Authorization": f"Bearer {keys[batch[0].tenant]}"}
    if batch[0].how != "event":
        return _post(client, headers, "application/json", {"records": [sending.body for sending in batch]})
    if len(batch) == 1:
        return _post(client, headers, "application/cloudevents+json", batch[0].body)
    return _post(client, headers, "application/cloudevents-batch+json", [sending.body for sending in batch])


def _post(client: httpx.Client, headers: dict[str, str], content_type: str, body: Any) -> list[str]:
    raw = gzip.compress(json.dumps(body).encode())
    headers = {**headers, "Content-Type": content_type, "Content-Encoding": "gzip"}
    answer = client.post("/v1/events", content=raw, headers=headers)
    if answer.status_code in (200, 202, 207):
        return [str(result["status"]) for result in answer.json()["results"]]
    if answer.status_code in (403, 409, 422):  # a single event refused
        return [str(answer.json().get("status_word", "rejected"))]
    answer.raise_for_status()
    raise httpx.HTTPError(f"unexpected answer {answer.status_code}")
