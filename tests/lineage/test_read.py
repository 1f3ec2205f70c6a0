"""What produced a model version, from runs that were really made."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

import prefect_ml as ml
from prefect_ml.entities import Dataset, DatasetInput, GateResult, Policy, RunStatus
from prefect_ml.errors import InvalidInputError, NotFoundError
from prefect_ml.lineage import find
from prefect_ml.lineage.read import MAX_GENERATIONS, get_lineage
from prefect_ml.models.folder import save_model
from prefect_ml.registry.register import register_model
from prefect_ml.tracking.model_inputs import model_inputs, tag_of

X = np.arange(12.0).reshape(6, 2)
MODEL = LinearRegression().fit(X, X.sum(axis=1))


@pytest.fixture
def store(home):
    opened = ml.open_store()
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request, monkeypatch):
    """A store of either database."""
    if request.param == "postgresql":
        monkeypatch.setenv("PREFECT_ML_STORE_URL", request.getfixturevalue("postgres_url"))
    opened = ml.open_store()
    yield opened
    opened.close()


@pytest.fixture
def folder(tmp_path):
    save_model(MODEL, tmp_path / "model", input_example=X[:2])
    return str(tmp_path / "model")


def trained(name="churn", loads=()):
    with ml.start_run(experiment="parents"), ml.start_run(name="child") as run:
        for uri in loads:
            ml.load_model(uri)
        logged = ml.log_model(MODEL, "model", input_example=X[:2], register=name)
    return run.run_id, logged


def test_a_script_in_a_repository(store):
    run_id, logged = trained()
    store.log_inputs(
        run_id,
        [DatasetInput(Dataset("rows", "d1", "local", '{"uri": "rows.csv"}'), {"mlflow.data.context": "training"})],
    )
    found = ml.get_lineage("models:/churn/1")
    assert found == get_lineage(store, "models:/churn/latest")
    assert (found.uri, found.version.version, found.run.run_id) == ("models:/churn/1", logged.version, run_id)
    assert found.digest == found.version.artifact_digest != ""
    assert (found.run.status, found.run.experiment, found.run.deleted) == (RunStatus.FINISHED, "parents", False)
    [parent] = found.parents
    assert store.get_run(run_id).tags["mlflow.parentRunId"] == parent.run_id
    tags = store.get_run(run_id).tags
    assert found.code.commit == tags["mlflow.source.git.commit"] != ""
    assert found.code.entry_point == tags["prefect_ml.entry_point"]
    assert found.code.dirty is not None
    assert found.environment_digest.startswith("sha256:")
    [used] = found.datasets
    assert (used.name, used.digest, used.context) == ("rows", "d1", "training")
    assert (found.execution.attempt.number, found.execution.flow_run_id) == (1, "")
    assert found.upstream == []
    assert found.unknown == ("No flow run: it was made by a script, or by another client.",)


def test_a_model_made_from_another_has_it_as_ancestor(store):
    teacher, _ = trained("teacher")
    run_id, _ = trained("student", loads=["models:/teacher/1", "models:/teacher/latest", f"runs:/{teacher}/model"])
    found = ml.get_lineage("models:/student/1")
    assert [each.uri for each in found.upstream] == ["models:/teacher/1", f"runs:/{teacher}/model"]
    ancestor = found.upstream[0]
    assert (ancestor.run.run_id, ancestor.digest) == (teacher, ancestor.version.artifact_digest)
    assert ml.get_lineage("models:/teacher/1").upstream == []
    assert [(v.name, v.version) for v in find.from_model(store, "models:/teacher/1").versions] == [("student", 1)]
    assert find.from_model(store, "models:/teacher/latest").run_ids == [run_id]
    assert find.from_model(store, "models:/student/1").versions == []


def test_a_run_is_no_ancestor_of_itself(store):
    with ml.start_run(experiment="e") as run:
        ml.log_model(MODEL, "model", input_example=X[:2], register="own")
        ml.load_model("models:/own/1")
        ml.load_model(f"runs:/{run.run_id}/model")
    assert model_inputs(store.get_run(run.run_id).tags) == []


def test_what_is_gone_is_said(store, folder):
    run_id, _ = trained("teacher")
    trained("student", loads=["models:/teacher/1"])
    store.delete_run(run_id)
    found = ml.get_lineage("models:/teacher/1")
    assert found.run.deleted
    assert "Its run is deleted; `prefect-ml runs restore` brings it back." in found.unknown
    store.delete_model_version("teacher", 1)
    [ancestor] = ml.get_lineage("models:/student/1").upstream
    assert (ancestor.uri, ancestor.digest, ancestor.run) == ("models:/teacher/1", found.digest, None)
    assert ancestor.unknown == ("It is no longer in the store.",)
    with pytest.raises(NotFoundError):
        ml.get_lineage("models:/teacher/1")
    register_model(store, folder, "alone")
    assert ml.get_lineage("models:/alone/1").unknown == ("It names no run, so nothing tells what produced it.",)
    register_model(store, folder, "alone", run_id="f" * 32)
    [sentence] = ml.get_lineage("models:/alone/2").unknown
    assert f"Its run {'f' * 32} is not in the store" in sentence


def test_a_run_of_another_client_has_what_it_tells(store, folder):
    run = store.create_run("0", tags={"mlflow.source.git.commit": "a" * 40, "mlflow.source.name": "train.py"})
    register_model(store, folder, "foreign", run_id=run.run_id)
    found = ml.get_lineage("models:/foreign/1")
    assert (found.code.commit, found.code.entry_point, found.code.dirty) == ("a" * 40, "train.py", None)
    assert found.execution.attempt is None
    assert len(found.unknown) == 3


def test_models_that_were_made_from_each_other_are_told_once(either, folder):
    store = either

    def version(name, *loaded):
        run = store.create_run("0")
        tags = {tag_of(uri): json.dumps({"uri": uri, "digest": "sha256:0"}) for uri in loaded}
        store.log_batch(run.run_id, tags={**tags, "prefect_ml.model_input.broken": "{"})
        register_model(store, folder, name, run_id=run.run_id)

    version("a", "models:/b/1")
    version("b", "models:/a/1")
    [b] = ml.get_lineage("models:/a/1").upstream
    [a] = b.upstream
    assert (a.uri, a.upstream, a.unknown) == ("models:/a/1", (), ("It is told above.",))
    for number in range(MAX_GENERATIONS + 2):
        version(f"m{number + 1}", f"models:/m{number}/1")
    found, depth = ml.get_lineage(f"models:/m{MAX_GENERATIONS + 2}/1"), 0
    while found.upstream:
        [found], depth = found.upstream, depth + 1
    assert depth == MAX_GENERATIONS + 1
    assert found.unknown == ("Its own ancestors were not looked for.",)


def test_promotions_and_aliases(either, folder):
    store = either
    version = register_model(store, folder, "churn")
    register_model(store, folder, "churn")
    store.set_alias("churn", "tried", 1, actor="ann")
    store.set_alias("churn", "tried", 2, actor="ann")
    saved = store.save_policy(Policy("p", 0, "churn", ["champion"], approvals=1), actor="ann")
    request = store.create_request(
        key="k", name="churn", version=1, alias="champion", stage=None, requester="ann",
        artifact_digest=version.artifact_digest, evidence=[GateResult("g", passed=True, summary="s")],
        policy="p", policy_version=saved.version,
    )  # fmt: skip
    ml.approve(request.request_id, actor="bob")
    ml.promote(request.request_id)
    found = ml.get_lineage("models:/churn@champion")
    [promotion] = found.promotions
    assert (promotion.alias, promotion.status, promotion.requester) == ("champion", "PROMOTED", "ann")
    assert promotion.approvers == ["bob"]
    assert [(move.alias, move.generation) for move in found.moves] == [("champion", 1)]
    assert [move.alias for move in ml.get_lineage("models:/churn/2").moves] == ["tried"]


def test_versions_of_a_data_set_a_commit_and_a_flow_run(either, folder):
    store = either
    flow_run = "0190aaaa-0000-7000-8000-000000000001"
    data = DatasetInput(Dataset("it's", "d'1", "local", "{}"))
    root = store.create_run("0", tags={"prefect_ml.flow_run_id": flow_run, "mlflow.source.git.commit": "ab" * 20})
    child = store.create_run("0", tags={"mlflow.parentRunId": root.run_id})
    leaf = store.create_run(store.create_experiment("other"), tags={"mlflow.parentRunId": child.run_id})
    for run in (root, leaf):
        store.log_inputs(run.run_id, [data])
        register_model(store, folder, "churn", run_id=run.run_id)
    unused = store.create_run("0", tags={"mlflow.source.git.commit": "cd" * 20})
    register_model(store, folder, "churn", run_id=unused.run_id)

    def numbers(found):
        assert found.complete
        return [version.version for version in found.versions]

    assert numbers(find.from_dataset(store, "d'1")) == [1, 2]
    assert numbers(find.from_dataset(store, "d")) == []
    assert numbers(find.from_commit(store, "ab" * 20)) == numbers(find.from_commit(store, "ABABABA")) == [1]
    assert numbers(find.from_commit(store, "cd" * 20)) == [3]
    assert numbers(find.from_flow_run(store, flow_run)) == numbers(
        find.from_flow_run(store, "0190aaaa000070008000000000000001")
    )
    assert numbers(find.from_flow_run(store, flow_run)) == [1, 2]
    store.delete_run(leaf.run_id)
    assert numbers(find.from_flow_run(store, flow_run)) == [1, 2]
    for bad in ("abc", "zzzzzzz", "' or 1"):
        with pytest.raises(InvalidInputError):
            find.from_commit(store, bad)
    with pytest.raises(InvalidInputError):
        find.from_flow_run(store, "me")


def test_more_than_is_looked_at_is_said(store, folder, monkeypatch):
    monkeypatch.setattr(find, "MAX_RUNS", 2)
    for _ in range(3):
        run = store.create_run("0", tags={"mlflow.source.git.commit": "ab" * 20})
        register_model(store, folder, "churn", run_id=run.run_id)
    found = find.from_commit(store, "ab" * 20)
    assert (len(found.versions), len(found.run_ids), found.complete) == (2, 2, False)
