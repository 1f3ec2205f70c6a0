"""What the audit log keeps of changes by MLflow's client: its address, its program, and the user that it names."""

from __future__ import annotations

import uuid
from contextlib import closing

import httpx
import pytest

from prefect_ml.store import open_store

# The stages are marked as going away in MLflow.
pytestmark = pytest.mark.filterwarnings("ignore:.*stages.*:FutureWarning", "ignore:.*deprecated.*:FutureWarning")


@pytest.fixture
def store(server):
    with closing(open_store(server.url)) as opened:
        yield opened


def rows(store, name):
    """What the log says of a model and its versions, oldest first."""
    entries = store.audit(max_results=50_000)
    return [entry for entry in entries if entry.subject.startswith(f"models:/{name}")]


def change(client, name):
    """Each call that the log tells of, once."""
    client.create_registered_model(name)
    client.create_model_version(name, "s3://models/churn")
    client.set_registered_model_alias(name, "blue", "1")
    client.transition_model_version_stage(name, "1", "Staging")
    client.delete_registered_model_alias(name, "blue")
    client.set_registered_model_alias(name, "green", "1")
    client.delete_model_version(name, "1")
    client.rename_registered_model(name, name + " b")
    client.delete_registered_model(name + " b")


ACTIONS = ["model-created", "version-created", "alias-set", "stage-changed", "alias-deleted", "alias-set"]
ACTIONS += ["alias-deleted", "version-deleted", "model-renamed", "model-deleted"]


def test_every_change_says_from_where_it_came(mlflow, client, store):
    name = f"m {uuid.uuid4().hex}"
    change(client, name)
    found = rows(store, name)
    assert [entry.action for entry in found] == ACTIONS
    for entry in found:
        agent = f"mlflow-python-client/{mlflow.__version__}"
        assert entry.origin == {"channel": "mlflow", "client": "127.0.0.1", "agent": agent}
        assert entry.actor == "anonymous@127.0.0.1"
    moves = store.alias_history(name, "blue")
    assert [move.moved_by for move in moves] == ["anonymous@127.0.0.1"] * 2


def test_a_user_who_is_named_is_kept(client, store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "bea")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "any: this server has no token")
    name = f"m {uuid.uuid4().hex}"
    change(client, name)
    assert {entry.actor for entry in rows(store, name)} == {"bea"}
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    tagged = f"m {uuid.uuid4().hex}"
    client.create_registered_model(tagged, tags={"mlflow.user": "tim"})
    assert [entry.actor for entry in rows(store, tagged)] == ["tim"]


def test_no_header_is_believed_about_the_address(server, store):
    name = f"m {uuid.uuid4().hex}"
    headers = {"X-Forwarded-For": "10.0.0.1", "X-Real-IP": "10.0.0.1", "User-Agent": "mlflow-x/1"}
    url = f"{server.url}/api/2.0/mlflow/registered-models/create"
    assert httpx.post(url, json={"name": name}, headers=headers).status_code == 200
    assert [entry.origin["client"] for entry in rows(store, name)] == ["127.0.0.1"]
