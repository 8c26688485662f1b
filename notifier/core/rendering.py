"""Messages from templates: a pure function of the stored message and its live values.

Templates are compiled once; a change needs a new process. Styles are inlined when a template is loaded, not per
message. What a template prints is capped; a template that fails is replaced by a plain form that needs none (P9).
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import css_inline
from jinja2 import Environment, TemplateError, meta

from notifier.core.model import ChannelName, Message
from notifier.core.sandbox import FolderLoader, environment
from notifier.core.sms_text import to_gsm
from notifier.errors import RenderError

#: The parts of each channel: name → how its file ends.
PARTS: dict[ChannelName, dict[str, str]] = {
    ChannelName.EMAIL: {"subject": "subject.txt", "html": "html", "text": "txt"},
    ChannelName.SMS: {"text": "txt"},
    ChannelName.CALLBACK: {"payload": "payload.json"},
}
CAPS = {"subject": 200, "html": 100_000, "text": 50_000, "payload": 1_000_000}  #: characters
MOST_SMS = 459  #: characters: three segments
MASK = "••"
_JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_KEPT = re.compile(r"(?:<!--)?jinja(\d+)x(?:-->)?")


@dataclass(frozen=True, slots=True)
class Live:
    """What is never stored: link addresses by name, and the number. Its repr hides both."""

    urls: Mapping[str, str] = field(repr=False)
    number: str | None = field(repr=False, default=None)


def masked(message: Message) -> Live:
    """What previews show instead of live values (P10)."""
    links = message.context.get("links", {})
    urls = {name: f"https://link.invalid/{name}/••••••••" for name in links}
    return Live(urls, MASK if message.context.get("number") else None)


class Templates:
    """All templates of a folder."""

    def __init__(self, root: Path) -> None:
        """Read the style once. Raises RenderError when the folder has no templates."""
        self.root = root
        style = root / "email" / "_style.css"
        if not style.is_file():
            raise RenderError(f"no templates in {root}: email/_style.css is missing")
        self._inliner = css_inline.CSSInliner(
            extra_css=style.read_text(encoding="utf-8"),
            inline_style_tags=False,
            keep_style_tags=True,
            load_remote_stylesheets=False,
        )
        self._environment: Environment = environment(FolderLoader(root, self._prepare))
        self._hashes: dict[tuple[str, ChannelName], str] = {}

    def _prepare(self, name: str, source: str) -> str:
        """Inline the styles of mail templates; Jinja's own syntax passes through untouched."""
        if not (name.startswith("email/") and name.endswith(".html")):
            return source
        guarded, kept = _guard(source)
        whole = "<html" in source
        inlined = self._inliner.inline(guarded) if whole else self._inliner.inline_fragment(guarded, "")
        return _restore(inlined, kept)

    def hash(self, kind: str, channel: ChannelName) -> str:
        """Digest of everything a message's look depends on."""
        if (kind, channel) not in self._hashes:
            digest = hashlib.sha256()
            for name in sorted(self._files(kind, channel)):
                digest.update((self.root / name).read_bytes())
            self._hashes[kind, channel] = digest.hexdigest()[:16]
        return self._hashes[kind, channel]

    def _files(self, kind: str, channel: ChannelName) -> set[str]:
        waiting = [f"{channel.value}/{kind}.{ending}" for ending in PARTS[channel].values()]
        found: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name in found or not (self.root / name).is_file():
                continue
            found.add(name)
            tree = self._environment.parse((self.root / name).read_text(encoding="utf-8"))
            waiting += [inner for inner in meta.find_referenced_templates(tree) if inner]
        return found

    def render(self, message: Message, live: Live) -> dict[str, str]:
        """Return the parts of a message. Raises RenderError with the template's name and the reason."""
        context = {**message.context, "links": dict(live.urls), "number": live.number or ""}
        parts = {
            part: self._part(f"{message.channel.value}/{message.kind}.{ending}", part, context)
            for part, ending in PARTS[message.channel].items()
        }
        return _finished(message.channel, parts)

    def _part(self, name: str, part: str, context: Mapping[str, Any]) -> str:
        try:
            text = self._environment.get_template(name).render(context)
        except (TemplateError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError) as error:
            raise RenderError(f"templates/{name}: {type(error).__name__}: {error}") from error
        if len(text) > CAPS[part]:
            raise RenderError(f"templates/{name}: {len(text):,} characters, at most {CAPS[part]:,}")
        return text

    def fallback(self, message: Message, live: Live) -> dict[str, str]:
        """The plain safe form of a message: store, what, when, links, number (P9)."""
        if message.channel is ChannelName.CALLBACK:
            return {"payload": _payload(message.context)}
        title, lines = _plain(message, live)
        if message.channel is ChannelName.SMS:
            return {"text": to_gsm(" ".join([title, *lines]))[:MOST_SMS]}
        body = "\n\n".join([title, *lines]) + "\n"
        marked = "".join(f"<p>{_linked(line)}</p>" for line in [title, *lines])
        return {
            "subject": title[:200],
            "text": body,
            "html": f'<!doctype html><html lang="en"><body>{marked}</body></html>',
        }

    def check(self, samples: Mapping[str, Mapping[ChannelName, Message]]) -> list[str]:
        """Render every sample; return the mistakes found."""
        mistakes = []
        for by_channel in samples.values():
            for message in by_channel.values():
                try:
                    self.render(message, masked(message))
                except RenderError as error:
                    mistakes.append(str(error))
        return mistakes


