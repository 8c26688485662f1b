"""Messages from templates: a pure function of the stored message and its live values.

Templates are compiled once, at their first use; a change needs a new process. Styles are inlined when a template is
loaded, not per message. What a template prints is capped; a template that fails is replaced by a plain form that
needs none (P9). Errors name the template and the line, never a value of the message (P10).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, TemplateError, TemplateSyntaxError, UndefinedError, meta
from jinja2.exceptions import SecurityError

from notifier.core import plain
from notifier.core.mail_styles import MailStyles
from notifier.core.model import ChannelName, Message
from notifier.core.sandbox import FolderLoader, environment, printed
from notifier.core.sms_text import MOST_SEGMENTS, fits, segments, to_gsm
from notifier.errors import RenderError

#: The parts of each channel: name → how its file ends.
PARTS: dict[ChannelName, dict[str, str]] = {
    ChannelName.EMAIL: {"subject": "subject.txt", "html": "html", "text": "txt"},
    ChannelName.SMS: {"text": "txt"},
    ChannelName.CALLBACK: {"payload": "payload.json"},
}
CAPS = {"subject": 200, "html": 100_000, "text": 50_000, "payload": 1_000_000}  #: characters
STYLE = "email/_style.css"
MASKED_NUMBER = "##"


@dataclass(frozen=True, slots=True)
class Live:
    """What is never stored: link addresses by name, and the number. Its repr hides both."""

    urls: Mapping[str, str] = field(repr=False)
    number: str | None = field(repr=False, default=None)


def masked(message: Message, base_url: str = "https://link.invalid") -> Live:
    """What previews show instead of live values (P10): as long as the real thing, and opening nothing."""
    links: Mapping[str, Mapping[str, Any]] = message.context.get("links", {})
    urls = {
        name: f"{base_url}/s/{'*' * 16}" if link.get("short") else f"{base_url}/l/****" for name, link in links.items()
    }
    return Live(urls, MASKED_NUMBER if message.context.get("number") else None)


class Templates:
    """All templates of a folder."""

    def __init__(self, root: Path) -> None:
        """Read the style sheet. Raises RenderError when the folder has no templates."""
        self.root = root
        if not (root / STYLE).is_file():
            raise RenderError(f"no templates in {root}: {STYLE} is missing")
        self._styles = MailStyles((root / STYLE).read_text(encoding="utf-8"))
        self._loader = FolderLoader(root, self._prepare)
        self._environment: Environment = environment(self._loader)
        self._hashes: dict[tuple[str, ChannelName], str] = {}
        payloads = (root / ChannelName.CALLBACK.value).glob(f"*.{PARTS[ChannelName.CALLBACK]['payload']}")
        self._reshaped = frozenset(path.name.partition(".")[0] for path in payloads)

    def _prepare(self, name: str, source: str) -> str:
        return self._styles.inline(source) if name.startswith("email/") and name.endswith(".html") else source

    def hash(self, kind: str, channel: ChannelName) -> str:
        """Digest of every file that a message's look depends on, layouts and style sheet included.

        Never raises: an unreadable or broken template is found, and replaced, when the message is rendered (P9).
        """
        if (kind, channel) not in self._hashes:
            digest = hashlib.sha256()
            for name in sorted(self._files(kind, channel)):
                digest.update(f"{name}\0".encode() + self._bytes(name))
            self._hashes[kind, channel] = digest.hexdigest()[:16]
        return self._hashes[kind, channel]

    def _bytes(self, name: str) -> bytes:
        try:
            return self._loader.path(name).read_bytes()
        except (OSError, TemplateError):
            return b""

    def _files(self, kind: str, channel: ChannelName) -> set[str]:
        if channel is ChannelName.CALLBACK and kind not in self._reshaped:
            return set()
        waiting = [_file(kind, channel, part) for part in PARTS[channel]]
        found = {STYLE} if channel is ChannelName.EMAIL else set()
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self._referenced(name)
        return found

    def _referenced(self, name: str) -> Iterable[str]:
        try:
            tree = self._environment.parse(self._bytes(name).decode("utf-8", "replace"))
        except (TemplateError, RecursionError):
            return []
        return [inner for inner in meta.find_referenced_templates(tree) if inner]

    def render(self, message: Message, live: Live) -> dict[str, str]:
        """Return the parts of a message. Raises RenderError with the template's name and the reason.

        A payload is data and needs no template; a deployment may have one that reshapes it.
        """
        if message.channel is ChannelName.CALLBACK and message.kind not in self._reshaped:
            return {"payload": plain.payload(message.context)}
        context = {**message.context, "links": dict(live.urls), "number": live.number or ""}
        return {part: self._part(message, part, context) for part in PARTS[message.channel]}

    def _part(self, message: Message, part: str, context: Mapping[str, Any]) -> str:
        name = _file(message.kind, message.channel, part)
        try:
            text = _finished(message.channel, part, printed(self._environment, name, context))
        except RenderError as error:
            raise RenderError(f"templates/{name}: {error}") from None
        except Exception as error:  # whatever a template does wrong must end in the plain form (P9)
            # `from None`: the frames below hold live links.
            raise RenderError(f"templates/{name}: {_reason(error)}") from None
        if not text.strip():
            raise RenderError(f"templates/{name}: printed nothing")
        return text

    def fallback(self, message: Message, live: Live) -> dict[str, str]:
        """The plain safe form of a message: store, what, when, links, number (P9). Uses no template; never raises."""
        return plain.parts(message, live.urls, live.number)

    def check(self, samples: Iterable[Message]) -> list[str]:
        """Render every sample message with masked values; return the mistakes found."""
        mistakes = []
        for message in samples:
            try:
                self.render(message, masked(message))
            except RenderError as error:
                mistakes.append(str(error))
        return sorted(set(mistakes))


def _file(kind: str, channel: ChannelName, part: str) -> str:
    return f"{channel.value}/{kind}.{PARTS[channel][part]}"


def _reason(error: Exception) -> str:
    """Say what went wrong without a value of the message: only errors whose text is ours or Jinja's are quoted."""
    if isinstance(error, TemplateSyntaxError):
        return f"line {error.lineno}: {error.message}"
    if isinstance(error, (UndefinedError, SecurityError)):
        return f"{type(error).__name__}: {error}"
    return type(error).__name__


