"""Sweeps that are killed, interrupted and continued; and every task runner."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import orjson
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

import prefect_ml as ml
from prefect_ml.entities import RunStatus
from prefect_ml.errors import NotFoundError
from prefect_ml.flows import sweep_loop
from prefect_ml.flows.sweep import sweep

sys.path.append(str(Path(__file__).parent))
import trainings

pytestmark = pytest.mark.usefixtures("prefect_api")
HERE = Path(__file__).parent
TRIALS = 6


@pytest.fixture
def start():
    """Starts sweeps in processes of their own, and ends those that a failing test left."""
    started = []

    def start(runner, folder, seconds):
        started.append(_start(runner, folder, seconds))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def _start(runner, folder, seconds):
    environment = {**os.environ, "PYTHONPATH": str(HERE), "PREFECT_API_URL": PREFECT_API_URL.value()}
    command = [sys.executable, HERE / "sweep_script.py", runner, str(folder), str(TRIALS), str(seconds)]
    return subprocess.Popen(command, env=environment, start_new_session=True)


def trial_runs():
    try:
        runs = ml.search_runs("killed", "tags.`prefect_ml.sweep.trial` != ''")
    except NotFoundError:
        return []
    return sorted(runs, key=lambda run: int(run.tags["prefect_ml.sweep.trial"]))


def until(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)
    return found


def finished():
    return {run.tags["prefect_ml.sweep.params"] for run in trial_runs() if run.status is RunStatus.FINISHED}


def starts(folder):
    lines = (folder / "started").read_text().splitlines()
    return Counter(line.split()[0] for line in lines), {int(line.split()[1]) for line in lines}


def alive(pid):
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def table_of(sweep_run_id):
    """The rows of a sweep's table in Prefect."""
    wanted = {"flow_run_id": {"any_": [str(UUID(sweep_run_id))]}, "type": {"any_": ["table"]}}
    with get_client(sync_client=True) as client:
        [table] = client.request("POST", "/artifacts/filter", json={"artifacts": wanted}).json()
    return orjson.loads(table["data"])


def test_after_kill_9_the_same_key_finishes_every_trial_exactly_once(tmp_path, start):
    process = start("processes", tmp_path, 1.0)
    until(lambda: len(finished()) >= 2)
    process.kill()
    process.wait()
    _, pids = starts(tmp_path)
    until(lambda: not any(alive(pid) for pid in pids), 30)
    before = finished()
    assert 2 <= len(before) < TRIALS
    assert start("processes", tmp_path, 0.1).wait(120) == 0
    runs = trial_runs()
    assert [int(run.tags["prefect_ml.sweep.trial"]) for run in runs] == list(range(TRIALS))
    assert {run.status for run in runs} == {RunStatus.FINISHED}
    assert len({run.tags["mlflow.parentRunId"] for run in runs}) == 1
    counts, _ = starts(tmp_path)
    assert len(counts) == TRIALS
    for params in before:
        assert counts[str(orjson.loads(params)["x"])] == 1
    for run in runs:
        steps = [point.step for point in ml.get_metric_history(run.run_id, "tick")]
        assert len(steps) == len(set(steps))


@pytest.mark.long
def test_a_worker_that_is_killed_ends_the_sweep_and_the_next_goes_on(tmp_path, start):
    process = start("processes", tmp_path, 120.0)
    until(lambda: len(trial_runs()) == 2)
    _, pids = until(lambda: starts(tmp_path))
    os.kill(pids.pop(), signal.SIGKILL)
    assert process.wait(60) != 0
    assert {run.status for run in trial_runs()} == {RunStatus.KILLED}
    assert len(trial_runs()) == 2
    assert start("processes", tmp_path, 0.1).wait(120) == 0
    assert [run.status for run in trial_runs()] == [RunStatus.FINISHED] * TRIALS


@pytest.mark.parametrize(
    ("runner", "number"),
    [("threads", signal.SIGINT), pytest.param("processes", signal.SIGTERM, marks=pytest.mark.long)],
)
def test_a_signal_stops_the_trials_that_run_and_starts_no_other(tmp_path, start, runner, number):
    process = start(runner, tmp_path, 120.0)
    until(lambda: (tmp_path / "started").exists() and sum(starts(tmp_path)[0].values()) == 2)
    until(lambda: len(trial_runs()) == 2)
    began = time.monotonic()
    process.send_signal(number)
    assert process.wait(60) != 0
    assert time.monotonic() - began < 60
    runs = trial_runs()
    assert [run.status for run in runs] == [RunStatus.KILLED] * 2
    assert all(run.end_time is not None for run in runs)
    assert {row["status"] for row in table_of(runs[0].tags["mlflow.parentRunId"])} == {"KILLED"}
    counts, pids = starts(tmp_path)
    assert sum(counts.values()) == 2
    until(lambda: not any(alive(pid) for pid in pids), 30)
    if runner == "processes":  # the longer one
        assert start(runner, tmp_path, 0.1).wait(120) == 0
        continued = trial_runs()
        assert [run.status for run in continued] == [RunStatus.FINISHED] * TRIALS
        assert [(run.run_id, run.params) for run in continued[:2]] == [(run.run_id, run.params) for run in runs]


class InterruptedQueue(queue.SimpleQueue):
    """What CPython does when Ctrl-C comes while an item is handed over: the item is in no hand."""

    def get(self, *args, **kwargs):
        super().get(*args, **kwargs)
        self.get = super().get
        raise KeyboardInterrupt


def test_a_trial_that_is_over_when_the_interrupt_comes_is_finished_and_not_waited_for(monkeypatch):
    with monkeypatch.context() as during:
        during.setattr(sweep_loop, "queue", SimpleNamespace(SimpleQueue=InterruptedQueue, Empty=queue.Empty))
        with pytest.raises(KeyboardInterrupt):
            sweep(trainings.parabola, {"x": [1, 2]}, metric="score", parallel=1, experiment="killed", key="k")
    [run] = trial_runs()
    assert run.status is RunStatus.FINISHED
    assert ml.get_run(run.tags["mlflow.parentRunId"]).tags["prefect_ml.sweep.best_run_id"] == run.run_id
    sweep(trainings.parabola, {"x": [1, 2]}, metric="score", parallel=1, experiment="killed", key="k")
    assert [len(ml.get_attempts(run.run_id)) for run in trial_runs()] == [1, 1]


@pytest.mark.long
@pytest.mark.parametrize("runner", ["dask", "ray"])
@pytest.mark.filterwarnings("ignore")  # Dask's and Ray's own, at their shutdown
def test_trials_run_on_a_cluster(runner, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE))  # for Ray, whose workers look nowhere else
    result = sweep(trainings.parabola, {"x": [1, 2, 3]}, metric="score", task_runner=runner, parallel=2,
                   experiment=runner)  # fmt: skip
    assert (result.best.params, result.best.value) == ({"x": 2}, 1.0)
    runs = ml.search_runs(runner, f"tags.`mlflow.parentRunId` = '{result.run_id}'")
    assert [run.status for run in runs] == [RunStatus.FINISHED] * 3
    assert {run.metrics["seen"] for run in runs} == {1, 2, 3}
