"""Webhooks by MLflow's client; that they are called is shown elsewhere, with a receiver."""

from __future__ import annotations

import uuid

import pytest


def test_a_webhook_is_registered_read_changed_and_deleted(mlflow, client):
    from mlflow.entities.webhook import WebhookEvent

    name = f"hook-{uuid.uuid4().hex[:12]}"
    created, set_tag = WebhookEvent("model_version", "created"), WebhookEvent("prompt_tag", "set")
    made = client.create_webhook(name, "https://hooks.example.com/a", [created], description="tells the chat")
    found = client.get_webhook(made.webhook_id)
    assert (found.name, found.url, found.description) == (name, "https://hooks.example.com/a", "tells the chat")
    assert [str(each) for each in found.events] == [str(created)]
    assert (found.status.name, found.secret) == ("ACTIVE", None)
    assert made.webhook_id in {each.webhook_id for each in client.list_webhooks(max_results=100)}
    changed = client.update_webhook(made.webhook_id, events=[set_tag], status="DISABLED")
    assert ([str(each) for each in changed.events], changed.status.name) == ([str(set_tag)], "DISABLED")
    assert changed.url == made.url
    client.delete_webhook(made.webhook_id)
    with pytest.raises(mlflow.MlflowException, match=f"Webhook with ID {made.webhook_id} not found") as gone:
        client.get_webhook(made.webhook_id)
    assert gone.value.error_code == "RESOURCE_DOES_NOT_EXIST"


@pytest.mark.parametrize(
    ("name", "url", "message"),
    [
        ("-", "https://hooks.example.com", "Webhook name '-' is invalid"),
        ("ok", "ftp://hooks.example.com", "Invalid webhook URL scheme: 'ftp'"),
        ("ok", "   ", "Webhook URL cannot be empty or just whitespace"),
    ],
)
def test_a_webhook_that_is_none_is_refused(mlflow, client, name, url, message):
    with pytest.raises(mlflow.MlflowException, match=message) as refused:
        client.create_webhook(name, url, ["registered_model.created"])
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
