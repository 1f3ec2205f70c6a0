"""Prompts, which are registered models with a tag, as MLflow has them."""

from __future__ import annotations

from sqlalchemy import Connection, select

from prefect_ml.store.registry_tables import registered_model_tags

PROMPT_TAG = "mlflow.prompt.is_prompt"
# The tag of a version that holds its template.
PROMPT_TEXT = "mlflow.prompt.text"
# Tags that say how a prompt is kept; the others are its user's.
_INTERNAL = frozenset({PROMPT_TAG, PROMPT_TEXT, "_mlflow_prompt_type"})


def is_prompt(connection: Connection, model: int) -> bool:
    """Whether a registered model is a prompt."""
    tags = registered_model_tags.c
    tagged = select(tags.value).where(tags.model == model, tags.key == PROMPT_TAG)
    return connection.execute(tagged).scalar() == "true"


def is_internal(key: str) -> bool:
    """Whether a tag of a prompt is no tag of its user's."""
    return key in _INTERNAL
