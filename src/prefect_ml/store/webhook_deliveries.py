"""The outbox of webhooks: deliveries taken up, each by one process at a time, and what became of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, Select, delete, func, select, update

from prefect_ml.entities import Delivery, DeliveryStatus, WebhookStatus
from prefect_ml.errors import InvalidInputError
from prefect_ml.store.paging import check_page_size
from prefect_ml.store.registry_names import clip
from prefect_ml.store.rows import Rows, now
from prefect_ml.store.webhook_tables import webhook_deliveries, webhooks
from prefect_ml.store.webhooks import find_webhook, load_webhooks

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from prefect_ml.entities import Webhook

# Of one webhook, so many are taken up at a time, so that a slow receiver does not hold up the others.
_OF_ONE = 4

_due = webhook_deliveries.c


class WebhookDeliveryRows(Rows):
    def claim_deliveries(
        self, max_results: int, lease: float, *, busy: Collection[str] = ()
    ) -> Sequence[tuple[Delivery, Webhook]]:
        check_page_size(max_results)
        with self.database.read() as connection:
            if connection.execute(_pending(busy).limit(1)).first() is None:
                return []

        def work(connection: Connection) -> list[tuple[Delivery, Webhook]]:
            rows = connection.execute(_to_claim(busy, max_results)).all()
            claimed = {"attempts": _due.attempts + 1, "next_attempt_at": now() + round(1000 * lease)}
            taken = update(webhook_deliveries).where(_due.id.in_([row.id for row in rows]))
            connection.execute(taken.values(claimed))
            return _with_webhooks(connection, [row.id for row in rows])

        return self.database.write(work)

    def settle_delivery(
        self,
        delivery_id: str,
        attempt: int,
        status: DeliveryStatus,
        *,
        error: str = "",
        next_attempt_at: int | None = None,
    ) -> None:
        if (status is DeliveryStatus.PENDING) != (next_attempt_at is not None):
            raise InvalidInputError("A delivery that is to be tried again needs a time for it, and no other does.")
        wanted = (_due.delivery_id == delivery_id) & (_due.status == DeliveryStatus.PENDING)
        if status is not DeliveryStatus.DELIVERED:
            # Somebody else has taken it up meanwhile: what became of that counts.
            wanted &= _due.attempts == attempt
        values: dict[str, Any] = {"status": status, "error": clip(error)}
        values["next_attempt_at"] = now() if next_attempt_at is None else next_attempt_at
        settled = update(webhook_deliveries).where(wanted).values(values)
        self.database.write(lambda connection: connection.execute(settled).rowcount)

    def list_deliveries(
        self, webhook_id: str, *, status: DeliveryStatus | None = None, max_results: int = 100
    ) -> Sequence[Delivery]:
        check_page_size(max_results)
        with self.database.read() as connection:
            query = select(webhook_deliveries).where(_due.webhook == find_webhook(connection, webhook_id).id)
            if status is not None:
                query = query.where(_due.status == status)
            rows = connection.execute(query.order_by(_due.id.desc()).limit(max_results))
            return [_delivery(row, webhook_id) for row in rows]

    def prune_deliveries(self, status: DeliveryStatus, before: int) -> int:
        if status is DeliveryStatus.PENDING:
            raise InvalidInputError("What is still to be delivered stays; name DELIVERED or GIVEN_UP.")
        # Once settled, the time of the next attempt is that of the settling.
        old = delete(webhook_deliveries).where(_due.status == status, _due.next_attempt_at < before)
        return self.database.write(lambda connection: connection.execute(old).rowcount)


def _pending(busy: Collection[str]) -> Select[Any]:
    """What is due, of active webhooks that are not busy."""
    query = select(_due.id, _due.next_attempt_at).join(webhooks, webhooks.c.id == _due.webhook)
    query = query.where(_due.status == DeliveryStatus.PENDING, _due.next_attempt_at <= now())
    return query.where(webhooks.c.status == WebhookStatus.ACTIVE, webhooks.c.webhook_id.not_in(list(busy)))


def _to_claim(busy: Collection[str], max_results: int) -> Select[Any]:
    """The deliveries to take up now, locked; another process's are passed over."""
    turn = func.row_number().over(partition_by=_due.webhook, order_by=(_due.next_attempt_at, _due.id))
    ranked = _pending(busy).add_columns(turn.label("turn")).subquery()
    first = select(ranked.c.id).where(ranked.c.turn <= _OF_ONE).order_by(ranked.c.next_attempt_at, ranked.c.id)
    query = select(_due.id).where(_due.id.in_(first.limit(max_results)), _due.status == DeliveryStatus.PENDING)
    return query.where(_due.next_attempt_at <= now()).with_for_update(skip_locked=True)


def _with_webhooks(connection: Connection, deliveries: Sequence[int]) -> list[tuple[Delivery, Webhook]]:
    rows = connection.execute(select(webhook_deliveries).where(_due.id.in_(deliveries)).order_by(_due.id)).all()
    wanted = select(webhooks).where(webhooks.c.id.in_({row.webhook for row in rows}))
    owners = connection.execute(wanted).all()
    found = {owner.id: webhook for owner, webhook in zip(owners, load_webhooks(connection, owners), strict=True)}
    return [(_delivery(row, found[row.webhook].webhook_id), found[row.webhook]) for row in rows]


def _delivery(row: Row[Any], webhook_id: str) -> Delivery:
    return Delivery(
        delivery_id=row.delivery_id,
        webhook_id=webhook_id,
        payload=row.payload,
        created_at=row.created_at,
        attempts=row.attempts,
        next_attempt_at=row.next_attempt_at,
        status=DeliveryStatus(row.status),
        error=row.error,
    )
