"""Webhooks: who is told of which changes of the registry, and what is still to be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import SecretStr

from prefect_ml.errors import InvalidInputError


class WebhookStatus(StrEnum):
    """Whether a webhook is told of changes; the names are MLflow's."""

    ACTIVE = "ACTIVE"
    DISABLED = "DISABLED"


class WebhookEntity(StrEnum):
    """What of the registry a change is about; a prompt is no registered model here."""

    REGISTERED_MODEL = "registered_model"
    MODEL_VERSION = "model_version"
    MODEL_VERSION_TAG = "model_version_tag"
    MODEL_VERSION_ALIAS = "model_version_alias"
    PROMPT = "prompt"
    PROMPT_VERSION = "prompt_version"
    PROMPT_TAG = "prompt_tag"
    PROMPT_VERSION_TAG = "prompt_version_tag"
    PROMPT_ALIAS = "prompt_alias"


class WebhookAction(StrEnum):
    CREATED = "created"
    SET = "set"
    DELETED = "deleted"


def actions_of(entity: WebhookEntity) -> tuple[WebhookAction, ...]:
    """What can happen to an entity that webhooks are told of."""
    if entity.endswith("_tag"):
        return WebhookAction.SET, WebhookAction.DELETED
    if entity.endswith("_alias"):
        return WebhookAction.CREATED, WebhookAction.DELETED
    return (WebhookAction.CREATED,)


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """A kind of change that webhooks are told of.

    Raises:
        InvalidInputError: the action is none of the entity's.
    """

    entity: WebhookEntity
    action: WebhookAction

    def __post_init__(self) -> None:
        if self.action not in (valid := actions_of(self.entity)):
            raise InvalidInputError(
                f"Invalid action '{self.action}' for entity '{self.entity}'. Valid actions are: "
                f"{sorted(str(action) for action in valid)}"
            )


@dataclass(frozen=True, slots=True)
class Webhook:
    """A URL that is told of the changes of some kinds.

    Attributes:
        events: the kinds, each once.
        sealed_secret: what calls are signed with, encrypted by the server; its clear text is in no store.
    """

    webhook_id: str
    name: str
    url: str
    events: Sequence[WebhookEvent]
    creation_timestamp: int
    last_updated_timestamp: int
    description: str = ""
    status: WebhookStatus = WebhookStatus.ACTIVE
    sealed_secret: SecretStr | None = None


class DeliveryStatus(StrEnum):
    """State of a delivery.

    ```
    PENDING ──answered 2xx──▶ DELIVERED
       └──refused, or tried too often or too long──▶ GIVEN_UP
    ```
    """

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    GIVEN_UP = "GIVEN_UP"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One change that one webhook is told of, at least once, each time under the same id.

    Attributes:
        payload: the JSON text that is sent.
        attempts: how often it was taken up to be sent.
        next_attempt_at: when it is due; while it is being sent, when it counts as not sent.
        error: why the last attempt failed; "" when none did.
    """

    delivery_id: str
    webhook_id: str
    payload: str
    created_at: int
    attempts: int
    next_attempt_at: int
    status: DeliveryStatus
    error: str = ""
