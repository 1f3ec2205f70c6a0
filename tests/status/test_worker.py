"""Flows that a process worker runs, and flows whose worker itself comes to an end."""

from __future__ import annotations

import os
import signal
import time

import pytest
from world import pids

from orchestrator import until
from prefect_ml.entities import RunStatus

pytestmark = pytest.mark.timeout(280)
ONCE_MORE = [RunStatus.KILLED, RunStatus.FINISHED]


@pytest.fixture(scope="module")
def runs(world):
    """All of them, created at once."""
    made = {name: world.create("hold") for name in ("sigterm", "cancelled")}
    made["sigkill"] = world.create("hold", until=str(world.folder / "go-worker"))
    for name in ("ticks", "hold"):
        made[f"suspended {name}"] = world.create(name, until=str(world.folder / f"go-suspended-{name}"))
    made["raises"] = world.create("raises")
    made["typed"] = world.create("typed", number="no number")
    made["fails once"] = world.create("fails_once", marker=str(world.folder / "fails-once"))
    made["suspends"] = world.create("suspends")
    made["pauses"] = world.create("pauses")
    return made


def kill(world, run_id, number):
    """Send a signal to the process of a run; when that was."""
    os.kill(world.began(run_id).pid, number)
    return time.time()


def test_an_exception(world, runs):
    world.state(runs["raises"], "FAILED")
    world.ended(runs["raises"], RunStatus.FAILED, "FAILED")


def test_parameters_that_do_not_fit(world, runs):
    world.state(runs["typed"], "FAILED")
    run = world.ended(runs["typed"], RunStatus.FAILED, "FAILED", outcomes=[])
    assert run.metrics == {}


def test_sigterm_of_the_flow_process(world, runs):
    at = kill(world, runs["sigterm"], signal.SIGTERM)
    world.ended(runs["sigterm"], RunStatus.KILLED, "CRASHED", at=at)


def test_kill_9_of_the_flow_process_and_once_more(world, runs):
    run_id = runs["sigkill"]
    at = kill(world, run_id, signal.SIGKILL)
    world.ended(run_id, RunStatus.KILLED, "CRASHED", at=at)
    (world.folder / "go-worker").touch()
    # The worker may report the death as well, later than the watchdog, and would undo a retry.
    deadline = time.monotonic() + 25
    while world.states(run_id).count("CRASHED") < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    world.retry(run_id)
    world.state(run_id, "COMPLETED")
    run = world.ended(run_id, RunStatus.FINISHED, "COMPLETED", outcomes=ONCE_MORE)
    assert run.start_time / 1000 < at
    assert world.values(run_id, "begun") == {0: 1}


def test_cancelled_in_the_ui(world, runs):
    world.began(runs["cancelled"])
    world.set_state(runs["cancelled"], "CANCELLING", "Cancelling")
    world.ended(runs["cancelled"], RunStatus.KILLED, "CANCELLED", at=time.time(), lasting=True)


def test_retried_in_the_ui(world, runs):
    run_id = runs["fails once"]
    world.state(run_id, "FAILED")
    world.ended(run_id, RunStatus.FAILED, "FAILED")
    world.retry(run_id)
    world.state(run_id, "COMPLETED")
    outcomes = [RunStatus.FAILED, RunStatus.FINISHED]
    world.ended(run_id, RunStatus.FINISHED, "COMPLETED", outcomes=outcomes)
    assert world.values(run_id, "body") == {0: 0, 1: 1, 2: 2}
    assert world.values(run_id, "persisted") == {1: 1}


def test_suspended_by_its_code(world, runs):
    run_id = runs["suspends"]
    world.state(run_id, "PAUSED")
    run = world.ended(run_id, RunStatus.SCHEDULED, "PAUSED")
    assert run.end_time is None
    [first] = world.store.get_attempts(run_id)
    until(lambda: first.pid not in pids(), "the end of the first process")
    world.resume(run_id)
    world.state(run_id, "COMPLETED")
    world.ended(run_id, RunStatus.FINISHED, "COMPLETED", outcomes=[RunStatus.SCHEDULED, RunStatus.FINISHED])
    second = world.store.get_attempts(run_id)[1]
    assert (first.pid, first.attempt_id) != (second.pid, second.attempt_id)
    for metric, points in {"body": {0: 1}, "persisted": {1: 1}, "resumed": {0: 1}}.items():
        assert world.values(run_id, metric) == points


@pytest.mark.parametrize("name", ["ticks", "hold"])
def test_suspended_in_the_ui(world, runs, name):
    """The process goes on until its next task, or its end."""
    run_id, go = runs[f"suspended {name}"], world.folder / f"go-suspended-{name}"
    first = world.began(run_id)
    details = {"pause_reschedule": True, "pause_timeout": "2099-01-01T00:00:00Z"}
    world.set_state(run_id, "PAUSED", "Suspended", **details)
    if name == "hold":
        time.sleep(2)
        assert world.run(run_id).status is RunStatus.RUNNING
        go.touch()
    world.ended(run_id, RunStatus.SCHEDULED, "PAUSED")
    until(lambda: first.pid not in pids(), "the end of the first process")
    go.touch()
    world.resume(run_id)
    world.state(run_id, "COMPLETED")
    world.ended(run_id, RunStatus.FINISHED, "COMPLETED", outcomes=[RunStatus.SCHEDULED, RunStatus.FINISHED])


def test_paused_in_its_process(world, runs):
    run_id = runs["pauses"]
    world.state(run_id, "PAUSED")
    assert world.began(run_id, "body").outcome is None
    world.resume(run_id)
    world.state(run_id, "COMPLETED")
    world.ended(run_id, RunStatus.FINISHED, "COMPLETED")
    assert world.values(run_id, "resumed") == {0: 1}


def test_a_cached_task_records_nothing_again(world):
    first = world.create("caches", number=7)
    world.ended(first, RunStatus.FINISHED, "COMPLETED", seconds=90)
    second = world.create("caches", number=7)
    world.ended(second, RunStatus.FINISHED, "COMPLETED", seconds=90)
    assert world.values(first, "cached") == {0: 7}
    assert "cached" not in world.run(second).metrics
