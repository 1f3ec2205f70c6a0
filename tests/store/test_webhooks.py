"""Webhooks and their outbox: what is told is what was committed, to one process at a time."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import SecretStr
from sqlalchemy import update

from prefect_ml.entities import (
    DeliveryStatus,
    GateResult,
    Policy,
    Stage,
    WebhookAction,
    WebhookEntity,
    WebhookEvent,
    WebhookStatus,
)
from prefect_ml.errors import InvalidInputError, InvalidNameError, NotFoundError, ProtectedError
from prefect_ml.store import open_store
from prefect_ml.store.database import Database
from prefect_ml.store.sql import SqlStore
from prefect_ml.store.webhook_outbox import model_created
from prefect_ml.store.webhook_tables import webhook_deliveries

URL = "https://hooks.example/registry"
CREATED = WebhookEvent(WebhookEntity.REGISTERED_MODEL, WebhookAction.CREATED)
EVERYTHING = [
    WebhookEvent(entity, action)
    for entity in WebhookEntity
    for action in WebhookAction
    if (action is not WebhookAction.SET or entity.endswith("_tag"))
    and (action is not WebhookAction.CREATED or not entity.endswith("_tag"))
    and (action is not WebhookAction.DELETED or entity.endswith(("_tag", "_alias")))
]


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request):
    """The databases: whoever is behind a server has the server's webhooks."""
    return request.param


@pytest.fixture
def store(store_url):
    opened = open_store(store_url)
    yield opened
    assert opened.database.checked_out == 0
    opened.close()


@pytest.fixture
def told(store):
    """What a webhook for every event was told, oldest first: event and data."""
    webhook = store.create_webhook("everything", URL, EVERYTHING)

    def read():
        found = []
        for delivery in reversed(store.list_deliveries(webhook.webhook_id)):
            said = json.loads(delivery.payload)
            assert set(said) == {"entity", "action", "timestamp", "data"}
            found.append((f"{said['entity']}.{said['action']}", said["data"]))
        return found

    return read


def test_every_pair_of_entity_and_action_is_either_told_or_refused():
    pairs = {(each.entity, each.action) for each in EVERYTHING}
    assert len(EVERYTHING) == 14
    for entity in WebhookEntity:
        for action in WebhookAction:
            if (entity, action) not in pairs:
                with pytest.raises(InvalidInputError, match=f"Invalid action '{action}' for entity '{entity}'"):
                    WebhookEvent(entity, action)


def test_a_webhook_is_kept_as_it_was_given(store):
    sealed = SecretStr("sealed")
    events = [CREATED, WebhookEvent(WebhookEntity.MODEL_VERSION, WebhookAction.CREATED), CREATED]
    made = store.create_webhook("a.b-c_1", URL, events, description="why", sealed_secret=sealed)
    assert made == store.get_webhook(made.webhook_id)
    assert (made.name, made.url, made.description, made.status) == ("a.b-c_1", URL, "why", WebhookStatus.ACTIVE)
    assert list(made.events) == events[:2]
    assert made.sealed_secret == sealed
    assert "'sealed'" not in repr(made)


@pytest.mark.parametrize("name", ["", " ", "-a", "a-", "a b", "a/b", "x" * 64, "ä", "a\n"])
def test_a_name_that_could_not_be_part_of_a_url_is_refused(store, name):
    with pytest.raises(InvalidNameError, match=r"is invalid\. It must start and end with a letter or digit"):
        store.create_webhook(name, URL, [CREATED])


def test_what_makes_no_webhook_is_refused(store):
    with pytest.raises(InvalidInputError, match="Missing value for required parameter 'events'"):
        store.create_webhook("a", URL, [])
    with pytest.raises(InvalidInputError, match="Webhook URL cannot be empty or just whitespace: '  '"):
        store.create_webhook("a", "  ", [CREATED])
    with pytest.raises(InvalidInputError, match=r"max_results must be between 1 and 1000\."):
        store.list_webhooks(1001)
    for call in (store.get_webhook, store.update_webhook, store.delete_webhook, store.list_deliveries):
        with pytest.raises(NotFoundError, match=r"Webhook with ID nobody not found\."):
            call("nobody")


