"""Closing promotion requests that nobody decides any more: taken back, or overdue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from prefect_ml.entities import PromotionRequest, RequestStatus
from prefect_ml.errors import PromotionError
from prefect_ml.store.registry_names import check_words
from prefect_ml.store.registry_rows import RegistryRows
from prefect_ml.store.registry_tables import promotion_requests
from prefect_ml.store.requests import OPEN, close_request, find_request, load_request, load_requests, overdue
from prefect_ml.store.rows import now

if TYPE_CHECKING:
    from collections.abc import Sequence

_LATE = "its time is over"
# Closed in one transaction; the next call closes the next ones.
_MOST = 1000


class PromotionClosingRows(RegistryRows):
    def withdraw_request(self, request_id: str, *, actor: str, reason: str) -> PromotionRequest:
        """See `PromotionStore.withdraw_request`.

        Raises:
            NotFoundError: there is no such request.
            PromotionError: it was carried out.
            InvalidInputError: no reason is given.
        """
        check_words("The actor", actor)
        check_words("The reason of a withdrawal", reason, needed=True)

        def work(connection: Connection) -> PromotionRequest:
            row = find_request(connection, request_id)
            if row.status == RequestStatus.PROMOTED:
                raise PromotionError(f"The request {request_id} was carried out; roll the alias back instead.")
            if overdue(row, now()):
                close_request(connection, row, RequestStatus.EXPIRED, _LATE)
            elif row.status in OPEN:
                close_request(connection, row, RequestStatus.REJECTED, reason, actor)
            return load_request(connection, request_id)

        return self.change(work)

    def expire_requests(self) -> Sequence[PromotionRequest]:
        """Close the open requests whose time is over, and return them; oldest first, at most 1000 a call."""
        asked = promotion_requests.c
        late = select(promotion_requests).where(asked.status.in_(OPEN), asked.expires_at <= now())
        query = late.order_by(asked.id).limit(_MOST)
        with self.database.read() as connection:
            if connection.execute(query).first() is None:
                return []

        def work(connection: Connection) -> list[PromotionRequest]:
            rows = connection.execute(query).all()
            for row in rows:
                close_request(connection, row, RequestStatus.EXPIRED, _LATE)
            return load_requests(connection, [find_request(connection, row.request_id) for row in rows])

        return self.change(work)
