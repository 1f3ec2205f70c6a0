"""Sweeps that a real Prefect API orchestrates."""

from __future__ import annotations

import json
import logging
import math
import runpy
import sys
from pathlib import Path

import pytest
from prefect import task
from prefect.client.orchestration import get_client
from prefect.task_runners import ThreadPoolTaskRunner

import prefect_ml as ml
from prefect_ml.entities import RunStatus
from prefect_ml.errors import InvalidInputError
from prefect_ml.flows.sweep import sweep

sys.path.append(str(Path(__file__).parent))
import trainings

pytestmark = pytest.mark.usefixtures("prefect_api")


def children(experiment, sweep_run_id):
    runs = ml.search_runs(experiment, f"tags.`mlflow.parentRunId` = '{sweep_run_id}'")
    return {int(run.tags["prefect_ml.sweep.trial"]): run for run in runs}


def test_a_grid_runs_every_combination_as_a_child_run_and_marks_the_best():
    result = sweep(
        trainings.parabola, {"x": [0, 1, 2, 3], "kind": ["a", "b"]}, metric="score", experiment="grid", key="first"
    )
    assert (result.best.params, result.best.value) == ({"x": 2, "kind": "a"}, 1.0)
    assert result.stopped == ""
    runs = children("grid", result.run_id)
    assert sorted(runs) == list(range(8))
    for number, run in runs.items():
        assert run.status is RunStatus.FINISHED
        trial = result.trials[number]
        assert run.run_id == trial.run_id
        assert run.params == {"x": str(trial.params["x"]), "kind": trial.params["kind"]}
        assert run.metrics == {"score": trial.value, "seen": trial.params["x"]}
        assert run.name == f"trial {number}: x={trial.params['x']}, kind={trial.params['kind']}"
    parent = ml.get_run(result.run_id)
    assert parent.status is RunStatus.FINISHED
    assert parent.tags["prefect_ml.sweep.best_run_id"] == result.best.run_id
    assert parent.metrics["best_score"] == 1.0
    assert parent.params["train"] == "trainings:parabola"
    assert [n for n, run in runs.items() if run.tags.get("prefect_ml.sweep.best")] == [result.best.number]


def test_task_runs_are_named_by_their_parameters_and_a_table_is_left():
    result = sweep(trainings.parabola, {"x": [1.5]}, metric="score", experiment="shown")
    flow_run_id = ml.get_run(result.run_id).tags["prefect_ml.flow_run_id"]
    with get_client(sync_client=True) as client:
        artifacts = client.request("POST", "/artifacts/filter", json={
            "artifacts": {"flow_run_id": {"any_": [flow_run_id]}, "type": {"any_": ["table"]}}
        }).json()  # fmt: skip
    [table] = artifacts
    assert table["key"] == "shown-sweep"
    assert '"x": 1.5' in table["data"]
    assert result.best.run_id in table["data"]


def test_a_trial_that_raises_and_one_that_comes_to_nan_do_not_end_the_sweep():
    result = sweep(trainings.sometimes, {"x": [0, 1, 2, 3]}, metric="score", direction="minimize", experiment="odd")
    assert [trial.status for trial in result.trials] == ["FINISHED", "FAILED", "FINISHED", "FINISHED"]
    assert result.best.number == 0
    assert "ZeroDivisionError: one is too many" in result.trials[1].error
    assert math.isnan(result.trials[2].value)
    runs = children("odd", result.run_id)
    assert [runs[n].status for n in range(4)] == ["FINISHED", "FAILED", "FINISHED", "FINISHED"]
    assert runs[2].tags["prefect_ml.sweep.value"] == "nan"


def test_the_log_says_how_it_went_and_how_it_goes_on(caplog):
    logging.getLogger("prefect.flow_runs").addHandler(caplog.handler)
    try:
        sweep(trainings.parabola, {"x": [2, 1]}, metric="score", parallel=1, stop_at=1.0, experiment="said", key="s")
    finally:
        logging.getLogger("prefect.flow_runs").removeHandler(caplog.handler)
    [best] = ml.search_runs("said", "tags.`prefect_ml.sweep.best` = 'true'")
    assert (
        f"Trials of the sweep 's': 1 FINISHED. The best is trial 0 with score 1, run {best.run_id}. "
        "It ended early: a trial reached 1. A sweep with key='s' goes on from here."
    ) in caplog.messages


def test_the_same_key_continues_and_adds_without_running_anything_twice(tmp_path):
    space = {"x": {"low": 0.0, "high": 1.0}}
    options = {"metric": "score", "method": "random", "experiment": "more", "key": "k", "parallel": 2}
    options["fixed"] = {"folder": str(tmp_path), "seconds": 0.0}
    first = sweep(trainings.slow, space, trials=3, **options)
    second = sweep(trainings.slow, space, trials=5, **options)
    assert [t.params for t in second.trials[:3]] == [t.params for t in first.trials]
    assert len((tmp_path / "started").read_text().splitlines()) == 5
    assert sorted(children("more", second.run_id)) == [0, 1, 2, 3, 4]
    assert len([r for r in children("more", second.run_id).values() if r.tags.get("prefect_ml.sweep.best")]) == 1
    with pytest.raises(InvalidInputError, match="another space"):
        sweep(trainings.slow, {"x": {"low": 0.0, "high": 2.0}}, trials=3, **options)


def test_failed_trials_run_again_and_keep_their_run(tmp_path):
    broken = tmp_path / "broken"
    broken.touch()

    def train(x):
        ml.log_metric("loss", x, step=0)
        if broken.exists() and x > 1:
            raise OSError("no data")
        return x

    options = {"metric": "score", "experiment": "again", "key": "k"}
    first = sweep(train, {"x": [1, 2, 3]}, **options)
    broken.unlink()
    second = sweep(train, {"x": [1, 2, 3]}, **options)
    assert [t.run_id for t in first.trials] == [t.run_id for t in second.trials]
    assert [t.status for t in second.trials] == ["FINISHED"] * 3
    runs = ml.search_runs("again", "tags.`prefect_ml.sweep.trial` != ''")
    assert len(runs) == 3
    assert {run.status for run in runs} == {RunStatus.FINISHED}
    for run in runs:
        assert len(ml.get_metric_history(run.run_id, "loss")) == 1


def test_the_last_logged_value_is_the_metric_and_a_missing_one_fails():
    result = sweep(trainings.logged_only, {"x": [1, 5]}, metric="score", experiment="logged")
    assert [trial.value for trial in result.trials] == [2.0, 10.0]
    with pytest.raises(Exception, match="no metric 'auc'"):
        sweep(trainings.logged_only, {"x": [1]}, metric="auc", experiment="logged")


def test_stop_rules(tmp_path):
    numbers = {"x": [0, 3, 2, 1]}
    reached = sweep(trainings.parabola, numbers, metric="score", stop_at=0.0, parallel=1, experiment="stop")
    assert (len(reached.trials), reached.stopped) == (2, "a trial reached 0")
    options = {"metric": "score", "parallel": 1, "experiment": "stop2", "key": "late"}
    slow = {"folder": str(tmp_path), "seconds": 0.5}
    late = sweep(trainings.slow, numbers, max_seconds=0.3, fixed=slow, **options)
    assert (len(late.trials), late.stopped) == (1, "0.3 seconds are over")
    assert len(sweep(trainings.slow, numbers, fixed=slow, **options).trials) == 4
    with pytest.raises(Exception, match="1 trials failed; the last: trial 1: ZeroDivisionError"):
        sweep(trainings.sometimes, {"x": [0, 1, 3]}, metric="score", max_failures=1, parallel=1, experiment="stop3")
    assert len(ml.search_runs("stop3", "tags.`prefect_ml.sweep.trial` != ''")) == 2


def test_a_task_with_retries_and_a_runner_of_ones_own():
    calls = []

    @task(retries=1)
    def train(x: float) -> dict:
        calls.append(x)
        if len(calls) == 1:
            raise ValueError("first")
        ml.log_param("inner", x)
        return {"score": x, "note": "text"}

    runner = ThreadPoolTaskRunner(max_workers=1)
    result = sweep(train, {"x": [1.0, 2.0]}, metric="score", task_runner=runner, experiment="task")
    assert result.best.value == 2.0
    assert calls == [1.0, 1.0, 2.0]
    assert [run.params["inner"] for _, run in sorted(children("task", result.run_id).items())] == ["1.0", "2.0"]


def test_an_async_function():
    async def train(x):
        ml.log_metric("seen", x)
        return x

    result = sweep(train, {"x": [1, 2]}, metric="score", experiment="async")
    assert result.best.value == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"train": "no.such:thing"}, "no training function"),
        ({"space": {"y": [1]}}, "cannot be called"),
        ({"space": {"x": {"low": 1, "high": 2}}}, "needs its step"),
        ({"task_runner": "cluster"}, "task runner is"),
        ({"key": "a'b"}, "cannot name a sweep"),
        ({"parallel": 0}, "1 to 1000"),
        ({"fixed": {"x": 1}}, "leave them out"),
        ({"trials": 0}, "1 to 10000"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_starts(given, message):
    options = {"train": trainings.parabola, "space": {"x": [1]}, "metric": "score", "experiment": "refused"} | given
    with pytest.raises(InvalidInputError, match=message):
        sweep(**options)
    assert not ml.search_runs("refused", "tags.`prefect_ml.sweep.trial` != ''")


def test_parameters_of_a_deployment_are_plain_data():
    given = {"train": "trainings:parabola", "space": {"x": {"low": 0, "high": 4}}, "metric": "score",
             "method": "optuna", "trials": 4, "parallel": 1, "experiment": "plain"}  # fmt: skip
    result = sweep(**json.loads(json.dumps(given)))
    assert [trial.status for trial in result.trials] == ["FINISHED"] * 4
    assert set(sweep.parameters.required) == {"train", "space", "metric"}
    assert json.loads(json.dumps(sweep.parameters.model_dump()))["properties"]["method"]["enum"] == [
        "grid", "random", "optuna"
    ]  # fmt: skip


def test_the_command(tmp_path, monkeypatch, capsys):
    from prefect_ml.cli import app

    monkeypatch.chdir(Path(__file__).parent)
    monkeypatch.setattr(sys, "path", list(sys.path))
    space = tmp_path / "space.yaml"
    space.write_text("x: [1e-3, 2]\n")
    command = ["sweep", "trainings:parabola", "--space", str(space), "--metric", "score", "--experiment", "typed"]
    app([*command, "--json"], result_action="return_value")
    assert json.loads(capsys.readouterr().out)["best"]["params"] == {"x": 2}
    app(command, result_action="return_value")
    assert "FINISHED" in capsys.readouterr().out
    assert {run.params["x"] for run in ml.search_runs("typed", "tags.`prefect_ml.sweep.trial` != ''")} == {"0.001", "2"}
    with pytest.raises(InvalidInputError, match="No trial came to a finite 'auc'"):
        app(["sweep", "trainings:logged_only", *command[2:4], "--metric", "auc"], result_action="return_value")
    space.write_text("- 1")
    with pytest.raises(InvalidInputError, match="must hold a mapping"):
        app(command, result_action="return_value")


def test_the_example_goes_on_where_it_stopped():
    main = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "sweep_wine.py"), run_name="example")["main"]
    first = main(3)
    second = main(5)
    assert [trial.value for trial in second.trials[:3]] == [trial.value for trial in first.trials]
    runs = children("wine", second.run_id)
    assert sorted(runs) == [0, 1, 2, 3, 4]
    assert all(len(ml.get_metric_history(run.run_id, "fold_accuracy")) == 5 for run in runs.values())
    assert second.best.value == max(run.metrics["accuracy"] for run in runs.values()) > 0.8
