"""The flow that looks for drift, on a real Prefect API, a real store and a real log."""

from __future__ import annotations

import datetime as dt
import json
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prefect.client.orchestration import get_client
from sklearn.linear_model import LinearRegression

import prefect_ml as ml
from prefect_ml.artifacts.local import LocalArtifactStore
from prefect_ml.drift.reference import keep_reference
from prefect_ml.errors import InvalidInputError
from prefect_ml.flows.drift import DRIFT_TAG, detect_drift
from prefect_ml.registry.resolve import resolve
from prefect_ml.serving.inference_log import InferenceLog
from prefect_ml.serving.observing import Answered
from prefect_ml.serving.replica import load_replica
from prefect_ml.settings import Settings

pytestmark = pytest.mark.usefixtures("prefect_api")


def customers(count, *, age=40.0, seed=0):
    draw = np.random.default_rng(seed)
    return pd.DataFrame({"age": draw.normal(age, 8.0, count), "visits": draw.integers(0, 5, count).astype(float)})


def trained(name, *, reference=True):
    """Version 1 of a model, at @champion; its run may have kept a reference."""
    frame = customers(2000)
    model = LinearRegression().fit(frame, frame["age"] * 2 + frame["visits"])
    with ml.start_run("training") as run:
        if reference:
            keep_reference(run, frame, model.predict(frame))
        ml.log_model(model, "model", input_example=frame.head(2), register=name)
    ml.flush()
    ml.open_store().set_alias(name, "champion", 1)


def asked(name, folder, frame, **changed):
    """What a serving process keeps of a request with these rows."""
    replica = load_replica(resolve(ml.open_store(), f"models:/{name}@champion"), Settings())
    body = json.dumps({"dataframe_split": frame.to_dict(orient="split", index=False)}).encode()
    kind = "application/json"
    log = InferenceLog(LocalArtifactStore(folder))
    log.answered(
        replace(
            Answered(
                name=name, replica=replica, headers={}, content_type=kind, body=body, accept="",
                answer=replica.answer(kind, body), status=200, seconds=0.001, at=time.time_ns() // 1_000_000,
                request_id="r", rows=len(frame), error=None,
            ),
            **changed,
        )
    )  # fmt: skip
    log.close()


def events_of(name):
    resource = {"id": [f"prefect-ml.model-version.{name}.1"]}
    query = {"filter": {"event": {"name": ["prefect-ml.drift.detected"]}, "resource": resource}}
    with get_client(sync_client=True) as client:
        return client.request("POST", "/events/filter", json=query).json()["events"]


def test_drift_is_told_once_with_what_was_found_and_again_after_it_was_gone(tmp_path):
    trained("spend")
    folder = tmp_path / "log"
    asked("spend", folder, customers(600, seed=1))
    options = {"models": "spend", "log": str(folder)}
    [quiet] = detect_drift(**options)
    assert quiet == {"name": "spend", "version": 1, "drifted": False, "columns": [], "told": False, "why": ""}

    asked("spend", folder, customers(3000, age=60.0, seed=2))
    [found] = detect_drift(**options)
    assert (found["drifted"], found["told"]) == (True, True)
    assert found["columns"] == ["input.age", "output.prediction"]
    assert detect_drift(**options)[0]["told"] is False

    deadline = time.monotonic() + 30
    while not (events := events_of("spend")) and time.monotonic() < deadline:
        time.sleep(0.2)
    [event] = events
    run = ml.get_run(event["payload"]["drift_run_id"])
    assert event["resource"]["prefect-ml.alias"] == "champion"
    assert event["resource"]["prefect-ml.version"] == "1"
    assert event["payload"]["rows"] == 3600
    assert event["payload"]["version"] == 1
    assert set(event["payload"]["columns"]) == {"input.age", "output.prediction"}
    assert run.metrics["spend/psi/input.age"] > 1
    assert run.metrics["spend/ks/input.age"] > 0.5
    assert run.metrics["spend/psi/input.visits"] < 0.1
    assert (run.metrics["models"], run.metrics["drifted"], run.metrics["spend/drifted_columns"]) == (1, 1, 2)
    with get_client(sync_client=True) as client:
        query = {"artifacts": {"flow_run_id": {"any_": [run.tags["prefect_ml.flow_run_id"]]}}}
        artifacts = client.request("POST", "/artifacts/filter", json=query).json()
    [table] = [each for each in artifacts if each["key"] == "drift-spend"]
    assert [row["column"] for row in json.loads(table["data"]) if row["drifted"]] == found["columns"]
    assert DRIFT_TAG in ml.open_store().get_model_version("spend", 1).tags

    # A window that holds none of the others: what is asked is as usual again.
    calm = tmp_path / "calm"
    asked("spend", calm, customers(600, seed=3))
    assert detect_drift(models="spend", log=str(calm))[0]["drifted"] is False
    assert DRIFT_TAG not in ml.open_store().get_model_version("spend", 1).tags
    assert detect_drift(**options)[0]["told"] is True


def test_an_earlier_window_or_a_table_is_a_reference_where_the_training_kept_none(tmp_path):
    trained("bare", reference=False)
    folder = tmp_path / "log"
    day_ago = int((dt.datetime.now(dt.UTC) - dt.timedelta(hours=30)).timestamp() * 1000)
    asked("bare", folder, customers(500, age=60.0, seed=2))
    options = {"models": "bare", "log": str(folder)}
    [none] = detect_drift(**options)
    assert none["drifted"] is None
    assert "kept no reference" in none["why"]
    [empty] = detect_drift(**options, reference="earlier")
    assert empty["why"] == "the reference has 0 rows, of 200 that are needed"

    # Files lie where they were written; move one to the day that its rows are of.
    before = tmp_path / "before"
    asked("bare", before, customers(500, seed=1), at=day_ago)
    [path] = [each for each in before.rglob("*.parquet") if ".prefect-ml" not in each.parts]
    day = dt.datetime.fromtimestamp(day_ago / 1000, dt.UTC).strftime("%Y-%m-%d")
    LocalArtifactStore(folder).put(f"bare/1/{day}/000000-moved.parquet", path)
    [earlier] = detect_drift(**options, reference="earlier")
    assert earlier["columns"] == ["input.age", "output.prediction"]

    pq.write_table(pa.Table.from_pandas(customers(800, age=60.0, seed=4)), tmp_path / "usual.parquet")
    [usual] = detect_drift(**options, reference=str(tmp_path / "usual.parquet"))
    assert usual["drifted"] is False


def test_without_a_log_it_says_so():
    with pytest.raises(InvalidInputError, match="PREFECT_ML_INFERENCE_LOG"):
        detect_drift()