def test_webhooks_are_listed_newest_first_page_by_page(store):
    made = [store.create_webhook(f"w{number}", URL, [CREATED]) for number in range(5)]
    found, token = [], None
    while True:
        page = store.list_webhooks(2, token)
        found += page.items
        if (token := page.next_token) is None:
            break
    assert found == made[::-1]


def test_there_are_not_more_webhooks_than_a_change_can_bear(store, monkeypatch):
    monkeypatch.setattr("prefect_ml.store.webhooks.MAX_WEBHOOKS", 2)
    first, _ = (store.create_webhook(name, URL, [CREATED]) for name in "ab")
    with pytest.raises(InvalidInputError, match="There are 2 webhooks already"):
        store.create_webhook("c", URL, [CREATED])
    store.delete_webhook(first.webhook_id)
    store.create_webhook("c", URL, [CREATED])


def test_a_change_leaves_what_it_does_not_name(store):
    made = store.create_webhook("a", URL, [CREATED], description="why", sealed_secret=SecretStr("sealed"))
    other = WebhookEvent(WebhookEntity.PROMPT, WebhookAction.CREATED)
    changed = store.update_webhook(made.webhook_id, name="b", events=[other])
    assert (changed.name, list(changed.events), changed.url, changed.description) == ("b", [other], URL, "why")
    assert changed.sealed_secret == SecretStr("sealed")
    assert changed.last_updated_timestamp >= made.last_updated_timestamp
    unsigned = store.update_webhook(made.webhook_id, unsigned=True, status=WebhookStatus.DISABLED, description="")
    assert (unsigned.sealed_secret, unsigned.status, unsigned.description) == (None, WebhookStatus.DISABLED, "")


def test_the_changes_of_a_model_are_told(store, told):
    store.create_registered_model("m", "about", {"k": "v"})
    store.set_registered_model_tag("m", "k", "other")
    store.create_model_version("m", "s3://b/1", run_id="r", description="first", tags={"a": "b"})
    store.create_model_version("m", "s3://b/2")
    store.set_model_version_tag("m", 1, "key", "value")
    store.delete_model_version_tag("m", 1, "key")
    store.delete_model_version_tag("m", 1, "key")
    store.set_alias("m", "champion", 1)
    store.set_alias("m", "champion", 1)
    store.set_alias("m", "champion", 2)
    store.delete_alias("m", "champion")
    store.delete_alias("m", "champion")
    store.transition_stage("m", 1, Stage.STAGING)
    version = {"name": "m", "version": "1"}
    alias = {"name": "m", "alias": "champion"}
    second = {"name": "m", "version": "2", "source": "s3://b/2", "run_id": None, "tags": {}, "description": None}
    assert told() == [
        ("registered_model.created", {"name": "m", "tags": {"k": "v"}, "description": "about"}),
        (
            "model_version.created",
            {**version, "source": "s3://b/1", "run_id": "r", "tags": {"a": "b"}, "description": "first"},
        ),
        ("model_version.created", second),
        ("model_version_tag.set", {**version, "key": "key", "value": "value"}),
        ("model_version_tag.deleted", {**version, "key": "key"}),
        ("model_version_alias.created", {**alias, "version": "1"}),
        ("model_version_alias.created", {**alias, "version": "2"}),
        ("model_version_alias.deleted", alias),
    ]


def test_the_changes_of_a_prompt_are_told_as_such_without_the_tags_that_keep_it(store, told):
    own = {"mlflow.prompt.is_prompt": "true"}
    store.create_registered_model("p", "about", {**own, "team": "a"})
    text = {"mlflow.prompt.text": "Hi {{name}}", "_mlflow_prompt_type": "text"}
    store.create_model_version("p", "dummy-source", tags={**own, **text, "team": "a"})
    store.set_registered_model_tag("p", "k", "v")
    store.delete_registered_model_tag("p", "k")
    store.set_registered_model_tag("p", "mlflow.prompt.is_prompt", "true")
    store.set_model_version_tag("p", 1, "k", "v")
    store.set_model_version_tag("p", 1, "mlflow.prompt.text", "Ho")
    store.delete_model_version_tag("p", 1, "k")
    store.set_alias("p", "prod", 1)
    store.delete_registered_model("p")
    version = {"name": "p", "version": "1"}
    assert told() == [
        ("prompt.created", {"name": "p", "tags": {"team": "a"}, "description": "about"}),
        (
            "prompt_version.created",
            {**version, "template": "Hi {{name}}", "tags": {"team": "a"}, "description": None},
        ),
        ("prompt_tag.set", {"name": "p", "key": "k", "value": "v"}),
        ("prompt_tag.deleted", {"name": "p", "key": "k"}),
        ("prompt_version_tag.set", {**version, "key": "k", "value": "v"}),
        ("prompt_version_tag.deleted", {**version, "key": "k"}),
        ("prompt_alias.created", {"name": "p", "alias": "prod", "version": "1"}),
        ("prompt_alias.deleted", {"name": "p", "alias": "prod"}),
    ]


