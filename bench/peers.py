"""Others on the same receivers: Alertmanager (Debian's package) and Apprise. What is missing is named and left out.

Alertmanager keeps everything in memory and stores nothing before it sends; each alert is a group of its own, so that
one alert is one notification. Apprise is a library called in a loop, its pause between mails set to none.

`python -m bench.peers URL COUNT` is the loop over Apprise, in a process of its own.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import urllib.request
from datetime import UTC, datetime, timedelta

from bench.stage import Stage
from bench.throughput import Measured, measure
from tests.peers.process import find_free_port

ALERTMANAGER = "prometheus-alertmanager"
BATCH = 200  #: alerts posted at once
WEBHOOK_TEXT = "x" * 1000  #: makes Alertmanager's payload about 2 KB
MAIL_TEXT = "<p>Cola 0.33 l can, pack of 24, two cases suggested</p>" * 420  #: makes its mail about 25 KB
APPRISE_SHARE = 10  #: Apprise gets one of so many


def missing(who: str, what: str) -> Measured:
    """A reference that could not be measured here."""
    return Measured(who, 0, 0.0, {}, note=f"LEFT OUT: {what} is not installed")


def alertmanager(stage: Stage, workload: str, count: int) -> Measured:
    """Alerts posted as fast as it takes them."""
    if shutil.which(ALERTMANAGER) is None:
        return missing("Alertmanager", f"{ALERTMANAGER} (apt-get install {ALERTMANAGER})")
    folder = stage.folder / f"alertmanager-{next(stage.numbers)}"
    folder.mkdir()
    (folder / "am.yml").write_text(_configuration(stage, workload), encoding="utf-8")
    port = find_free_port()
    arguments = [f"--config.file={folder}/am.yml", f"--storage.path={folder}", f"--web.listen-address=127.0.0.1:{port}"]
    stage.sink.reset()
    with stage.process(
        "alertmanager", ALERTMANAGER, *arguments, "--cluster.listen-address=", environment={}, port=port
    ) as process:
        for start in range(0, count, BATCH):
            _alert(port, workload, range(start, min(start + BATCH, count)))
        found = measure(stage, "Alertmanager", count, lambda: [process.pid])
    return Measured(found.who, found.count, found.per_second, found.cpu, found.memory, found.note or "stores nothing")


def _configuration(stage: Stage, workload: str) -> str:
    route = "route: {receiver: sink, group_by: ['...'], group_wait: 0s, group_interval: 1h, repeat_interval: 4h}\n"
    if workload == "plain":
        webhook = json.dumps({"url": stage.sink.url(), "send_resolved": False})
        return f"{route}receivers:\n- name: sink\n  webhook_configs: [{webhook}]\n"
    mail = {
        "to": "owner@store.example",
        "from": "alerts@bench.example",
        "smarthost": f"127.0.0.1:{stage.sink.smtp}",
        "require_tls": False,
        "html": "{{ range .Alerts }}{{ .Annotations.text | safeHtml }}{{ end }}",
        "text": "{{ range .Alerts }}{{ .Labels.number }}{{ end }}",
    }
    return f"{route}receivers:\n- name: sink\n  email_configs: [{json.dumps(mail)}]\n"


def _alert(port: int, workload: str, numbers: range) -> None:
    text = WEBHOOK_TEXT if workload == "plain" else MAIL_TEXT
    ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    alerts = [
        {
            "labels": {"alertname": "OutOfStock", "number": f"{n}", "outlet": f"O{n % 500}"},
            "annotations": {"text": text},
            "endsAt": ends,
        }
        for n in numbers
    ]
    headers = {"content-type": "application/json"}
    url = f"http://127.0.0.1:{port}/api/v2/alerts"
    request = urllib.request.Request(url, json.dumps(alerts).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        answer.read()


def apprise(stage: Stage, workload: str, count: int) -> Measured:
    """One call after another."""
    if importlib.util.find_spec("apprise") is None:
        return missing("Apprise", "apprise (make bench installs it: requirements-bench.lock)")
    count = max(10, count // APPRISE_SHARE)
    url = f"json://127.0.0.1:{stage.sink.http}/hook"
    if workload == "rich":
        url = f"mailto://127.0.0.1:{stage.sink.smtp}/?from=alerts@bench.example&to=owner@store.example&mode=insecure"
    stage.sink.reset()
    command = (sys.executable, "-m", "bench.peers", url, str(count))
    with stage.process("apprise", *command, environment={}) as process:
        return measure(stage, "Apprise, in a loop", count, lambda: [process.pid])


def _loop(url: str, count: int) -> None:
    import apprise as library

    made = library.Apprise()
    made.add(url)
    for server in made:
        server.request_rate_per_sec = 0
    body = MAIL_TEXT if url.startswith("mailto") else json.dumps({"text": WEBHOOK_TEXT * 2})
    for number in range(count):
        made.notify(body=body, title=f"Order {number}")


def run(stage: Stage, workload: str, count: int) -> list[Measured]:
    """Everybody."""
    return [alertmanager(stage, workload, count), apprise(stage, workload, count)]


if __name__ == "__main__":
    _loop(sys.argv[1], int(sys.argv[2]))
