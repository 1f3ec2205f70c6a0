"""A transport for calls to hosts that others name: it connects to the address that was checked, and nowhere else.

A name is looked up once; the address goes to the connection, and the name to TLS and the Host header. So a resolver
that gives another answer the second time is not asked a second time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from prefect_ml.http.destinations import Resolve, resolve

if TYPE_CHECKING:
    import ssl

    from prefect_ml.http.destinations import Destinations

_PORTS = {"http": 80, "https": 443}
# No connection is kept: the next call would find it by its address, though it was made for another name.
_NOTHING_KEPT = httpx.Limits(max_keepalive_connections=0)


class GuardedTransport(httpx.AsyncBaseTransport):
    """Sends requests to allowed destinations only; the environment's proxies are not asked.

    Args:
        destinations: where it may go.
        trust: which certificates are accepted.
        look_up: finds the addresses of a host.
    """

    def __init__(self, destinations: Destinations, trust: ssl.SSLContext, look_up: Resolve = resolve) -> None:
        self._destinations = destinations
        self._look_up = look_up
        self._inner = httpx.AsyncHTTPTransport(verify=trust, limits=_NOTHING_KEPT, trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request to the first address of its host that takes the connection.

        Raises:
            ForbiddenDestinationError: it leads where it may not go.
            httpx.TransportError: it could not be sent.
        """
        host = request.url.raw_host.decode()
        try:
            addresses = await self._look_up(host, request.url.port or _PORTS[request.url.scheme])
        except OSError as error:
            raise httpx.ConnectError(f"The name {host!r} cannot be looked up", request=request) from error
        self._destinations.check_addresses(host, addresses)
        failure: httpx.TransportError = httpx.ConnectError(f"The name {host!r} has no address", request=request)
        for address in addresses:
            try:
                return await self._inner.handle_async_request(_sent_to(request, address, host))
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise failure

    async def aclose(self) -> None:
        await self._inner.aclose()


def _sent_to(request: httpx.Request, address: str, name: str) -> httpx.Request:
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": name},
    )
