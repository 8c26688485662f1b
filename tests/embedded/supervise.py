"""A supervisor as a process of its own, for the tests to signal and to kill.

python supervise.py FOLDER PARTS_JSON        each part: {"name", "code" (Python), ...fields of Part}
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from notifier.embedded.folder import open_folder
from notifier.embedded.part import Part
from notifier.embedded.supervisor import Supervisor, sole_user
from notifier.errors import ConfigError


def part(folder: Path, fields: dict[str, Any]) -> Part:
    """A part that runs Python code; ready when it has made the file `<name>.ready`, unless told otherwise."""
    name, code, waits = fields.pop("name"), fields.pop("code"), fields.pop("waits", True)
    environment = {**os.environ, "FOLDER": str(folder), "NAME": name}
    ready = (folder / f"{name}.ready").exists if waits else (lambda: True)
    return Part(name=name, command=[sys.executable, "-u", "-c", code], environment=environment, ready=ready, **fields)


def main(root: str, parts: str) -> int:
    folder = open_folder(Path(root))
    try:
        with sole_user(folder, say):
            supervisor = Supervisor([part(folder.root, fields) for fields in json.loads(parts)], folder, say)
            return supervisor.run(lambda: say("all up"), job if "JOB" in os.environ else None)
    except ConfigError as error:
        say(str(error))
        return 1


def job(stopping: Any) -> int:
    say("job at work")
    return int(os.environ["JOB"])


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
