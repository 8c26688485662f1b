"""Connections that are held, and how one is made: resolved, judged, dialled, encrypted.

The guard sits right before the system call that dials, and what it judged is what is dialled, in numbers: there is no
second look-up in between that could say something else (DNS rebinding). A connection belongs to its origin; requests
to another never go over it, whoever sends them.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable

from notifier.transport.connection import Connection
from notifier.transport.failures import AddressRefused, NoConnection
from notifier.transport.guard import AllowedNetworks, public
from notifier.transport.names import Address, Names
from notifier.transport.request import Origin

CONNECTIONS = 500  #: held at most; how many one receiver gets is its lane's business
IDLE = 15.0  #: seconds after which an unused connection is not trusted any more: many receivers close it by then
MOST_ADDRESSES = 8  #: of one name that are dialled


class Pool:
    """Connections by origin."""

    def __init__(self, allowed: AllowedNetworks, names: Names, tls: Callable[[], ssl.SSLContext]) -> None:
        """`tls` is asked when the first encrypted connection is made."""
        self._allowed, self._names, self._tls = allowed, names, tls
        self._held: set[Connection] = set()  #: being made, busy, idle or being closed: all that may have a socket
        self._idle: dict[Origin, list[Connection]] = {}  #: of each origin the longest idle first
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._sweep: asyncio.TimerHandle | None = None

    def take(self, origin: Origin) -> Connection | None:
        """Return a held connection: the one last used, which is the least likely to be closed by now."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.usable and connection.idle_since > time.monotonic() - IDLE:
                return connection
            connection.close()
        return None

    async def make(self, origin: Origin, seconds: float) -> Connection:
        """Return a new connection, or one that came back while there was no room.

        Raises NoConnection, and AddressRefused when no address of the name may be dialled.
        """
        try:
            async with asyncio.timeout(seconds):
                deadline = asyncio.get_running_loop().time() + seconds
                return await self._room(origin) or await self._open(origin, deadline)
        except TimeoutError:
            raise NoConnection("connect_timeout") from None

    def give_back(self, origin: Origin, connection: Connection) -> None:
        """Keep it for the next request when it is good for one."""
        if not connection.usable:
            connection.close()
            return
        connection.idle_since = time.monotonic()
        self._idle.setdefault(origin, []).append(connection)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(IDLE, self._close_idle)
        if self._waiting:
            self._wake()

    async def close(self) -> None:
        """Close all; requests under way are cut."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self._idle.clear()
        for connection in tuple(self._held):
            connection.close()
        self._names.close()
        await asyncio.sleep(0)  # the sockets are closed in the loop's next turn

    # -- room ----------------------------------------------------------------------------------------------------------

    async def _room(self, origin: Origin) -> Connection | None:
        """Wait until another connection may be made, or one to there came back."""
        while len(self._held) >= CONNECTIONS:
            self._close_longest_idle()
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if not turn.cancelled():
                    self._wake()  # it is the next one's
                raise
            if connection := self.take(origin):
                return connection
        return None

    def _wake(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _lost(self, connection: Connection) -> None:
        self._held.discard(connection)
        self._wake()

    def _close_longest_idle(self) -> None:
        firsts = [idle for idle in self._idle.values() if idle]
        if firsts:
            min(firsts, key=lambda idle: idle[0].idle_since).pop(0).close()

    def _close_idle(self) -> None:
        """Close what was idle for too long; look again while anything is."""
        young_since = time.monotonic() - IDLE
        for origin, idle in list(self._idle.items()):
            young = [connection for connection in idle if connection.idle_since > young_since]
            for connection in idle[: len(idle) - len(young)]:
                connection.close()
            if young:
                self._idle[origin] = young
            else:
                del self._idle[origin]
        loop = asyncio.get_running_loop()
        self._sweep = loop.call_later(IDLE, self._close_idle) if self._idle else None

    # -- making one ----------------------------------------------------------------------------------------------------

    async def _open(self, origin: Origin, deadline: float) -> Connection:
        loop = asyncio.get_running_loop()
        connection = Connection(loop, self._lost)
        self._held.add(connection)
        try:
            sock = await self._dial(origin, deadline)
            try:
                await self._take_over(connection, sock, origin)
            except BaseException:
                sock.close()
                raise
        except BaseException:
            connection.close()
            self._lost(connection)
            raise
        return connection

    async def _take_over(self, connection: Connection, sock: socket.socket, origin: Origin) -> None:
        """Make a connection of a socket. Raises NoConnection."""
        encrypted = origin.scheme == "https"
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: connection,
                sock=sock,
                ssl=self._tls() if encrypted else None,
                server_hostname=origin.host.rstrip(".") if encrypted else None,
            )
        except ssl.SSLError:
            raise NoConnection("tls") from None
        except OSError:
            raise NoConnection("connect") from None

    async def _dial(self, origin: Origin, deadline: float) -> socket.socket:
        """Return a connected socket. Raises NoConnection, and AddressRefused when no address may be dialled.

        The addresses are tried in turn, each for its share of the time that is left.
        """
        addresses = (await self._names.look_up(origin.host, origin.port))[:MOST_ADDRESSES]
        reason = None
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            if not public(address.ip) and not self._allowed.hold(address.ip, address.port):
                continue
            try:
                async with asyncio.timeout((deadline - asyncio.get_running_loop().time()) / left):
                    return await _connected(address)
            except TimeoutError:
                reason = "connect_timeout"
            except OSError:
                reason = "connect"
        if reason is None:
            raise AddressRefused
        raise NoConnection(reason)


async def _connected(address: Address) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address.sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock
