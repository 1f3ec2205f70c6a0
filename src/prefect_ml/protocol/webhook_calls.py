"""A call of a webhook: where it may go, what is sent, how it is signed, and what is taken of the answer.

The client, a quarter of a second to load, is imported where it is used: few servers call anybody.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import time
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING

from prefect_ml.errors import InvalidInputError, PrefectMLError
from prefect_ml.http.destinations import Destinations, ForbiddenDestinationError, Resolve, resolve
from prefect_ml.protocol.webhook_secrets import WebhookSecrets

if TYPE_CHECKING:
    import ssl

    import httpx

    from prefect_ml.entities import Webhook
    from prefect_ml.http.outgoing import GuardedTransport
    from prefect_ml.settings import Settings

# Bytes of an answer that are looked at, when they are at all.
SHOWN_BODY = 4096
_MAX_PORT = 2**16


class CallFailedError(PrefectMLError):
    """A webhook could not be called, or did not answer.

    Attributes:
        final: whether another attempt would be as vain.
    """

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


@dataclass(frozen=True, slots=True)
class CallAnswer:
    """What a webhook answered.

    Attributes:
        retry_after: its header `Retry-After`, as it is.
        body: the beginning of its body, if it was asked for.
    """

    status: int
    retry_after: str | None = None
    body: str = ""


class WebhookCalls:
    """Calls webhooks as the settings allow.

    Args:
        settings: which hosts and schemes may be called, how long a call may take, and the key of the secrets.
        look_up: finds the addresses of a host.

    Raises:
        InvalidInputError: the setting `webhook_key` is no key.
    """

    def __init__(self, settings: Settings, look_up: Resolve = resolve) -> None:
        self.secrets = WebhookSecrets(settings.webhook_key)
        self.timeout = settings.webhook_timeout
        self._schemes = ("http", "https") if settings.webhook_http else ("https",)
        self._destinations = Destinations(settings.webhook_hosts)
        self._look_up = look_up

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        import httpx  # noqa: PLC0415  see above

        # Made once, since it takes a tenth of a second.
        return httpx.create_ssl_context()

    def check_url(self, url: str) -> str:
        """A URL that may be called, as far as can be said without looking up its name.

        Raises:
            InvalidInputError: it is none.
        """
        import httpx  # noqa: PLC0415  see above

        if not url.strip():
            raise InvalidInputError(f"Webhook URL cannot be empty or just whitespace: {url!r}. Give the receiver's.")
        try:
            parsed = httpx.URL(url)
            self._check_parts(parsed)
            self._destinations.check_host(parsed.raw_host.decode())
        except (httpx.InvalidURL, ForbiddenDestinationError) as error:
            raise InvalidInputError(f"Invalid webhook URL {url!r}: {error}") from error
        return url

    def _check_parts(self, url: httpx.URL) -> None:
        if url.scheme not in self._schemes:
            raise InvalidInputError(
                f"Invalid webhook URL scheme: {url.scheme!r}. Allowed schemes are: {', '.join(self._schemes)}. The "
                "operator of the server can allow http too (PREFECT_ML_WEBHOOK_HTTP)."
            )
        if url.userinfo:
            raise InvalidInputError(
                "Invalid webhook URL: it is shown to everybody who lists webhooks, so it must not hold a user name or "
                "password; give the webhook a secret, and check the signature of its calls."
            )
        if (url.port or 0) >= _MAX_PORT:
            raise InvalidInputError(f"Invalid webhook URL {str(url)!r}: {url.port} is no port; use one below 65536.")

    async def send(self, webhook: Webhook, payload: str, delivery_id: str, *, keep_body: bool = False) -> CallAnswer:
        """Send a payload to a webhook.

        Raises:
            CallFailedError: there is no answer, and why.
        """
        import httpx  # noqa: PLC0415  see above

        from prefect_ml.http.outgoing import GuardedTransport  # noqa: PLC0415

        trust = self._trust  # before the time begins to run
        try:
            headers = self._headers(webhook, payload, delivery_id)
            async with asyncio.timeout(self.timeout):
                transport = GuardedTransport(self._destinations, trust, self._look_up)
                return await self._post(transport, webhook.url, payload, headers, keep_body=keep_body)
        except TimeoutError as error:
            raise CallFailedError(f"There was no answer within {self.timeout:g} seconds.") from error
        except (ForbiddenDestinationError, InvalidInputError) as error:
            raise CallFailedError(str(error), final=True) from error
        except (httpx.HTTPError, PrefectMLError, OSError) as error:
            raise CallFailedError(f"The receiver cannot be reached: {error or type(error).__name__}.") from error

    async def _post(
        self, transport: GuardedTransport, url: str, payload: str, headers: dict[str, str], *, keep_body: bool
    ) -> CallAnswer:
        import httpx  # noqa: PLC0415  see above

        async with (
            httpx.AsyncClient(transport=transport, timeout=self.timeout, trust_env=False) as client,
            client.stream("POST", self.check_url(url), content=payload.encode(), headers=headers) as response,
        ):
            body = b""
            if keep_body:
                async for part in response.aiter_raw(SHOWN_BODY):
                    body += part
                    if len(body) >= SHOWN_BODY:
                        break
            text = body[:SHOWN_BODY].decode(errors="replace")
            return CallAnswer(response.status_code, response.headers.get("retry-after"), text)

    def _headers(self, webhook: Webhook, payload: str, delivery_id: str) -> dict[str, str]:
        at = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            # An encoded body could be far larger than what was sent.
            "Accept-Encoding": "identity",
            "User-Agent": f"prefect-ml/{version('prefect-ml')}",
            "X-MLflow-Delivery-Id": delivery_id,
            "X-MLflow-Timestamp": at,
        }
        if webhook.sealed_secret is not None:
            secret = self.secrets.open(webhook.sealed_secret)
            signed = hmac.digest(secret, f"{delivery_id}.{at}.{payload}".encode(), "sha256")
            headers["X-MLflow-Signature"] = f"v1,{base64.b64encode(signed).decode()}"
        return headers
