"""An alias moves over the store's calls only to files that the server itself reads as those that were approved."""

from __future__ import annotations

import uuid

import pytest

from prefect_ml.entities import Decision, Policy, RequestStatus
from prefect_ml.errors import StaleRequestError
from prefect_ml.models.digest import folder_digest
from prefect_ml.store import open_store
from prefect_ml.store.places import open_place


@pytest.fixture
def store(server):
    found = open_store(server.url)
    yield found
    found.close()


@pytest.fixture
def registered(store, tmp_path):
    """Registers a folder that the server keeps; the place of its files, and its digest."""
    name = f"m-{uuid.uuid4().hex[:8]}"
    store.create_registered_model(name)
    store.save_policy(Policy(name, 0, name, ["champion"], approvals=1, emergency=("ann",)), actor="ops")

    def register(words):
        folder = tmp_path / words
        folder.mkdir()
        (folder / "MLmodel").write_text(words)
        run = store.create_run("0")
        place = open_place(store, run.artifact_uri)
        place.put_folder(folder, "model")
        digest = folder_digest(folder)
        version = store.create_model_version(name, f"{run.artifact_uri}/model", artifact_digest=digest)
        request = store.create_request(
            key=uuid.uuid4().hex, name=name, version=version.version, alias="champion", stage=None, requester="ann",
            artifact_digest=digest, evidence=[], policy=name, policy_version=1,
        )  # fmt: skip
        store.decide(request.request_id, Decision("bob", True, "", 1))
        return place, digest, request.request_id

    return name, register


def test_what_a_client_says_of_served_files_counts_for_nothing(store, registered):
    name, register = registered
    _, digest, honest = register("one")
    moved = store.promote(honest, artifact_digest="sha256:nonsense", actor="ann")
    assert (moved.version, store.get_request(honest).artifact_digest) == (1, digest)
    assert store.promote(honest, artifact_digest="", actor="ann") == moved

    place, digest, changed = register("two")
    place.put("model/MLmodel", b"something else")
    with pytest.raises(StaleRequestError, match="the artifact is not the one that was asked for"):
        store.promote(changed, artifact_digest=digest, actor="ann")
    assert store.get_request(changed).status is RequestStatus.SUPERSEDED

    place, digest, gone = register("three")
    place.delete("model")
    with pytest.raises(StaleRequestError, match="the artifact is not the one that was asked for"):
        store.promote(gone, artifact_digest=digest, actor="ann")
    assert store.get_alias(name, "champion") == moved