def _finished(channel: ChannelName, part: str, text: str) -> str:
    if channel is ChannelName.SMS:
        return _sms(text)
    if part == "payload":
        return _payload(_capped(part, text))
    if part == "subject":
        return _capped(part, " ".join(text.split()))
    if part == "text":
        return _capped(part, _paragraphs(text))
    return _capped(part, text)


def _paragraphs(text: str) -> str:
    """No spaces at the ends of lines, one empty line at most between others, a line's end at the end."""
    lines = list(map(str.rstrip, text.splitlines()))
    kept = [line for line, before in zip(lines, ["", *lines], strict=False) if line or before]
    return "\n".join(kept).strip() + "\n"


def _capped(part: str, text: str) -> str:
    if len(text) > CAPS[part]:
        raise RenderError(f"{len(text):,} characters, at most {CAPS[part]:,}")
    return text


def _sms(text: str) -> str:
    written = " ".join(to_gsm(" ".join(text.split())).split())
    size = segments(written)
    if not fits(size):
        raise RenderError(f"{size.count} segments ({size.encoding}), at most {MOST_SEGMENTS[size.encoding]}")
    return written


def _payload(text: str) -> str:
    """Parse what a template printed and write it plainly: a payload that is no JSON object never leaves."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except ValueError:
        raise RenderError("the payload is not JSON") from None
    if not isinstance(value, dict):
        raise RenderError("the payload is not a JSON object")
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _no_constant(name: str) -> None:
    raise ValueError(name)
