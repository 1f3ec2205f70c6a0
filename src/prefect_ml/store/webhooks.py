"""Webhooks: registered, changed and deleted."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from prefect_ml.entities import Page, Webhook, WebhookAction, WebhookEntity, WebhookEvent, WebhookStatus
from prefect_ml.errors import InvalidInputError, InvalidNameError, NotFoundError
from prefect_ml.store.keyset import Part, Term, fetch_page
from prefect_ml.store.names import check_text
from prefect_ml.store.registry_names import MAX_DESCRIPTION, check_words, is_text
from prefect_ml.store.registry_rows import RegistryRows
from prefect_ml.store.rows import now
from prefect_ml.store.webhook_tables import webhook_deliveries, webhook_events, webhooks

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_URL = 500
# Each may add a row to every change of the registry.
MAX_WEBHOOKS = 1000
_MAX_PAGE = 1000
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


class WebhookRows(RegistryRows):
    # All changes wait for those of the registry, so that none tells a webhook that is just being deleted.

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
        at = now()
        values = _checked({"name": name, "url": url, "description": description})
        values |= {"webhook_id": str(uuid.uuid4()), "status": status, "sealed_secret": _revealed(sealed_secret)}
        values |= {"creation_timestamp": at, "last_updated_timestamp": at}
        wanted = _check_events(events)

        def work(connection: Connection) -> Webhook:
            if connection.execute(select(func.count()).select_from(webhooks)).scalar_one() >= MAX_WEBHOOKS:
                raise InvalidInputError(f"There are {MAX_WEBHOOKS} webhooks already; delete one that is not needed.")
            connection.execute(insert(webhooks), values)
            row = find_webhook(connection, values["webhook_id"])
            _set_events(connection, row.id, wanted)
            return load_webhooks(connection, [row])[0]

        return self.change(work)

    def get_webhook(self, webhook_id: str) -> Webhook:
        with self.database.read() as connection:
            return load_webhooks(connection, [find_webhook(connection, webhook_id)])[0]

    def list_webhooks(self, max_results: int = 100, page_token: str | None = None) -> Page[Webhook]:
        if type(max_results) is not int or not 1 <= max_results <= _MAX_PAGE:
            raise InvalidInputError(f"max_results must be between 1 and {_MAX_PAGE}.")
        newest = [Term(webhooks.c.creation_timestamp, int, descending=True), Term(webhooks.c.id, int, descending=True)]
        with self.database.read() as connection:
            rows, token = fetch_page(
                connection,
                [Part(select(webhooks), newest)],
                search="webhooks",
                max_results=max_results,
                page_token=page_token,
            )
            return Page(load_webhooks(connection, rows), token)

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
        given = {"name": name, "url": url, "description": description}
        values = _checked({key: value for key, value in given.items() if value is not None})
        if status is not None:
            values["status"] = status
        if sealed_secret is not None or unsigned:
            values["sealed_secret"] = _revealed(sealed_secret)
        wanted = None if events is None else _check_events(events)

        def work(connection: Connection) -> Webhook:
            number = find_webhook(connection, webhook_id).id
            if wanted is not None:
                connection.execute(delete(webhook_events).where(webhook_events.c.webhook == number))
                _set_events(connection, number, wanted)
            changed = update(webhooks).where(webhooks.c.id == number)
            connection.execute(changed.values(last_updated_timestamp=now(), **values))
            return load_webhooks(connection, [find_webhook(connection, webhook_id)])[0]

        return self.change(work)

    def delete_webhook(self, webhook_id: str) -> None:
        def work(connection: Connection) -> None:
            number = find_webhook(connection, webhook_id).id
            for table in (webhook_deliveries, webhook_events):
                connection.execute(delete(table).where(table.c.webhook == number))
            connection.execute(delete(webhooks).where(webhooks.c.id == number))

        self.change(work)


def find_webhook(connection: Connection, webhook_id: str) -> Row[Any]:
    """The row of a webhook."""
    row = None
    if is_text(webhook_id):
        row = connection.execute(select(webhooks).where(webhooks.c.webhook_id == webhook_id)).first()
    if row is None:
        raise NotFoundError(f"Webhook with ID {webhook_id} not found. See those that are there by listing them.")
    return row


def load_webhooks(connection: Connection, rows: Sequence[Row[Any]]) -> list[Webhook]:
    """The webhooks of rows of the table, in their order."""
    events: dict[int, list[WebhookEvent]] = {row.id: [] for row in rows}
    found = select(webhook_events).where(webhook_events.c.webhook.in_(list(events)))
    for row in connection.execute(found.order_by(webhook_events.c.webhook, webhook_events.c.number)):
        events[row.webhook].append(WebhookEvent(WebhookEntity(row.entity), WebhookAction(row.action)))
    return [
        Webhook(
            webhook_id=row.webhook_id,
            name=row.name,
            url=row.url,
            events=tuple(events[row.id]),
            creation_timestamp=row.creation_timestamp,
            last_updated_timestamp=row.last_updated_timestamp,
            description=row.description,
            status=WebhookStatus(row.status),
            sealed_secret=None if row.sealed_secret is None else SecretStr(row.sealed_secret),
        )
        for row in rows
    ]


def _set_events(connection: Connection, webhook: int, events: Sequence[WebhookEvent]) -> None:
    rows = [
        {"webhook": webhook, "entity": event.entity, "action": event.action, "number": number}
        for number, event in enumerate(events)
    ]
    connection.execute(insert(webhook_events), rows)


def _checked(values: dict[str, str]) -> dict[str, Any]:
    """The texts of a webhook; whether its URL may be called is the server's to say, which calls it."""
    if "name" in values and not _NAME.fullmatch(check_text("The name of a webhook", values["name"])):
        raise InvalidNameError(
            f"Webhook name {values['name'][:80]!r} is invalid. It must start and end with a letter or digit, be at "
            "most 63 characters long, and contain only letters, digits, dots (.), underscores (_), and hyphens (-)."
        )
    if "url" in values:
        url = check_text("The URL of a webhook", values["url"])
        if not url.strip():
            raise InvalidInputError(f"Webhook URL cannot be empty or just whitespace: {url!r}. Give the receiver's.")
        check_words("The URL of a webhook", url, MAX_URL)
    if "description" in values:
        check_words("The description of a webhook", values["description"], MAX_DESCRIPTION)
    return dict(values)


def _check_events(events: Sequence[WebhookEvent]) -> list[WebhookEvent]:
    if not events:
        raise InvalidInputError("Missing value for required parameter 'events'. Name what the webhook is told of.")
    return list(dict.fromkeys(events))


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
