"""A store of an older release is upgraded with its data, and that release goes on with it meanwhile."""

from __future__ import annotations

import pytest
from sqlalchemy import column, create_engine, insert, select, table

from prefect_ml.entities import Dataset, DatasetInput, Metric, ModelOutput
from prefect_ml.store import open_store
from prefect_ml.store.migrations import FOLDER

# Before there were logged models.
OLD = "r0004"


def rows(number):
    """What the older release wrote of one run and its model, by table; `number` tells two of them apart."""
    run, model = {"run": number}, {"model": number, "version": 1}
    stamps = {"creation_timestamp": 5, "last_updated_timestamp": 6}
    return {
        "runs": {
            "id": number,
            "run_id": f"run{number}",
            "experiment": 0,
            "name": "first",
            "status": "FINISHED",
            "user_id": "ann",
            "start_time": 1,
            "end_time": 2,
            "artifact_uri": f"/artifacts/0/run{number}/artifacts",
            "lifecycle_stage": "active",
        },
        "params": {**run, "key": "depth", "value": "3"},
        "tags": {**run, "key": "team", "value": "risk"},
        "metric_keys": {"id": number, "name": f"auc{number}"},
        "metrics": {**run, "key": number, "step": 0, "timestamp": 7, "value": 0.5, "is_nan": False},
        "latest_metrics": {**run, "key": number, "step": 0, "timestamp": 7, "value": 0.5, "is_nan": False},
        "datasets": {
            "id": number,
            "fingerprint": f"f{number}",
            "name": "churn",
            "digest": "d",
            "source_type": "local",
            "source": "{}",
            "schema": "",
            "profile": "",
        },
        "inputs": {**run, "id": number, "name": "churn", "digest": "d", "dataset": number},
        "input_tags": {"input": number, "key": "mlflow.data.context", "value": "training"},
        "registered_models": {"id": number, "name": f"churn{number}", "description": "", "last_version": 1, **stamps},
        "model_versions": {
            **model,
            "source": "runs:/run/model",
            "run_id": f"run{number}",
            "stage": "None",
            "description": "",
            "artifact_digest": "",
            **stamps,
        },
        "model_version_tags": {**model, "key": "ok", "value": "yes"},
    }


@pytest.fixture
def old(empty_url, tmp_path):
    """The engine of a store of the older release, with one run and model in it."""
    from alembic import command
    from alembic.config import Config

    if empty_url.startswith("sqlite"):
        (tmp_path / "store").mkdir()
    engine = create_engine(empty_url)
    with engine.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(FOLDER))
        command.upgrade(config, OLD)
    write(engine, 1)
    yield engine
    engine.dispose()


def known(name, row):
    """A table with the columns that the older release knows."""
    return table(name, *(column(each) for each in row))


def write(engine, number):
    with engine.begin() as connection:
        for name, row in rows(number).items():
            connection.execute(insert(known(name, row)), row)


def check(store, number):
    """That a run and its model are all there."""
    run = store.get_run(f"run{number}")
    assert (run.name, run.params, run.tags) == ("first", {"depth": "3"}, {"team": "risk"})
    assert list(run.latest) == [Metric(f"auc{number}", 0.5, 7, 0)]
    churn = Dataset("churn", "d", "local", "{}")
    assert list(run.inputs) == [DatasetInput(churn, {"mlflow.data.context": "training"})]
    assert (list(run.model_inputs), list(run.model_outputs)) == ([], [])
    version = store.get_model_version(f"churn{number}", 1)
    assert (version.source, version.tags, version.run_id) == ("runs:/run/model", {"ok": "yes"}, f"run{number}")
    assert (version.model_id, version.run_link, version.location) == ("", "", "")


def test_its_data_are_kept_and_new_things_work(old, empty_url):
    store = open_store(empty_url)
    check(store, 1)
    model = store.create_logged_model("0", source_run_id="run1").model_id
    store.log_outputs("run1", [ModelOutput(model, 1)])
    assert list(store.get_run("run1").model_outputs) == [ModelOutput(model, 1)]
    copied = store.create_model_version("churn1", "models:/churn1/1")
    assert copied.location == "runs:/run/model"
    store.close()


def test_a_process_of_the_older_release_goes_on_reading_and_writing(old, empty_url):
    store = open_store(empty_url)
    store.create_logged_model("0", source_run_id="run1")
    write(old, 2)
    with old.connect() as connection:
        for name, row in rows(1).items():
            assert row in [dict(each) for each in connection.execute(select(known(name, row))).mappings()], name
    check(store, 1)
    check(store, 2)
    store.close()
