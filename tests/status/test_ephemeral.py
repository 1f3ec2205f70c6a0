"""Scripts without a Prefect server: each process starts one for itself, which ends with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from world import FLOWS, NEAR, living

from orchestrator import until
from prefect_ml.entities import RunStatus
from prefect_ml.store import open_store

pytestmark = [pytest.mark.long, pytest.mark.timeout(280)]
# Seconds within which two servers have started, their databases made, on a machine that is busy.
START = 200


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Two processes: one that executes flows in turn, and one that is to be killed."""
    folder = tmp_path_factory.mktemp("alone")
    mark = f"PREFECT_ML_TEST_MARK={folder}"
    made = SimpleNamespace(folder=folder, processes={}, stores={}, living=lambda: living(mark))
    for name, flow, given in (("turns", "in_turn", {"until": str(folder / "go")}), ("sigkill", "hold", {})):
        home = folder / name
        home.mkdir()
        environment = {
            **os.environ,
            "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_ML_HOME": str(home),
            "PREFECT_ML_WATCH": "true",
            "PREFECT_ML_CAPTURE": "",
            **dict([mark.split("=")]),
        }
        environment.pop("PREFECT_API_URL", None)
        with (folder / f"{name}.log").open("wb") as log:
            made.processes[name] = subprocess.Popen(
                [sys.executable, FLOWS, flow, json.dumps(given)],
                env=environment, cwd=home, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        made.stores[name] = open_store(f"sqlite:///{home / 'store.db'}")
    yield made
    for pid in made.living():  # a server whose process was killed goes on without it
        os.kill(pid, signal.SIGKILL)
    for name, process in made.processes.items():
        process.wait(10)
        made.stores[name].close()


def runs(alone, name):
    """The runs of a process, the oldest first."""
    store = alone.stores[name]
    experiments = [experiment.experiment_id for experiment in store.search_experiments().items]
    return sorted(store.search_runs(experiments).items, key=lambda run: run.start_time) if experiments else []


def reached(alone, name, wanted):
    """Wait until the runs of a process have these statuses; those runs."""

    def look():
        found = runs(alone, name)
        return found if [run.status for run in found] == wanted and "begun" in found[-1].metrics else None

    return until(look, f"{wanted}, not {runs(alone, name)}: {(alone.folder / f'{name}.log').read_text()}", START)


def outcomes(alone, name, run):
    return [(attempt.outcome, attempt.end_time) for attempt in alone.stores[name].get_attempts(run.run_id)]


def test_kill_9(alone):
    reached(alone, "sigkill", [RunStatus.RUNNING])
    alone.processes["sigkill"].kill()
    at = time.time()
    [run] = reached(alone, "sigkill", [RunStatus.KILLED])
    assert alone.processes["sigkill"].wait(30) == -signal.SIGKILL
    until(lambda: abs(runs(alone, "sigkill")[0].end_time / 1000 - at) < NEAR, f"the right end of {run}")
    [run] = runs(alone, "sigkill")
    assert outcomes(alone, "sigkill", run) == [(RunStatus.KILLED, run.end_time)]


def test_one_after_the_other(alone):
    reached(alone, "turns", [RunStatus.RUNNING])
    (alone.folder / "go").touch()
    went = time.time()
    wanted = [RunStatus.FINISHED, RunStatus.FAILED]
    reached(alone, "turns", [*wanted, RunStatus.RUNNING])
    alone.processes["turns"].terminate()
    terminated = time.time()
    returned, raised, killed = found = reached(alone, "turns", [*wanted, RunStatus.KILLED])
    assert alone.processes["turns"].wait(60) != 0
    for run in found:
        assert outcomes(alone, "turns", run) == [(run.status, run.end_time)]
    assert abs(returned.end_time / 1000 - went) < NEAR
    assert raised.start_time <= raised.end_time <= killed.start_time
    assert abs(killed.end_time / 1000 - terminated) < NEAR


def test_no_watchdog_is_left(alone):
    for process in alone.processes.values():
        process.wait(60)

    def watchdogs():
        return [line for line in alone.living().values() if "prefect_ml" in line]

    until(lambda: not watchdogs(), "the end of the watchdogs")
