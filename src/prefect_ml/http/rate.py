"""How many requests a client may send."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from prefect_ml.http.refusal import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

# Clients that are remembered; one more, and the one that was silent longest is forgotten.
_CLIENTS = 10_000
# Seconds' worth of requests that a client may send at once after it was silent.
_BURST = 2.0
# The part of an IPv6 address that its owner cannot choose.
_NETWORK = 64


class Rate:
    """A token bucket for each client address, IPv6 by its network, in bounded memory.

    Args:
        per_second: requests that a client may send for ever.
        clock: seconds that only go forward.
        clients: how many are remembered.
    """

    def __init__(
        self, per_second: float, *, clock: Callable[[], float] = time.monotonic, clients: int = _CLIENTS
    ) -> None:
        self._per_second = per_second
        self._burst = max(1.0, _BURST * per_second)
        self._clock = clock
        self._clients = clients
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> None:
        """Count a request of a client.

        Raises:
            RefusedError: 429 with the seconds until the next one is taken; it was one too many.
        """
        client = address if ":" not in address else _network(address)
        now = self._clock()
        left, at = self._buckets.pop(client, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._per_second)
        taken = left >= 1
        self._buckets[client] = (left - taken, now)
        if len(self._buckets) > self._clients:
            self._buckets.popitem(last=False)
        if not taken:
            wait = math.ceil((1 - left) / self._per_second)
            raise RefusedError(
                429,
                "REQUEST_LIMIT_EXCEEDED",
                f"This server takes {self._per_second:g} requests a second from each client; send again in {wait} s.",
                {"Retry-After": str(wait)},
            )


def _network(address: str) -> str:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, _NETWORK), strict=False))
