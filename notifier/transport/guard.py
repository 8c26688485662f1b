"""The guard against server-side request forgery: which addresses may be dialled.

It judges addresses as the system understood them, never names or spellings: what "0x7f.1" or a name means is known
only once it was resolved.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from notifier.errors import ConfigError, Problem

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
#: IPv6 ranges that carry an IPv4 address inside, or lead to one.
_TUNNELS: Sequence[_Network] = tuple(
    ipaddress.ip_network(text)
    for text in ("::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)
_NEVER: Sequence[_Network] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "3fff::/20",
        "5f00::/16",
        "fec0::/10",
        "168.63.129.16/32",
    )
)


@dataclass(frozen=True, slots=True)
class AllowedNetworks:
    """Addresses that may be dialled although they are not public; each with a port, or 0 for any."""

    networks: tuple[tuple[_Network, int], ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> AllowedNetworks:
        """Read "10.0.0.0/8", "127.0.0.1:8901", "[::1]:8080". Raises ConfigError."""
        found, problems = [], []
        for text in texts:
            host, port = _split(text)
            try:
                found.append((ipaddress.ip_network(host), _port(port)))
            except ValueError as error:
                problems.append(Problem("NOTIFIER_CALLBACK_ALLOW", f"{text!r}: {error}"))
        if problems:
            raise ConfigError(problems)
        return cls(tuple(found))

    def hold(self, address: str, port: int) -> bool:
        """Whether this address and port are listed. Raises ValueError for what is no address."""
        ip = ipaddress.ip_address(address.partition("%")[0])
        return any(ip in network and allowed in (0, port) for network, allowed in self.networks)


def _split(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        return (host if closed else text), rest.removeprefix(":")
    host, colon, port = text.rpartition(":")
    return (host, port) if colon and ":" not in host else (text, "")


def _port(text: str) -> int:
    port = int(text or 0)
    if not 0 <= port <= 65_535:
        raise ValueError("a port is a number up to 65535")
    return port


def public(address: str) -> bool:
    """Whether an address is on the public Internet: not private, local, reserved, or a tunnel to such a place."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if any(ip.version == network.version and ip in network for network in (*_TUNNELS, *_NEVER)):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved
