"""A tracked flow without a store: the same files, delivered later."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from prefect import flow, task
from prefect.task_runners import ThreadPoolTaskRunner

import prefect_ml as ml
from prefect_ml.entities import RunStatus
from prefect_ml.tracking.sync import sync_journals

pytestmark = pytest.mark.usefixtures("prefect_api")


def test_a_flow_is_recorded_offline_and_delivered_by_sync(home, monkeypatch):
    @task
    def fit(number):
        ml.log_metric("loss", number / 2, step=number)

    @ml.track(experiment="child")
    @flow
    def child():
        ml.log_metric("own", 1)

    @ml.track(experiment="offline")
    @flow(retries=1, task_runner=ThreadPoolTaskRunner(max_workers=2))
    def train(c: float):
        fit.map(range(5)).wait()
        ml.log_text("hello", "note.txt")
        if ml.current_run().run_id not in tried:
            tried.append(ml.current_run().run_id)
            raise ZeroDivisionError
        child()
        return {"auc": c}

    tried = []
    monkeypatch.setenv("PREFECT_ML_OFFLINE", "true")
    assert train(0.5) == {"auc": 0.5}
    with pytest.raises(ZeroDivisionError):
        train.with_options(retries=0)(0.25)
    assert not list(home.rglob("*.db")), "no store is opened"
    monkeypatch.delenv("PREFECT_ML_OFFLINE")
    subprocess.run([Path(sys.executable).with_name("prefect-ml"), "sync"], check=True, capture_output=True)
    assert sync_journals(ml.open_store()) == []
    finished, failed = sorted(ml.search_runs("offline"), key=lambda run: run.start_time)
    assert [finished.run_id, failed.run_id] == tried
    assert (finished.status, finished.params, finished.metrics["auc"]) == (RunStatus.FINISHED, {"c": "0.5"}, 0.5)
    assert (failed.status, failed.params) == (RunStatus.FAILED, {"c": "0.25"})
    assert [attempt.outcome for attempt in ml.get_attempts(finished.run_id)] == [RunStatus.FAILED, RunStatus.FINISHED]
    for run in (finished, failed):
        assert [point.step for point in ml.get_metric_history(run.run_id, "loss")] == list(range(5))
        assert (Path(run.artifact_uri) / "note.txt").read_text() == "hello"
    [inner] = ml.search_runs("child")
    assert inner.tags["mlflow.parentRunId"] == finished.run_id
    assert not list(home.glob("journal/*"))
