"""What was deleted long ago goes for good, files first and rows last; nothing else does, whenever it is killed."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select

from prefect_ml.artifacts import open_artifacts
from prefect_ml.entities import Dataset, DatasetInput, LifecycleStage, Metric, ModelMetric, ModelOutput, Route
from prefect_ml.errors import InactiveError, InvalidInputError, NotFoundError
from prefect_ml.moving.retention import parse_age, plan, remove
from prefect_ml.store import open_store
from prefect_ml.store.retention_contract import Kind
from prefect_ml.store.tables import metadata

HERE = Path(__file__).parent
NOW = 2**60


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request, tmp_path, monkeypatch):
    """A store on either database, with artifacts of its own."""
    if request.param == "sqlite":
        yield request.getfixturevalue("store")
        return
    monkeypatch.setenv("PREFECT_ML_ARTIFACT_ROOT", str(tmp_path / "artifacts"))
    with contextlib.closing(open_store(request.getfixturevalue("postgres_url"))) as opened:
        yield opened


def a_run(store, experiment, *, deleted=True):
    """A run with a row in every table that refers to runs."""
    run = store.create_run(experiment)
    store.log_batch(run.run_id, metrics=[Metric("loss", 0.5, 1, 1)], params={"a": "1"}, tags={"b": "2"})
    store.log_inputs(run.run_id, [DatasetInput(Dataset("d", "1", "local", "{}"), {"c": "3"})], models=["m-" + "0" * 32])
    open_artifacts(run.artifact_uri).put("deep/a.bin", b"12345")
    if deleted:
        store.delete_run(run.run_id)
    return run


def a_model(store, experiment, run):
    model = store.create_logged_model(experiment, source_run_id=run.run_id, params={"p": "1"}, tags={"t": "1"})
    store.log_outputs(run.run_id, [ModelOutput(model.model_id)])
    store.log_batch(run.run_id, model_metrics=[ModelMetric(model.model_id, Metric("acc", 1.0, 1, 1))])
    open_artifacts(model.artifact_uri).put("weights.bin", b"123")
    return model


def rows(store, *tables):
    with store.database.read() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in metadata.sorted_tables
            if table.name in tables
        }


def test_runs_and_models_go_with_their_rows_and_files(either):
    store = either
    experiment = store.create_experiment("churn")
    kept = a_run(store, experiment, deleted=False)
    gone = a_run(store, experiment, deleted=False)
    model = a_model(store, experiment, gone)
    store.delete_logged_model(model.model_id)
    store.delete_run(gone.run_id)
    planned = plan(store, 0)
    assert [each.what.id for each in planned.gone] == [gone.run_id, model.model_id]
    assert (planned.files, planned.bytes, planned.done) == (2, 8, False)
    assert store.get_run(gone.run_id).lifecycle_stage == LifecycleStage.DELETED, "a plan changes nothing"
    done = remove(store, 0)
    assert (done.files, done.bytes, done.done) == (2, 8, True)
    tables = ("runs", "params", "metrics", "latest_metrics", "inputs", "input_tags", "run_models")
    assert rows(store, *tables) == dict.fromkeys(tables, 1)
    for name in ("logged_models", "logged_model_metrics", "logged_model_params", "logged_model_tags"):
        assert rows(store, name) == {name: 0}
    assert open_artifacts(kept.artifact_uri).read("deep/a.bin") == b"12345"
    assert not Path(gone.artifact_uri).parent.exists()
    assert not Path(model.artifact_uri).parent.exists()
    removed = [entry.subject for entry in store.audit() if entry.action == "removed"]
    assert removed == [f"runs:/{gone.run_id}", f"models:/{model.model_id}"]
    assert store.verify_audit() == len(store.audit())
    assert remove(store, 0).gone == []


def test_an_experiment_goes_with_everything_in_it(either):
    store = either
    experiment = store.create_experiment("churn", {"a": "b"})
    run = a_run(store, experiment, deleted=False)
    model = a_model(store, experiment, run)
    store.delete_experiment(experiment)
    done = remove(store, 0)
    assert [each.what.kind for each in done.gone] == [Kind.RUN, Kind.LOGGED_MODEL, Kind.EXPERIMENT]
    with pytest.raises(NotFoundError):
        store.get_experiment(experiment)
    with pytest.raises(NotFoundError):
        store.get_moved_logged_model(model.model_id)
    assert store.create_experiment("churn") != experiment, "ids are not given again"


def test_what_was_deleted_lately_or_restored_stays(store):
    experiment = store.create_experiment("churn")
    run = a_run(store, experiment)
    assert plan(store, 3600).gone == []
    store.restore_run(run.run_id)
    assert plan(store, 0).gone == []
    store.delete_experiment(experiment)
    store.restore_experiment(experiment)
    assert remove(store, 0).gone == []
    assert store.get_run(run.run_id).lifecycle_stage == LifecycleStage.ACTIVE


def test_the_time_of_deletion_is_that_of_the_first_one(store):
    experiment = store.create_experiment("churn")
    run = a_run(store, experiment)
    first = store.get_moved_run(run.run_id).deletion_time
    time.sleep(0.01)
    store.delete_run(run.run_id)
    store.delete_experiment(experiment)
    assert store.get_moved_run(run.run_id).deletion_time == first
    assert store.get_moved_experiment(experiment).deletion_time > first


def test_what_nobody_timed_counts_from_its_last_change(store):
    run = store.create_run("0", start_time=1000)
    store.delete_run(run.run_id)
    store.database.write(lambda connection: connection.exec_driver_sql("UPDATE runs SET deletion_time = NULL"))
    (found,) = store.list_deleted(2000)
    assert (found.id, found.deletion_time) == (run.run_id, 1000)


@pytest.mark.parametrize("pointer", ["run id", "source", "logged model"])
def test_what_a_version_needs_stays_until_it_is_told_otherwise(store, pointer):
    experiment = store.create_experiment("churn")
    run = a_run(store, experiment, deleted=False)
    model = a_model(store, experiment, run)
    store.create_registered_model("churn")
    if pointer == "run id":
        store.create_model_version("churn", "s3://elsewhere/model", run_id=run.run_id)
    elif pointer == "source":
        store.create_model_version("churn", f"{run.artifact_uri}/deep")
    else:
        store.create_model_version("churn", f"models:/{model.model_id}")
    store.delete_experiment(experiment)
    removal = remove(store, 0)
    assert run.run_id in {each.id for each in removal.kept}
    assert {held for each in removal.kept for held in each.held_by} == {"models:/churn/1"}
    assert Kind.EXPERIMENT in {each.kind for each in removal.kept}
    assert open_artifacts(run.artifact_uri).read("deep/a.bin") == b"12345"
    # what an endpoint routes to stays also when versions are told to wait no longer
    route = Route("churn", 1, weight=100.0)
    store.create_endpoint("live", [route])
    removal = remove(store, 0, held=True)
    assert {held for each in removal.kept for held in each.held_by} == {"models:/churn/1", "endpoints:/live"}
    assert store.begin_removal(Kind.RUN, [run.run_id], NOW, held=True) == []
    assert open_artifacts(run.artifact_uri).read("deep/a.bin") == b"12345"
    store.delete_endpoint("live")
    assert store.begin_removal(Kind.RUN, [run.run_id], NOW, held=True) == [run.run_id]
    with pytest.raises(InactiveError, match="cannot be routed to: its files go"):
        store.create_endpoint("live", [route])
    assert remove(store, 0, held=True).kept == []
    with pytest.raises(NotFoundError):
        store.get_run(run.run_id)


def test_what_is_being_removed_cannot_be_restored(store):
    experiment = store.create_experiment("churn")
    run = a_run(store, experiment)
    assert store.begin_removal(Kind.RUN, [run.run_id, "other"], NOW) == [run.run_id]
    with pytest.raises(InactiveError, match="being removed"):
        store.restore_run(run.run_id)
    store.delete_experiment(experiment)
    store.restore_experiment(experiment)
    assert store.get_run(run.run_id).lifecycle_stage == LifecycleStage.DELETED
    assert [each.what.id for each in plan(store, 3600).gone] == [run.run_id], "a removal goes on whatever the age"


def test_rows_go_only_after_the_mark(store):
    run = a_run(store, store.create_experiment("churn"))
    assert store.remove(Kind.RUN, run.run_id, "") is False
    assert store.get_run(run.run_id).run_id == run.run_id


def test_files_outside_of_the_artifact_root_stay_until_it_is_told_otherwise(store, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "mine").mkdir(parents=True)
    (elsewhere / "mine" / "keep.txt").write_text("keep")
    experiment = store.create_experiment("churn", artifact_location=str(elsewhere))
    run = a_run(store, experiment, deleted=False)
    store.delete_experiment(experiment)
    removal = remove(store, 0)
    assert (removal.gone, [each.id for each in removal.elsewhere]) == ([], [run.run_id])
    assert open_artifacts(run.artifact_uri).read("deep/a.bin") == b"12345"
    removal = remove(store, 0, elsewhere=True)
    assert [each.what.id for each in removal.gone] == [run.run_id, experiment]
    assert not (elsewhere / run.run_id).exists()
    assert (elsewhere / "mine" / "keep.txt").read_text() == "keep"


def test_the_default_experiment_stays(store):
    store.delete_experiment("0")
    assert remove(store, 0).gone == []
    assert store.get_experiment("0").name == "Default"


@pytest.mark.parametrize("call", [1, 3, 6])
def test_a_removal_that_was_killed_goes_on(store, call, monkeypatch):
    experiment = store.create_experiment("churn")
    kept = a_run(store, experiment, deleted=False)
    for _ in range(3):
        run = a_run(store, experiment, deleted=False)
        store.delete_logged_model(a_model(store, experiment, run).model_id)
        store.delete_run(run.run_id)
    monkeypatch.setenv("PREFECT_ML_STORE_URL", store.url)
    done = subprocess.run([sys.executable, HERE / "dying_retention.py", str(call)], timeout=120, check=False)
    assert done.returncode == -9
    assert len(store.list_deleted(NOW)) == 7 - call
    with_files = [each for each in store.list_deleted(NOW) if Path(each.artifact_uri).exists()]
    assert len(with_files) == 6 - call, "the files of one were gone when its process was killed"
    assert len(remove(store, 0).gone) == 7 - call
    assert store.list_deleted(NOW) == []
    places = sorted(path.name for path in Path(kept.artifact_uri).parents[1].iterdir() if path.is_dir())
    assert [name for name in places if name not in ("models", ".prefect-ml")] == [kept.run_id]


@pytest.mark.parametrize(("text", "seconds"), [("30d", 2_592_000), ("12h", 43_200), ("2w", 1_209_600), (" 5m ", 300)])
def test_ages(text, seconds):
    assert parse_age(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1.5d", "1y", "1d1d", "9999999d"])
def test_what_is_no_age_is_refused(text):
    with pytest.raises(InvalidInputError, match="no age"):
        parse_age(text)
