"""Promotion requests over REST: found, decided by the same rules as everywhere, and documented."""

from __future__ import annotations

import hashlib
import time
import uuid

import pytest

from prefect_ml.entities import Policy, RequestStatus
from prefect_ml.server.promotions import PATH
from prefect_ml.store import open_store


@pytest.fixture
def store(server):
    found = open_store(server.url)
    yield found
    found.close()


@pytest.fixture
def ask(store):
    """Asks for the champion of a model of the test's own; each call under a new key."""
    model = f"m-{uuid.uuid4().hex[:8]}"
    digest = f"sha256:{hashlib.sha256(model.encode()).hexdigest()}"
    store.create_registered_model(model)
    store.create_model_version(model, "models:/none", artifact_digest=digest)
    policy = Policy(model, 0, model, ["champion"], four_eyes=True, approvers=["bob", "ann", "cara"])
    policy = store.save_policy(policy, actor="ops")

    def create(**more):
        return store.create_request(
            key=uuid.uuid4().hex, name=model, version=1, alias="champion", stage=None, requester="ann",
            artifact_digest=digest, evidence=[], policy=policy.name, policy_version=policy.version, **more,
        )  # fmt: skip

    return create


def test_the_list_is_paged_and_filtered_and_each_request_is_shown_whole(client, ask):
    asked = [ask() for _ in range(5)]
    query = {"model": asked[0].name, "status": "pending", "max_results": 2}
    found, token = [], None
    while token != "":
        page = client.get(PATH, params=query | ({"page_token": token} if token else {})).json()
        found += page["promotion_requests"]
        token = page["next_page_token"]
    assert [each["request_id"] for each in found] == [each.request_id for each in reversed(asked)]
    assert client.get(PATH, params=query | {"status": "APPROVED"}).json()["promotion_requests"] == []
    whole = client.get(f"{PATH}/{asked[0].request_id}").json()["promotion_request"]
    assert whole["evidence"] == []
    assert {"model": asked[0].name, "version": 1, "alias": "champion", "requester": "ann"}.items() <= whole.items()


def test_a_decision_is_made_by_the_rules_and_timed_by_the_server(client, ask, store):
    request = ask()
    at = f"{PATH}/{request.request_id}"
    refused = [
        (client.post(f"{at}/approve", json={"actor": "ann"}), 403, "four eyes"),
        (client.post(f"{at}/approve", json={"actor": "mallory"}), 403, "approver"),
        (client.post(f"{at}/approve", json={"actor": " "}), 400, "who decides"),
        (client.post(f"{at}/reject", json={"actor": "bob"}), 400, "reason"),
        (client.post(f"{at}/reject", json={"actor": "bob", "reason": " "}), 400, "why it is rejected"),
        (client.post(f"{PATH}/none/approve", json={"actor": "bob"}), 404, "no promotion request"),
        (client.get(at, params={"x": "1"}, headers={"host": "evil.example"}), 403, ""),
        (client.get(PATH, params={"status": "LOST"}), 400, "LOST"),
        (client.get(PATH, params={"max_results": 0}), 400, "max_results"),
        (client.delete(at), 405, "GET"),
    ]
    for answer, status, words in refused:
        assert answer.status_code == status, answer.text
        assert words in answer.json()["message"]
    assert store.get_request(request.request_id).status is RequestStatus.PENDING

    before = time.time_ns() // 1_000_000
    body = {"actor": "bob", "reason": "fine", "decided_at": 1, "channel": "prefect-ui"}
    for _ in range(2):
        answer = client.post(f"{at}/approve", json=body)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert (told["promotion_request"]["status"], told["resumed"], told["note"]) == ("APPROVED", False, "")
    [decision] = store.get_request(request.request_id).decisions
    assert (decision.actor, decision.reason, decision.channel) == ("bob", "fine", "rest")
    assert decision.decided_at >= before
    late = client.post(f"{at}/reject", json={"actor": "cara", "reason": "no"})
    assert (late.status_code, late.json()["error_code"]) == (400, "INVALID_STATE")
    origin = store.audit(subject=f"models:/{request.name}@champion")[-1]
    assert (origin.action, origin.actor) == ("request-approved", "bob")


def test_a_server_without_a_prefect_api_says_that_it_told_nobody(client, ask):
    request = ask(flow_run_id=str(uuid.uuid4()))
    told = client.post(f"{PATH}/{request.request_id}/reject", json={"actor": "bob", "reason": "worse"}).json()
    assert told["promotion_request"]["status"] == "REJECTED"
    assert "PREFECT_API_URL" in told["note"]


def test_it_is_in_the_document_with_examples(client):
    paths = client.get("/openapi.json").json()["paths"]
    approve = paths[f"{PATH}/{{request_id}}/approve"]["post"]
    body = approve["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["actor"]
    assert all(field["description"] and field["examples"] for field in body["properties"].values())
    assert {each["name"] for each in paths[PATH]["get"]["parameters"]} == {
        "model",
        "status",
        "max_results",
        "page_token",
    }