def test_a_promotion_and_its_rollback_are_told(store, told):
    store.create_registered_model("m")
    for number in (1, 2):
        store.create_model_version("m", f"s3://b/{number}", artifact_digest="sha256:1")
    store.set_alias("m", "champion", 1)
    gates = [{"name": "g"}]
    policy = store.save_policy(
        Policy("p", 0, "m", ("champion",), gates=gates, approvals=0, emergency=("ann",)), actor="ann"
    )
    request = store.create_request(
        key="k",
        name="m",
        version=2,
        alias="champion",
        stage=None,
        requester="ann",
        artifact_digest="sha256:1",
        evidence=[GateResult("g", passed=True, summary="")],
        policy=policy.name,
        policy_version=policy.version,
    )
    store.promote(request.request_id, artifact_digest="sha256:1", actor="ann")
    store.rollback("m", "champion", actor="ann", reason="worse")
    with pytest.raises(ProtectedError):
        store.set_alias("m", "champion", 2)
    assert [data["version"] for event, data in told() if event == "model_version_alias.created"] == ["1", "2", "1"]


def test_what_is_rolled_back_is_not_told(store, told):
    def work(connection):
        model_created(connection, 1, "ghost", "", {})
        raise RuntimeError("after the outbox was written")

    with pytest.raises(RuntimeError):
        store.database.write(work)
    store.create_registered_model("m")
    with pytest.raises(Exception, match="already exists"):
        store.create_registered_model("m")
    assert [data["name"] for _, data in told()] == ["m"]


def test_only_active_webhooks_that_asked_for_an_event_are_told_of_it_each_once(store):
    asked = store.create_webhook("asked", URL, [CREATED, CREATED])
    other = store.create_webhook("other", URL, [WebhookEvent(WebhookEntity.PROMPT, WebhookAction.CREATED)])
    off = store.create_webhook("off", URL, [CREATED], status=WebhookStatus.DISABLED)
    store.create_registered_model("m")
    store.create_registered_model("p", tags={"mlflow.prompt.is_prompt": "true"})

    def names(webhook):
        return [json.loads(each.payload)["data"]["name"] for each in store.list_deliveries(webhook.webhook_id)]

    assert (names(asked), names(other), names(off)) == (["m"], ["p"], [])


def test_a_delivery_is_taken_up_once_until_its_lease_is_over(store):
    webhook = store.create_webhook("w", URL, [CREATED])
    store.create_registered_model("m")
    ((delivery, owner),) = store.claim_deliveries(10, 60)
    assert (delivery.attempts, delivery.status, owner) == (1, DeliveryStatus.PENDING, webhook)
    assert store.claim_deliveries(10, 60) == []
    end_leases(store)
    ((again, _),) = store.claim_deliveries(10, 60)
    assert (again.delivery_id, again.attempts) == (delivery.delivery_id, 2)


def test_what_became_of_an_attempt_counts_unless_another_was_begun(store):
    webhook = store.create_webhook("w", URL, [CREATED])
    store.create_registered_model("m")
    ((first, _),) = store.claim_deliveries(10, 60)
    end_leases(store)
    ((second, _),) = store.claim_deliveries(10, 60)
    store.settle_delivery(first.delivery_id, 1, DeliveryStatus.GIVEN_UP, error="slow")
    assert store.list_deliveries(webhook.webhook_id)[0] == second
    store.settle_delivery(second.delivery_id, 2, DeliveryStatus.PENDING, error="503", next_attempt_at=0)
    ((third, _),) = store.claim_deliveries(10, 60)
    assert (third.attempts, third.error) == (3, "503")
    store.settle_delivery(first.delivery_id, 1, DeliveryStatus.DELIVERED)
    store.settle_delivery(third.delivery_id, 3, DeliveryStatus.GIVEN_UP, error="late")
    (kept,) = store.list_deliveries(webhook.webhook_id)
    assert (kept.status, kept.error) == (DeliveryStatus.DELIVERED, "")
    store.settle_delivery("gone", 1, DeliveryStatus.DELIVERED)