def _finished(channel: ChannelName, parts: dict[str, str]) -> dict[str, str]:
    if channel is ChannelName.CALLBACK:
        return {"payload": _valid_json(parts["payload"])}
    if channel is ChannelName.SMS:
        return {"text": to_gsm(" ".join(parts["text"].split()))[:MOST_SMS]}
    return {**parts, "subject": " ".join(parts["subject"].split())}


def _valid_json(text: str) -> str:
    """Parse what a template printed: a payload that is no JSON never leaves."""
    try:
        json.loads(text)
    except ValueError as error:
        raise RenderError(f"the payload is not JSON: {error}") from error
    return text


def _payload(context: Mapping[str, Any]) -> str:
    return json.dumps({name: context[name] for name in ("type", "timestamp", "data", "sequence")}, ensure_ascii=False)


def _plain(message: Message, live: Live) -> tuple[str, list[str]]:
    context = message.context
    store = context.get("outlet", {}).get("name", "")
    what = message.kind.replace("_", " ")
    order = context.get("order", {}).get("number")
    title = f"{store}: {what}" + (f" {order}" if order else "")
    lines = [f"When: {context.get('event', {}).get('time_local', '')} (store time)"]
    if live.number:
        lines.append(f"Your number for this order: {live.number}")
    lines += list(live.urls.values())
    help_ = context.get("help", {})
    if help_.get("phone"):
        lines.append(f"Questions? {help_.get('name', '')} {help_['phone']}")
    return title, lines


def _linked(line: str) -> str:
    safe = html.escape(line)
    return f'<a href="{safe}">{safe}</a>' if line.startswith(("https://", "http://")) else safe


def _guard(source: str) -> tuple[str, list[str]]:
    """Put comments in the place of Jinja's statements (an HTML parser moves text out of tables, comments stay), and
    plain words in the place of its expressions."""
    kept: list[str] = []

    def put_away(match: re.Match[str]) -> str:
        kept.append(match[0])
        return f"jinja{len(kept) - 1}x" if match[0].startswith("{{") else f"<!--jinja{len(kept) - 1}x-->"

    return _JINJA.sub(put_away, source), kept


def _restore(text: str, kept: list[str]) -> str:
    return _KEPT.sub(lambda match: kept[int(match[1])], text)
