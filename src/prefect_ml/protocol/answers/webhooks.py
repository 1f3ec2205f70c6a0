"""Webhooks on the wire; their secrets are not sent to anybody."""

from __future__ import annotations

from typing import NotRequired

from typing_extensions import TypedDict

from prefect_ml.entities import Page, Webhook


class EventFields(TypedDict):
    entity: str
    action: str


class WebhookFields(TypedDict):
    webhook_id: str
    name: str
    url: str
    events: list[EventFields]
    description: NotRequired[str]
    status: str
    creation_timestamp: int
    last_updated_timestamp: int


class OneWebhook(TypedDict):
    webhook: WebhookFields


class SomeWebhooks(TypedDict):
    webhooks: NotRequired[list[WebhookFields]]
    next_page_token: NotRequired[str]


class TestFields(TypedDict):
    success: bool
    response_status: NotRequired[int]
    response_body: NotRequired[str]
    error_message: NotRequired[str]


class TestResult(TypedDict):
    result: TestFields


def one_webhook(found: Webhook) -> OneWebhook:
    return {"webhook": _webhook(found)}


def some_webhooks(page: Page[Webhook]) -> SomeWebhooks:
    answer: SomeWebhooks = {}
    if page.items:
        answer["webhooks"] = [_webhook(each) for each in page.items]
    if page.next_token:
        answer["next_page_token"] = page.next_token
    return answer


def _webhook(found: Webhook) -> WebhookFields:
    fields: WebhookFields = {
        "webhook_id": found.webhook_id,
        "name": found.name,
        "url": found.url,
        "events": [{"entity": each.entity.upper(), "action": each.action.upper()} for each in found.events],
        "status": found.status,
        "creation_timestamp": found.creation_timestamp,
        "last_updated_timestamp": found.last_updated_timestamp,
    }
    if found.description:
        fields["description"] = found.description
    return fields
