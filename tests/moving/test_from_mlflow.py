"""What MLflow wrote comes over as MLflow itself tells it, from its server and from its database."""

from __future__ import annotations

import math

import pytest
from worlds import World

from prefect_ml.artifacts import open_artifacts
from prefect_ml.entities import LifecycleStage, LoggedModelStatus, Metric
from prefect_ml.errors import InvalidInputError, NotFoundError, StoreUnavailableError
from prefect_ml.moving.opening import mlflow_origin
from prefect_ml.moving.origin import Wanted
from prefect_ml.moving.report import Kind
from prefect_ml.moving.transfer import take_over


@pytest.fixture(params=["database", pytest.param("server", marks=pytest.mark.long)])
def origin(request, world):
    opened = mlflow_origin(world.url if request.param == "database" else request.getfixturevalue("mlflow_server"))
    yield opened
    opened.close()


def test_everything_comes_as_mlflow_tells_it(origin, store, world):
    report = take_over(origin, store)
    assert (report.conflicts, report.failures) == ([], [])
    counts = {kind: (count.found, count.copied) for kind, count in report.counts.items()}
    assert counts == {
        Kind.EXPERIMENTS: (3, 2),
        Kind.RUNS: (2, 2),
        Kind.LOGGED_MODELS: (1, 1),
        Kind.MODELS: (3, 3),
        Kind.VERSIONS: (5, 5),
    }
    assert any("trace" in sentence for sentence in report.left_behind)
    experiment = store.get_experiment_by_name("churn")
    for run_id, told in world.told["runs"].items():
        moved = store.get_moved_run(run_id)
        assert moved.run.experiment_id == experiment.experiment_id
        assert as_told(moved) == told
    assert versions_as_told(store) == world.told["versions"]


def test_files_models_inputs_and_outputs_come(origin, store, world):
    take_over(origin, store)
    run = store.get_run(world.run)
    artifacts = open_artifacts(run.artifact_uri)
    assert artifacts.read("plots/a b ü.txt") == b"hi"
    assert artifacts.read("empty.txt") == b""
    (used,) = run.inputs
    assert used.tags == {"mlflow.data.context": "training"}
    assert (list(run.model_inputs), [tuple(made) for made in run.model_outputs]) == ([world.model], [(world.model, 2)])
    model = store.get_logged_model(world.model)
    assert (model.name, model.status, model.params) == ("net", LoggedModelStatus.READY, {"p": "1"})
    (point,) = model.metrics
    assert (point.metric.key, point.metric.step, point.dataset_name) == ("acc", 2, "three")
    assert math.isnan(point.metric.value)
    assert open_artifacts(model.artifact_uri).read("weights.bin") == bytes(range(256)) * 8192


def test_versions_point_to_the_files_here_and_have_their_digest(origin, store, world):
    take_over(origin, store)
    first, third = (store.get_model_version("churn", number) for number in (1, 3))
    assert (first.source, first.model_id) == (f"models:/{world.model}", world.model)
    assert first.location == store.get_logged_model(world.model).artifact_uri
    assert third.source == f"{store.get_run(world.run).artifact_uri}/plots"
    assert first.artifact_digest.startswith("sha256:")
    assert third.artifact_digest.startswith("sha256:")
    copied = store.get_model_version("copied", 1)
    assert (copied.source, copied.location) == ("models:/churn/1", first.location)
    assert store.get_alias("churn", "champion").version == 1
    assert store.get_moved_model("churn").last_version == 3
    prompt = store.get_moved_model("ask")
    assert [version.tags["mlflow.prompt.text"] for version in prompt.versions] == ["Say {{x}}", "Tell {{x}}"]
    assert [found.name for found in store.search_registered_models().items] == ["churn", "copied"]


def test_a_second_import_finds_everything_here(origin, store):
    first = take_over(origin, store)
    before = store.verify_audit()
    second = take_over(origin, store)
    assert second.complete
    assert {kind: count.copied for kind, count in second.counts.items()} == dict.fromkeys(Kind, 0)
    assert {kind: count.present for kind, count in second.counts.items()} == {
        kind: count.found for kind, count in first.counts.items()
    }
    assert (second.files, second.bytes, second.digest) == (first.files, first.bytes, first.digest)
    models = len(store.search_registered_models().items) + 1
    assert store.verify_audit() == before + models, "a look at a model is a row, nothing else is"


