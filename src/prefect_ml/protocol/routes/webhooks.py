"""Webhooks: who is told of which changes of the registry."""

from __future__ import annotations

import asyncio
import uuid

from pydantic import Field, SecretStr

from prefect_ml.entities import WebhookAction, WebhookEntity, WebhookEvent, WebhookStatus
from prefect_ml.errors import InvalidInputError
from prefect_ml.protocol.answers import webhooks as answers
from prefect_ml.protocol.answers.common import Empty
from prefect_ml.protocol.backend import Backend
from prefect_ml.protocol.fields import Int64, Text
from prefect_ml.protocol.route import Routes
from prefect_ml.protocol.webhook_calls import CallFailedError
from prefect_ml.protocol.webhook_examples import example_of
from prefect_ml.protocol.wire import Request
from prefect_ml.store.rows import now
from prefect_ml.store.webhook_outbox import payload_of

routes = Routes("Webhooks")

_REFUSED = 400


class EventField(Request):
    """A kind of change; entities and actions are named in upper case."""

    entity: Text = Field(examples=["MODEL_VERSION"])
    action: Text = Field(examples=["CREATED"])


class CreateWebhook(Request):
    name: Text = Field(examples=["to-the-chat"], description="Letters, digits, dots, underscores and hyphens.")
    url: Text = Field(examples=["https://hooks.example.com/registry"])
    events: list[EventField] = Field(examples=[[{"entity": "MODEL_VERSION", "action": "CREATED"}]])
    description: Text = ""
    secret: SecretStr = Field(SecretStr(""), description="What calls are signed with; it is not shown again.")
    status: Text = Field(WebhookStatus.ACTIVE.value, description="ACTIVE or DISABLED.")


class ListWebhooks(Request):
    max_results: Int64 = Field(100, description="1 to 1,000.")
    page_token: Text = ""


class WebhookId(Request):
    webhook_id: Text = Field(examples=["1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"])


class UpdateWebhook(WebhookId):
    name: Text | None = None
    url: Text | None = None
    events: list[EventField] = Field(default_factory=list, description="Those that it is told of from now on.")
    description: Text | None = None
    secret: SecretStr | None = Field(None, description="Another one; an empty one takes it away.")
    status: Text | None = None


class TestWebhook(WebhookId):
    event: EventField | None = Field(None, description="The webhook's first one when absent.")


@routes.on("POST", "webhooks")
def create_webhook(here: Backend, request: CreateWebhook) -> answers.OneWebhook:
    """Register a URL that is told of changes of the registry."""
    secret = request.secret.get_secret_value()
    return answers.one_webhook(
        here.store.create_webhook(
            request.name,
            here.webhook_calls.check_url(request.url),
            [_event(each) for each in request.events],
            description=request.description,
            status=_status(request.status),
            sealed_secret=here.webhook_calls.secrets.seal(secret) if secret else None,
        )
    )


@routes.on("GET", "webhooks")
def list_webhooks(here: Backend, request: ListWebhooks) -> answers.SomeWebhooks:
    """List webhooks, newest first."""
    page = here.store.list_webhooks(request.max_results, request.page_token or None)
    return answers.some_webhooks(page)


@routes.on("GET", "webhooks/{webhook_id}")
def get_webhook(here: Backend, request: WebhookId) -> answers.OneWebhook:
    """Get a webhook; its secret is not shown."""
    return answers.one_webhook(here.store.get_webhook(request.webhook_id))


@routes.on("PATCH", "webhooks/{webhook_id}")
def update_webhook(here: Backend, request: UpdateWebhook) -> answers.OneWebhook:
    """Change what is given of a webhook; a list of events replaces the one before."""
    secret = None if request.secret is None else request.secret.get_secret_value()
    return answers.one_webhook(
        here.store.update_webhook(
            request.webhook_id,
            name=request.name,
            url=None if request.url is None else here.webhook_calls.check_url(request.url),
            events=[_event(each) for each in request.events] or None,
            description=request.description,
            status=None if request.status is None else _status(request.status),
            sealed_secret=here.webhook_calls.secrets.seal(secret) if secret else None,
            unsigned=secret is not None and not secret,
        )
    )


@routes.on("DELETE", "webhooks/{webhook_id}")
def delete_webhook(here: Backend, request: WebhookId) -> Empty:
    """Delete a webhook; what it was still to be told, it is not."""
    here.store.delete_webhook(request.webhook_id)
    return {}


@routes.on("POST", "webhooks/{webhook_id}/test")
def test_webhook(here: Backend, request: TestWebhook) -> answers.TestResult:
    """Send an example of an event to a webhook once, and show the beginning of what it answers."""
    webhook = here.store.get_webhook(request.webhook_id)
    event = webhook.events[0] if request.event is None else _event(request.event)
    payload = payload_of(event.entity, event.action, example_of(event), now())
    try:
        answer = asyncio.run(here.webhook_calls.send(webhook, payload, str(uuid.uuid4()), keep_body=True))
    except CallFailedError as error:
        return {"result": {"success": False, "error_message": f"Failed to test webhook: {error}"}}
    success = answer.status < _REFUSED
    return {"result": {"success": success, "response_status": answer.status, "response_body": answer.body}}


def _event(field: EventField) -> WebhookEvent:
    names = field.entity.lower(), field.action.lower()
    try:
        entity, action = WebhookEntity(names[0]), WebhookAction(names[1])
    except ValueError:
        known = ", ".join(each.upper() for each in WebhookEntity)
        raise InvalidInputError(
            f"Invalid value '{field.entity}.{field.action}' for parameter 'events' supplied. Entities are {known}; "
            f"actions are {', '.join(each.upper() for each in WebhookAction)}."
        ) from None
    return WebhookEvent(entity, action)


def _status(given: str) -> WebhookStatus:
    try:
        return WebhookStatus(given)
    except ValueError:
        raise InvalidInputError(
            f"Invalid value '{given}' for parameter 'status' supplied: it is ACTIVE or DISABLED."
        ) from None
