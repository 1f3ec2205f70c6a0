"""Where a server may go that calls a URL for somebody else: hosts by their names, and addresses by what they are.

Server-side request forgery is closed by what is allowed, not by what is forbidden: a host that the operator did not
list is called only where all its addresses are public, and `outgoing` connects to the very address that was looked at.
"""

from __future__ import annotations

import asyncio
import fnmatch
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Sequence

from prefect_ml.errors import PrefectMLError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
# Finds the addresses of a host and a port.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

EVERY_HOST = "*"

_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?")
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
# Not for the public, of what is otherwise global (RFC 6890 and the registries of special addresses).
_SPECIAL = tuple(
    ipaddress.ip_network(each)
    for each in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# The second half of an address that tunnels to an IPv4 address (RFC 5214).
_ISATAP = (0x00005EFE, 0x02005EFE)


class ForbiddenDestinationError(PrefectMLError):
    """A host or one of its addresses is none that this server may call."""


class Destinations:
    """The hosts that may be called.

    Args:
        hosts: patterns of names or addresses with `*` and `?`; `*` alone is every host with public addresses only,
            all others are called wherever they are.
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        self._patterns = tuple(host.lower().rstrip(".") for host in hosts)

    def check_host(self, host: str) -> None:
        """Refuse a host that may not be called wherever it is; nobody is asked about names.

        Raises:
            ForbiddenDestinationError: it is no host, or none that may be called.
        """
        if _literal(host) is None and not _NAME.fullmatch(host):
            raise ForbiddenDestinationError(f"{host!r} is no host name; give that of the receiver.")
        if self._lists(host):
            return
        if EVERY_HOST not in self._patterns:
            raise _unlisted(host)
        if (address := _literal(host)) is not None and not is_public(address):
            raise _unlisted(host)

    def check_addresses(self, host: str, addresses: Sequence[str]) -> None:
        """Refuse a host for where its name leads.

        Raises:
            ForbiddenDestinationError: one of the addresses is not public, and the host is not listed.
        """
        self.check_host(host)
        if not self._lists(host) and not all(is_public(_address(each)) for each in addresses):
            raise _unlisted(host)

    def _lists(self, host: str) -> bool:
        name = host.lower().rstrip(".")
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self._patterns if pattern != EVERY_HOST)


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, by the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


def is_public(address: IPAddress) -> bool:
    """Whether anybody on the internet has this address; for one that stands for an IPv4 address, whether that is."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in _PUBLIC_V6 or address.scope_id or (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
            return False
    return not any(address in network for network in _SPECIAL)


def _literal(host: str) -> IPAddress | None:
    """The address that a host is in itself, in any of the ways in which the system's resolver reads numbers."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError, ValueError):
        return None
    return _address(str(found[0][4][0]))


def _address(text: str) -> IPAddress:
    return ipaddress.ip_address(text)


def _unlisted(host: str) -> ForbiddenDestinationError:
    # Where a name leads is not told: that would let callers look around in the server's network.
    return ForbiddenDestinationError(
        f"This server does not call {host!r}: its operator has not listed it, and it is not public. The operator can "
        "list it in PREFECT_ML_WEBHOOK_HOSTS."
    )