def test_both_ways_give_the_same(world, mlflow_server, new_store):
    found = []
    for name, uri in (("a", world.url), ("b", mlflow_server)):
        store = new_store(name)
        origin = mlflow_origin(uri)
        found.append(take_over(origin, store).digest)
        origin.close()
    assert found[0] == found[1]


def test_a_postgresql_database_of_mlflows_comes_over(postgres_url, tmp_path, store):
    other = World(tmp_path, postgres_url)
    origin = mlflow_origin(postgres_url)
    report = take_over(origin, store)
    origin.close()
    assert (report.conflicts, report.failures, report.left_behind) == ([], [], ["Not copied: traces (1)."])
    assert {run_id: as_told(store.get_moved_run(run_id)) for run_id in other.told["runs"]} == other.told["runs"]
    assert versions_as_told(store) == other.told["versions"]
    assert store.get_moved_run(other.deleted).deletion_time is not None
    assert math.isnan(store.get_logged_model(other.model).metrics[0].metric.value)


def test_what_is_named_comes_alone(origin, store, world):
    take_over(origin, store, Wanted(models=frozenset({"churn"}), versions=frozenset({1})))
    assert [version.version for version in store.get_moved_model("churn").versions] == [1]
    assert store.get_run(world.run).run_id == world.run
    with pytest.raises(NotFoundError):
        store.get_run(world.deleted)
    with pytest.raises(NotFoundError):
        store.get_registered_model("copied")
    take_over(origin, store, Wanted(experiments=frozenset({"churn"})))
    assert store.get_run(world.deleted).lifecycle_stage == LifecycleStage.DELETED


@pytest.mark.parametrize("wanted", [Wanted(experiments=frozenset({"x"})), Wanted(models=frozenset({"x"}))])
def test_what_is_named_but_not_there_is_an_error(origin, store, wanted):
    with pytest.raises(NotFoundError, match="'x'"):
        take_over(origin, store, wanted)


def test_the_time_of_deletion_comes_from_the_database(world, store):
    origin = mlflow_origin(world.url)
    take_over(origin, store)
    origin.close()
    moved = store.get_moved_run(world.deleted)
    assert moved.deletion_time is not None
    assert moved.deletion_time >= moved.run.end_time


@pytest.mark.parametrize(
    "uri", ["mlruns", "databricks://x", "http://", "sqlite:////no/such.db", "mysql://h/d", "postgresql+x:/"]
)
def test_what_is_no_origin_is_refused_with_a_sentence(uri):
    with pytest.raises((InvalidInputError, StoreUnavailableError), match=r"\."):
        mlflow_origin(uri)


def test_a_database_of_ours_is_none_of_mlflows(migrated_file):
    with pytest.raises(InvalidInputError, match="none of MLflow's"):
        mlflow_origin(f"sqlite:///{migrated_file}")


def test_no_name_of_an_origin_shows_a_password(world):
    origin = mlflow_origin("http://ann:secret@127.0.0.1:9/mlflow")
    assert origin.name == "http://127.0.0.1:9/mlflow"
    origin.close()


def as_told(moved) -> dict[str, object]:
    run = moved.run
    return {
        "name": run.name,
        "status": run.status,
        "stage": run.lifecycle_stage,
        "times": [run.start_time, run.end_time],
        "params": run.params,
        "tags": run.tags,
        "points": sorted(([p.key, p.step, p.timestamp, told_value(p)] for p in moved.points), key=str),
        "inputs": [[each.dataset.name, each.dataset.digest, each.dataset.schema] for each in run.inputs],
    }


def told_value(point: Metric) -> float | str:
    return "nan" if math.isnan(point.value) else point.value


def versions_as_told(store) -> list[list[object]]:
    return [
        [each.name, each.version, each.stage, each.description, each.tags, each.creation_timestamp]
        for name in ("churn", "copied")
        for each in store.get_moved_model(name).versions
    ]