def test_a_time_is_given_for_another_attempt_and_for_nothing_else(store):
    for status, at in [(DeliveryStatus.PENDING, None), (DeliveryStatus.DELIVERED, 1)]:
        with pytest.raises(InvalidInputError, match="needs a time"):
            store.settle_delivery("d", 1, status, next_attempt_at=at)


def test_a_busy_webhook_does_not_hold_up_the_others(store):
    slow = store.create_webhook("slow", URL, [CREATED])
    for number in range(9):
        store.create_registered_model(f"m{number}")
    quick = store.create_webhook("quick", URL, [CREATED])
    store.create_registered_model("last")
    claimed = [webhook.name for _, webhook in store.claim_deliveries(16, 60)]
    assert sorted(claimed) == ["quick", "slow", "slow", "slow", "slow"]
    assert store.claim_deliveries(16, 60, busy=[slow.webhook_id, quick.webhook_id]) == []
    assert len(store.claim_deliveries(2, 60)) == 2


def test_a_disabled_webhook_waits_and_a_deleted_one_is_told_nothing(store):
    webhook = store.create_webhook("w", URL, [CREATED])
    store.create_registered_model("m")
    store.update_webhook(webhook.webhook_id, status=WebhookStatus.DISABLED)
    assert store.claim_deliveries(10, 60) == []
    store.update_webhook(webhook.webhook_id, status=WebhookStatus.ACTIVE, url="https://other.example/")
    ((_, owner),) = store.claim_deliveries(10, 60)
    assert owner.url == "https://other.example/"
    end_leases(store)
    store.delete_webhook(webhook.webhook_id)
    assert store.claim_deliveries(10, 60) == []
    assert not store.list_webhooks().items


def test_settled_deliveries_are_pruned_and_pending_ones_stay(store):
    webhook = store.create_webhook("w", URL, [CREATED])
    for name in "abc":
        store.create_registered_model(name)
    for (delivery, _), status in zip(
        store.claim_deliveries(2, 60), (DeliveryStatus.DELIVERED, DeliveryStatus.GIVEN_UP), strict=True
    ):
        store.settle_delivery(delivery.delivery_id, 1, status)
    later = 2**53
    assert store.prune_deliveries(DeliveryStatus.DELIVERED, 0) == 0
    assert store.prune_deliveries(DeliveryStatus.DELIVERED, later) == 1
    assert store.prune_deliveries(DeliveryStatus.GIVEN_UP, later) == 1
    with pytest.raises(InvalidInputError, match="stays"):
        store.prune_deliveries(DeliveryStatus.PENDING, later)
    assert [each.status for each in store.list_deliveries(webhook.webhook_id)] == [DeliveryStatus.PENDING]
    assert len(store.list_deliveries(webhook.webhook_id, status=DeliveryStatus.GIVEN_UP)) == 0


def test_several_takers_at_once_get_each_delivery_once(store, store_url):
    for number in range(6):
        store.create_webhook(f"w{number}", URL, [CREATED])
    for number in range(10):
        store.create_registered_model(f"m{number}")
    others = [SqlStore(Database(store_url), "/nowhere") for _ in range(4)]
    start = threading.Barrier(4)

    def take(taker):
        start.wait()
        found, idle = [], 0
        while idle < 3:
            claimed = [delivery.delivery_id for delivery, _ in taker.claim_deliveries(3, 60)]
            found += claimed
            idle = 0 if claimed else idle + 1
        return found

    with ThreadPoolExecutor(4) as pool:
        taken = [each for found in pool.map(take, others) for each in found]
    for other in others:
        other.close()
    assert len(taken) == len(set(taken)) == 60


def end_leases(store):
    ended = update(webhook_deliveries).values(next_attempt_at=0)
    store.database.write(lambda connection: connection.execute(ended).rowcount)
