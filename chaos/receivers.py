"""The receivers: callbacks over HTTP, mail over SMTP, a Twilio-shaped provider. Independent of the product.

Each writes its ledger line before it answers, with `has`: whether the receiver has the message now, whatever its sender
gets to know of that. Fault modes come by standard input, one JSON object a line: {"callback": "cut"}; "ok" ends one.

    python -m chaos.receivers FOLDER CALLBACK_PORT SMTP_PORT SMS_PORT
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import email
import email.policy
import hashlib
import hmac
import json
import random
import secrets
import sys
from collections.abc import Callable, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session

from chaos.ledger import Ledger
from chaos.scene import ACCOUNT, TOKEN

LATE = 17.0  #: seconds; the sender waits 15
USUAL = 0.3  #: seconds at most that a receiver takes when all is well
SLOW = 4.0  #: seconds; late enough to be in flight when something is killed, early enough to be heard
RETRY_AFTER = 3  #: seconds asked for by a 429
#: Every n-th request meets the fault, so that a faulty receiver still takes some.
EVERY = {"cut": 3, "late": 6, "slow": 2, "421": 2, "451": 2}


class Modes:
    """What each receiver does at the moment."""

    def __init__(self) -> None:
        self._mode = {"callback": "ok", "smtp": "ok", "sms": "ok"}
        self._count = 0

    def set(self, changes: Mapping[str, str]) -> None:
        """Change some."""
        self._mode |= changes

    def of(self, receiver: str) -> str:
        """What this request meets."""
        self._count += 1
        mode = self._mode[receiver]
        return mode if self._count % EVERY.get(mode, 1) == 0 else "ok"


def digest(body: bytes) -> str:
    """Tells bodies apart."""
    return hashlib.sha256(body).hexdigest()[:16]


def patience(mode: str) -> float:
    """Seconds before an answer."""
    return {"late": LATE, "slow": SLOW}.get(mode, random.uniform(0, USUAL))


class Callbacks:
    """An ERP's endpoint, by the documentation of callbacks."""

    def __init__(self, modes: Modes, ledger: Ledger) -> None:
        self._modes, self._ledger = modes, ledger

    async def take(self, request: web.Request) -> web.StreamResponse:
        """One callback."""
        raw = await request.read()
        mode, event = self._modes.of("callback"), json.loads(raw)
        has = mode not in ("429", "503")
        self._ledger.write(
            id=request.headers["webhook-id"],
            tenant=request.match_info["tenant"],
            address=request.match_info["endpoint"],
            type=event["type"],
            subject=event["data"]["subject"],
            event=event["data"]["event_id"],
            sequence=event["sequence"],
            rev=event["data"].get("extra", {}).get("rev"),
            decision=event["data"].get("decision_id"),
            hash=digest(raw),
            mode=mode,
            has=has,
        )
        if mode == "429":
            return web.Response(status=429, headers={"Retry-After": str(RETRY_AFTER)})
        if mode == "503":
            return web.Response(status=503)
        if mode == "cut":
            return cut(request)
        await asyncio.sleep(patience(mode))
        return web.Response(status=200)


