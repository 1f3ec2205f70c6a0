"""What a webhook is sent to try it out: an example of each event, the same for everybody."""

from __future__ import annotations

from typing import Any

from prefect_ml.entities import WebhookAction, WebhookEntity, WebhookEvent

_KEY = {"key": "example_key"}
_TAGS = {"tags": {"example_key": "example_value"}}
_MODEL_VERSION = {"source": "models:/123", "run_id": "abcd1234abcd5678"}
_PROMPT_VERSION = {"template": "Hello {{name}}!"}


def example_of(event: WebhookEvent) -> dict[str, Any]:
    """The `data` of an example of an event."""
    entity, action = event.entity, event.action
    of_prompt = entity.startswith("prompt")
    data: dict[str, Any] = {"name": "example_prompt" if of_prompt else "example_model"}
    if entity.endswith("_alias"):
        data["alias"] = "example_alias"
        return data if action is WebhookAction.DELETED else {**data, "version": "1"}
    if "version" in entity:
        data["version"] = "1"
    if entity.endswith("_tag"):
        data |= _KEY
        return data if action is WebhookAction.DELETED else {**data, "value": "example_value"}
    noun = "prompt" if of_prompt else "registered model"
    if "version" in entity:
        noun = "prompt version" if of_prompt else "model version"
        data |= _PROMPT_VERSION if entity is WebhookEntity.PROMPT_VERSION else _MODEL_VERSION
    return {**data, **_TAGS, "description": f"An example {noun}"}
