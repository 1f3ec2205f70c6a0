"""The port of webhooks, beside that of the other nouns in `contract`: it is for the server that calls them alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from pydantic import SecretStr

from prefect_ml.entities import Delivery, DeliveryStatus, Page, Webhook, WebhookEvent, WebhookStatus


class WebhookStore(Protocol):
    """Webhooks, and the outbox of what they are to be told.

    A change of the registry adds a delivery for each active webhook that wants to know, in its own transaction.
    """

    def create_webhook(
        self,
        name: str,
        url: str,
        events: Sequence[WebhookEvent],
        *,
        description: str = "",
        status: WebhookStatus = WebhookStatus.ACTIVE,
        sealed_secret: SecretStr | None = None,
    ) -> Webhook:
        """Register one; an event that is named twice counts once, and names need not be unique."""
        ...

    def get_webhook(self, webhook_id: str) -> Webhook: ...

    def list_webhooks(self, max_results: int = 100, page_token: str | None = None) -> Page[Webhook]:
        """Newest first."""
        ...

    def update_webhook(
        self,
        webhook_id: str,
        *,
        name: str | None = None,
        url: str | None = None,
        events: Sequence[WebhookEvent] | None = None,
        description: str | None = None,
        status: WebhookStatus | None = None,
        sealed_secret: SecretStr | None = None,
        unsigned: bool = False,
    ) -> Webhook:
        """Change what is given and nothing else; `unsigned` takes the secret away."""
        ...

    def delete_webhook(self, webhook_id: str) -> None:
        """Delete it with its deliveries, those still pending included."""
        ...

    def claim_deliveries(
        self, max_results: int, lease: float, *, busy: Collection[str] = ()
    ) -> Sequence[tuple[Delivery, Webhook]]:
        """Take up deliveries that are due, of active webhooks other than `busy`, at most four of each.

        For `lease` seconds nobody else gets them; one that is not settled by then is due again.
        """
        ...

    def settle_delivery(
        self,
        delivery_id: str,
        attempt: int,
        status: DeliveryStatus,
        *,
        error: str = "",
        next_attempt_at: int | None = None,
    ) -> None:
        """Note what became of an attempt (its number is `Delivery.attempts`); PENDING tries again at a time in ms.

        A failure changes nothing when the delivery was taken up again meanwhile, nor anything when it is gone.
        """
        ...

    def list_deliveries(
        self, webhook_id: str, *, status: DeliveryStatus | None = None, max_results: int = 100
    ) -> Sequence[Delivery]:
        """Newest first."""
        ...

    def prune_deliveries(self, status: DeliveryStatus, before: int) -> int:
        """Delete those that were settled before a time (ms), and return how many there were."""
        ...
