"""What must stay of a sweep when others restore, register or nest something while it goes on."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import update

from prefect_ml.artifacts import open_artifacts
from prefect_ml.entities import JournalSpan, LifecycleStage, RunBatch, RunStart
from prefect_ml.errors import InactiveError, InvalidInputError, NotFoundError
from prefect_ml.moving.retention import remove
from prefect_ml.store import open_store
from prefect_ml.store.retention_contract import Kind
from prefect_ml.store.tables import experiments, runs

NOW = 2**60


def a_run(store, experiment, run_id=None, *, deleted=True):
    run = store.create_run(experiment, run_id=run_id)
    open_artifacts(run.artifact_uri).put("deep/a.bin", b"12345")
    if deleted:
        store.delete_run(run.run_id)
    return run


def a_model(store, experiment):
    model = store.create_logged_model(experiment)
    open_artifacts(model.artifact_uri).put("weights.bin", b"123")
    return model


def test_a_run_named_like_the_folder_of_the_models_takes_none_of_them_away(store):
    experiment = store.create_experiment("churn")
    model = a_model(store, experiment)
    run = a_run(store, experiment, "models")
    assert [each.what.id for each in remove(store, 0).gone] == [run.run_id]
    assert open_artifacts(model.artifact_uri).read("weights.bin") == b"123"
    assert open_artifacts(run.artifact_uri).list() == []


@pytest.mark.parametrize("held", [False, True])
def test_a_run_stays_while_an_experiment_has_its_place_in_it(store, held):
    outer = a_run(store, store.create_experiment("outer"))
    inner = store.create_experiment("inner", artifact_location=f"file://{outer.artifact_uri}/inner")
    run = a_run(store, inner, deleted=False)
    removal = remove(store, 0, held=held)
    assert removal.gone == []
    assert [(each.id, each.held_by) for each in removal.kept] == [(outer.run_id, (f"experiments:/{inner}",))]
    assert open_artifacts(run.artifact_uri).read("deep/a.bin") == b"12345"


@pytest.mark.parametrize("pointer", ["run id", "source", "logged model"])
def test_no_version_is_made_of_what_is_being_removed(store, pointer):
    experiment = store.create_experiment("churn")
    run, model = a_run(store, experiment), a_model(store, experiment)
    store.create_registered_model("churn")
    store.delete_experiment(experiment)
    assert store.begin_removal(Kind.RUN, [run.run_id], NOW) == [run.run_id]
    assert store.begin_removal(Kind.LOGGED_MODEL, [model.model_id], NOW) == [model.model_id]
    source = {
        "run id": "s3://elsewhere/m",
        "source": f"runs:/{run.run_id}/m",
        "logged model": f"models:/{model.model_id}",
    }
    with pytest.raises(InactiveError, match="being removed"):
        store.create_model_version("churn", source[pointer], run_id=run.run_id if pointer == "run id" else None)
    assert store.get_registered_model("churn").latest_versions == ()


def test_a_logged_model_that_is_being_removed_does_not_come_back_with_its_experiment(store):
    experiment = store.create_experiment("churn")
    going, staying = a_model(store, experiment), a_model(store, experiment)
    store.delete_experiment(experiment)
    assert store.begin_removal(Kind.LOGGED_MODEL, [going.model_id], NOW) == [going.model_id]
    store.restore_experiment(experiment)
    with pytest.raises(NotFoundError):
        store.get_logged_model(going.model_id)
    assert store.get_logged_model(staying.model_id).model_id == staying.model_id
    assert [each.what.id for each in remove(store, 3600).gone] == [going.model_id]


@pytest.fixture
def on_postgres(postgres_url, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_ML_ARTIFACT_ROOT", str(tmp_path / "artifacts"))
    with contextlib.closing(open_store(postgres_url)) as opened:
        yield opened


def _meanwhile(store, change, call):
    """What a call gives or raises that begins while the transaction of a change is open, and ends after it."""
    outcome = []

    def work():
        try:
            outcome.append(call())
        except InactiveError as error:
            outcome.append(error)

    thread = threading.Thread(target=work)

    def held_open(connection):
        connection.execute(change)
        thread.start()
        time.sleep(0.5)

    store.database.write(held_open)
    thread.join(30)
    return outcome[0]


def test_a_run_that_is_restored_meanwhile_is_not_marked(on_postgres):
    store = on_postgres
    run = a_run(store, "0")
    restored = update(runs).values(lifecycle_stage=LifecycleStage.ACTIVE, deletion_time=None)
    assert _meanwhile(store, restored, lambda: store.begin_removal(Kind.RUN, [run.run_id], NOW)) == []
    assert store.list_deleted(NOW) == []


def test_a_run_that_is_marked_meanwhile_is_not_restored(on_postgres):
    store = on_postgres
    run = a_run(store, "0")
    marked = update(runs).values(removal_time=1)
    assert isinstance(_meanwhile(store, marked, lambda: store.restore_run(run.run_id)), InactiveError)
    assert store.get_run(run.run_id).lifecycle_stage == LifecycleStage.DELETED


def test_a_logged_model_whose_experiment_is_restored_meanwhile_is_not_marked(on_postgres):
    store = on_postgres
    experiment = store.create_experiment("churn")
    model = a_model(store, experiment)
    store.delete_experiment(experiment)
    mine = experiments.c.id == int(experiment)
    restored = update(experiments).where(mine).values(lifecycle_stage=LifecycleStage.ACTIVE, deletion_time=None)
    assert _meanwhile(store, restored, lambda: store.begin_removal(Kind.LOGGED_MODEL, [model.model_id], NOW)) == []
    assert Path(model.artifact_uri).is_dir()


def test_a_run_that_was_removed_does_not_come_back_with_a_late_journal(store):
    experiment = store.create_experiment("churn")
    run = a_run(store, experiment)
    store.delete_experiment(experiment)
    remove(store, 0)
    late = [
        RunBatch(run.run_id, tags={"late": "1"}),
        RunBatch(run.run_id, start=RunStart("churn", "back", "ann", 1)),
    ]
    refused = store.apply_journal(JournalSpan("j", 0, 10), late)
    assert [each.what for each in refused] == [f"run {run.run_id!r}"] * 2
    assert all("removed for good" in each.reason for each in refused)
    with pytest.raises(NotFoundError):
        store.get_run(run.run_id)
    with pytest.raises(NotFoundError):
        store.get_experiment_by_name("churn")


def test_numbers_that_no_database_holds_are_refused_or_nothing(store):
    assert store.begin_removal(Kind.EXPERIMENT, ["9" * 30], NOW) == []
    assert store.remove(Kind.EXPERIMENT, "9" * 30, "") is False
    for call in (store.list_deleted, lambda before: store.begin_removal(Kind.RUN, [], before)):
        with pytest.raises(InvalidInputError, match="before"):
            call(2**63)