def cut(request: web.Request) -> web.Response:
    """End the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


class Provider:
    """The Twilio-shaped provider: creates, lists, and reports by signed status call-backs."""

    def __init__(self, modes: Modes, ledger: Ledger, scene: Callable[[], Mapping[str, Any]]) -> None:
        self._modes, self._ledger, self._scene = modes, ledger, scene
        self._kept: list[dict[str, str]] = []
        self._reports: set[asyncio.Task[None]] = set()
        self._http: aiohttp.ClientSession | None = None

    async def create(self, request: web.Request) -> web.StreamResponse:
        """POST Messages.json."""
        form, mode = await request.post(), self._modes.of("sms")
        told = {name: str(value) for name, value in form.items()}
        sms = {
            "sid": "SM" + secrets.token_hex(16),
            "to": told["To"],
            "body": told["Body"],
            "status": "queued",
            "date_created": formatdate(usegmt=True),
        }
        has = mode != "429"
        self._ledger.write(
            id=told.get("StatusCallback", "").rpartition("/")[2],
            address=sms["to"],
            hash=digest(sms["body"].encode()),
            mode=mode,
            has=has,
        )
        if not has:
            return web.json_response({"code": 20429, "status": 429}, status=429, headers={"Retry-After": "3"})
        self._kept.append(sms)
        self._report_later(sms, told.get("StatusCallback", ""))
        if mode == "cut":
            return cut(request)
        await asyncio.sleep(patience(mode))
        return web.json_response(sms, status=201)

    async def list(self, request: web.Request) -> web.StreamResponse:
        """GET Messages.json: newest first."""
        to = request.query.get("To")
        found = [sms for sms in reversed(self._kept) if to in (None, sms["to"])]
        size = int(request.query.get("PageSize", "50"))
        more = "/next" if len(found) > size else None
        return web.json_response({"messages": found[:size], "next_page_uri": more})

    def _report_later(self, sms: dict[str, str], url: str) -> None:
        if url:
            task = asyncio.create_task(self._report(sms, url))
            self._reports.add(task)
            task.add_done_callback(self._reports.discard)

    async def _report(self, sms: dict[str, str], url: str) -> None:
        """Reports may get lost, as real ones do: one try at each web."""
        for status, after in (("sent", 0.3), ("delivered", 0.7)):
            await asyncio.sleep(after)
            sms["status"] = status
            form = {"MessageSid": sms["sid"], "MessageStatus": status, "To": sms["to"], "AccountSid": ACCOUNT}
            headers = {"X-Twilio-Signature": sign(url, form)}
            for port in self._scene()["ports"]["web"]:
                path = url.partition("/v1/")[2]
                if await self._post(f"http://127.0.0.1:{port}/v1/{path}", form, headers):
                    break

    async def _post(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> bool:
        self._http = self._http or aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with self._http.post(url, data=form, headers=headers) as answer:
                return answer.status < 500
        return False

    async def close(self) -> None:
        """Stop reporting."""
        for task in self._reports:
            task.cancel()
        if self._http is not None:
            await self._http.close()


def sign(url: str, form: Mapping[str, str]) -> str:
    """X-Twilio-Signature: HMAC-SHA1 over the address and the sorted parameters."""
    text = url + "".join(name + form[name] for name in sorted(form))
    return base64.b64encode(hmac.new(TOKEN.encode(), text.encode(), hashlib.sha1).digest()).decode()


class Mail:
    """What aiosmtpd calls for one connection."""

    def __init__(self, modes: Modes, ledger: Ledger) -> None:
        self._modes, self._ledger, self._mode = modes, ledger, "ok"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """421 and 451 come here, in the middle of a session."""
        mode = self._mode = self._modes.of("smtp")
        if mode == "421":
            asyncio.get_running_loop().call_later(0.05, _end, server)
            return "421 4.3.2 closing now"
        if mode == "451":
            return "451 4.3.0 try again"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """The mail is ours; `cut` ends the connection without saying so."""
        mode, content = self._mode, envelope.content
        assert isinstance(content, bytes)
        message = email.message_from_bytes(content, policy=email.policy.default)
        part = message.get_body(("plain",))
        self._ledger.write(
            id=message["Message-ID"].strip().strip("<>").partition("@")[0],
            address=envelope.rcpt_tos[0],
            type=message["X-Coolr-Type"],
            subject=message["X-Coolr-Subject"],
            hash=digest(b"\n".join(line for line in content.splitlines() if not line.startswith(b"Date:"))),
            text=part.get_content() if part else "",
            mode=mode,
            has=True,
        )
        if mode == "cut":
            _end(server)
        await asyncio.sleep(patience(mode))
        return "250 OK"


def _end(server: SMTP) -> None:
    if isinstance(server.transport, asyncio.WriteTransport):
        server.transport.abort()


class Door:
    """The callback receiver's listening socket, which can be shut: connection refused."""

    def __init__(self, runner: web.AppRunner, port: int) -> None:
        self._runner, self._port = runner, port
        self._site: web.TCPSite | None = None

    async def open(self) -> None:
        """Listen."""
        if self._site is None:
            self._site = web.TCPSite(self._runner, "127.0.0.1", self._port)
            await self._site.start()

    async def shut(self) -> None:
        """Listen no more."""
        if self._site is not None:
            await self._site.stop()
            self._site = None


async def serve(folder: Path, callback_port: int, smtp_port: int, sms_port: int) -> None:
    """Until standard input ends."""
    modes = Modes()
    ledgers = {name: Ledger(folder / f"{name}.jsonl") for name in ("callback", "smtp", "sms")}

    def scene() -> Mapping[str, Any]:
        found: Mapping[str, Any] = json.loads((folder / "scene.json").read_text())
        return found

    provider = Provider(modes, ledgers["sms"], scene)
    callbacks, sms = web.Application(), web.Application()
    callbacks.router.add_post("/{tenant}/{endpoint}", Callbacks(modes, ledgers["callback"]).take)
    sms.router.add_post(f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json", provider.create)
    sms.router.add_get(f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json", provider.list)
    runners = [web.AppRunner(app, access_log=None, shutdown_timeout=1) for app in (callbacks, sms)]
    for runner in runners:
        await runner.setup()
    door = Door(runners[0], callback_port)
    await door.open()
    await web.TCPSite(runners[1], "127.0.0.1", sms_port).start()
    mail = await asyncio.get_running_loop().create_server(
        lambda: SMTP(Mail(modes, ledgers["smtp"]), hostname="mail.chaos", enable_SMTPUTF8=True),
        "127.0.0.1",
        smtp_port,
    )
    async for line in lines(sys.stdin):
        changes = json.loads(line)
        modes.set(changes)
        if changes.get("callback") == "refuse":
            await door.shut()
        else:
            await door.open()
    mail.close()
    await provider.close()
    for runner in runners:
        await runner.cleanup()


async def lines(stream: Any) -> Any:
    """The lines of a pipe, without blocking the loop."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), stream)
    while line := await reader.readline():
        yield line.decode()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), *map(int, sys.argv[2:5])))
