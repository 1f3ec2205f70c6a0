"""Writing down what webhooks are to be told, in the transaction of the change that it is about.

So a change that is committed is told, whatever happens to the process, and one that is rolled back is not.
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, exists, insert, select

from prefect_ml.entities import DeliveryStatus, WebhookAction, WebhookEntity, WebhookStatus
from prefect_ml.store.prompts import PROMPT_TEXT, is_internal, is_prompt
from prefect_ml.store.rows import now
from prefect_ml.store.webhook_tables import webhook_deliveries, webhook_events, webhooks

if TYPE_CHECKING:
    from collections.abc import Mapping

_OF_PROMPTS = {
    WebhookEntity.REGISTERED_MODEL: WebhookEntity.PROMPT,
    WebhookEntity.MODEL_VERSION: WebhookEntity.PROMPT_VERSION,
    WebhookEntity.MODEL_VERSION_TAG: WebhookEntity.PROMPT_VERSION_TAG,
    WebhookEntity.MODEL_VERSION_ALIAS: WebhookEntity.PROMPT_ALIAS,
}


def model_created(connection: Connection, model: int, name: str, description: str, tags: Mapping[str, str]) -> None:
    """Tell of a new registered model or prompt."""
    entity = _entity(connection, model, WebhookEntity.REGISTERED_MODEL)
    data = {"name": name, "tags": _shown(entity, tags), "description": description}
    _tell(connection, entity, WebhookAction.CREATED, data)


def model_tag_changed(connection: Connection, model: int, name: str, key: str, value: str | None) -> None:
    """Tell of a tag of a prompt, set to a value or deleted (None); nobody is told of those of models."""
    if not is_internal(key) and is_prompt(connection, model):
        _tell_tag(connection, WebhookEntity.PROMPT_TAG, {"name": name}, key, value)


def version_created(connection: Connection, model: int, name: str, version: int, facts: Mapping[str, Any]) -> None:
    """Tell of a new version.

    Args:
        connection: of the transaction that makes it.
        model: the key of its model.
        name: the name of its model.
        version: its number.
        facts: its `source`, `run_id`, `description` and `tags`.
    """
    entity = _entity(connection, model, WebhookEntity.MODEL_VERSION)
    tags = facts["tags"]
    data: dict[str, Any] = {"name": name, "version": str(version)}
    if entity is WebhookEntity.PROMPT_VERSION:
        data["template"] = tags.get(PROMPT_TEXT, "")
    else:
        data |= {"source": facts["source"], "run_id": facts["run_id"]}
    data |= {"tags": _shown(entity, tags), "description": facts["description"] or None}
    _tell(connection, entity, WebhookAction.CREATED, data)


def version_tag_changed(
    connection: Connection, model: int, name: str, version: int, *, key: str, value: str | None
) -> None:
    """Tell of a tag of a version, set to a value or deleted (None)."""
    entity = _entity(connection, model, WebhookEntity.MODEL_VERSION_TAG)
    if entity is WebhookEntity.MODEL_VERSION_TAG or not is_internal(key):
        _tell_tag(connection, entity, {"name": name, "version": str(version)}, key, value)


# Whether anybody wants to be told of anything.
ANYBODY = exists(select(webhooks.c.id))


def alias_changed(connection: Connection, model: int, name: str, alias: str, version: int | None) -> None:
    """Tell where an alias points now, or that it is gone (None)."""
    entity = _entity(connection, model, WebhookEntity.MODEL_VERSION_ALIAS)
    data = {"name": name, "alias": alias}
    if version is None:
        _tell(connection, entity, WebhookAction.DELETED, data)
    else:
        _tell(connection, entity, WebhookAction.CREATED, {**data, "version": str(version)})


def _entity(connection: Connection, model: int, entity: WebhookEntity) -> WebhookEntity:
    return _OF_PROMPTS[entity] if is_prompt(connection, model) else entity


def _shown(entity: WebhookEntity, tags: Mapping[str, str]) -> dict[str, str]:
    """The tags of a model, or those of a prompt that are no part of how it is kept."""
    of_prompt = entity in (WebhookEntity.PROMPT, WebhookEntity.PROMPT_VERSION)
    return {key: value for key, value in tags.items() if not (of_prompt and is_internal(key))}


def _tell_tag(
    connection: Connection, entity: WebhookEntity, data: Mapping[str, str], key: str, value: str | None
) -> None:
    if value is None:
        _tell(connection, entity, WebhookAction.DELETED, {**data, "key": key})
    else:
        _tell(connection, entity, WebhookAction.SET, {**data, "key": key, "value": value})


def _tell(connection: Connection, entity: WebhookEntity, action: WebhookAction, data: Mapping[str, Any]) -> None:
    """Add a delivery for each active webhook that wants to know."""
    wanted = select(webhooks.c.id).join(webhook_events, webhook_events.c.webhook == webhooks.c.id)
    wanted = wanted.where(webhook_events.c.entity == entity, webhook_events.c.action == action)
    told = connection.execute(wanted.where(webhooks.c.status == WebhookStatus.ACTIVE)).scalars().all()
    if not told:
        return
    at = now()
    row = {
        "payload": payload_of(entity, action, data, at),
        "created_at": at,
        "attempts": 0,
        "next_attempt_at": at,
        "status": DeliveryStatus.PENDING,
        "error": "",
    }
    rows = [{"delivery_id": str(uuid.uuid4()), "webhook": webhook, **row} for webhook in told]
    connection.execute(insert(webhook_deliveries), rows)


def payload_of(entity: WebhookEntity, action: WebhookAction, data: Mapping[str, Any], at: int) -> str:
    """The JSON text that a webhook is sent; `at` is in milliseconds since the epoch."""
    timestamp = datetime.fromtimestamp(at / 1000, UTC).isoformat()
    return json.dumps({"entity": entity, "action": action, "timestamp": timestamp, "data": data})
