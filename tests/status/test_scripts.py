"""Flows that run as bare scripts, beside a Prefect server: nobody looks after their processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from world import NEAR, found

from orchestrator import until
from prefect_ml.entities import RunStatus
from prefect_ml.store import open_store

pytestmark = pytest.mark.timeout(280)
PREFECT_ML = Path(sys.executable).with_name("prefect-ml")


@pytest.fixture(scope="module")
def scripts(world):
    """All of them, started at once."""
    go = world.folder / "go"
    started = {name: world.script("hold") for name in ("sigterm", "sigint")}
    started["sigkill"] = world.script("ticks", until=str(world.folder / "never"))
    started["cancelled"] = world.script("hold", until=str(go))
    started["paused"] = world.script("pauses")
    started["pool"] = world.script("pool", until=str(world.folder / "go-child"))
    started["nests"] = world.script("nests")
    started["machine"] = world.script(
        "hold", {"PREFECT_ML_HOME": str(world.folder / "machine"), "PREFECT_ML_HEARTBEAT_INTERVAL": "1"}
    )
    started["waits"] = world.script("waits_to_retry", marker=str(world.folder / "waits-script"))
    started["raises"] = world.script("raises")
    started["typed"] = world.script("typed", number="no number")
    started["retried"] = world.script("retried", marker=str(world.folder / "retried-script"))
    return started


def test_an_exception(world, scripts):
    run_id = scripts["raises"].run_id
    scripts["raises"].process.wait(90)
    world.ended(run_id, RunStatus.FAILED, "FAILED")


def test_parameters_that_do_not_fit(world, scripts):
    run_id = scripts["typed"].run_id
    scripts["typed"].process.wait(90)
    run = world.ended(run_id, RunStatus.FAILED, "FAILED", outcomes=[])
    assert run.metrics == {}


@pytest.mark.parametrize(("name", "number"), [("sigterm", signal.SIGTERM), ("sigint", signal.SIGINT)])
def test_a_signal(world, scripts, name, number):
    at = scripts[name].signal(number)
    world.ended(scripts[name].run_id, RunStatus.KILLED, "CRASHED", at=at)
    assert scripts[name].process.wait(30) != 0


def test_kill_9(world, scripts):
    at = scripts["sigkill"].signal(signal.SIGKILL)
    assert scripts["sigkill"].process.wait(30) == -signal.SIGKILL
    run_id = scripts["sigkill"].run_id
    world.ended(run_id, RunStatus.KILLED, "CRASHED", at=at)
    until(lambda: world.store.get_steps(run_id), "its steps in the store, without anybody who looks")
    assert {step.task_key.partition("-")[0] for step in world.store.get_steps(run_id)} == {"tick"}


def test_cancelled_by_the_api(world, scripts):
    """Nobody stops it, so it runs on to its end; only then it is over."""
    run_id = scripts["cancelled"].run_id
    world.began(run_id)
    world.set_state(run_id, "CANCELLING")
    time.sleep(2)
    assert world.run(run_id).status is RunStatus.RUNNING
    (world.folder / "go").touch()
    scripts["cancelled"].process.wait(30)
    world.ended(run_id, RunStatus.KILLED, "CANCELLED")
    assert world.values(run_id, "waited") == {0: 1}


def test_retries(world, scripts):
    run_id = scripts["retried"].run_id
    scripts["retried"].process.wait(90)
    outcomes = [RunStatus.FAILED, RunStatus.FAILED, RunStatus.FINISHED]
    world.ended(run_id, RunStatus.FINISHED, "COMPLETED", outcomes=outcomes)
    assert world.values(run_id, "attempt") == {0: 3}
    for metric in ("body", "stubborn", "uncached", "unpersisted", "persisted", "fails_first"):
        assert world.values(run_id, metric) == {0: 0, 1: 1, 2: 2}


@pytest.mark.long
def test_kill_9_of_a_flow_within_a_flow(world, scripts):
    outer = scripts["nests"].run_id
    inner = world.child(outer)
    world.began(inner)
    scripts["nests"].process.kill()
    at = time.time()
    for run_id in (outer, inner):
        world.ended(run_id, RunStatus.KILLED, "CRASHED", at=at)


def test_a_machine_that_died(world, scripts):
    """Whoever reconciles what it left tells Prefect."""
    script, home = scripts["machine"], world.folder / "machine"
    store = open_store(f"sqlite:///{home / 'store.db'}")
    until(lambda: (run := found(store, script.run_id)) and "begun" in run.metrics, "the beginning")
    time.sleep(NEAR + 2)  # signs of life are all that it gives
    os.kill(script.watchdog, signal.SIGKILL)
    script.process.kill()
    at = time.time()
    script.process.wait(30)
    environment = {**world.environment, "PREFECT_ML_HOME": str(home)}
    reconcile = world.orchestrator.start("reconcile", PREFECT_ML, "reconcile", environment=environment)
    assert reconcile.wait(90) == 0, world.orchestrator.logs()
    run = store.get_run(script.run_id)
    store.close()
    assert run.status is RunStatus.KILLED
    assert abs(run.end_time / 1000 - at) < NEAR
    assert world.flow_run(script.run_id)["state"]["type"] == "CRASHED"


@pytest.mark.long
def test_kill_9_while_paused(world, scripts):
    """Nobody could resume it."""
    run_id = scripts["paused"].run_id
    world.state(run_id, "PAUSED")
    world.began(run_id, "body")
    scripts["paused"].process.kill()
    world.ended(run_id, RunStatus.KILLED, "CRASHED", at=time.time())


def test_kill_9_while_it_waits_for_a_retry(world, scripts):
    """Nobody goes on with it."""
    run_id = scripts["waits"].run_id
    world.state(run_id, "SCHEDULED")
    world.began(run_id)
    assert world.run(run_id).status is RunStatus.RUNNING
    scripts["waits"].process.kill()
    world.ended(run_id, RunStatus.KILLED, "CRASHED", at=time.time())


@pytest.mark.long
def test_a_child_outlives_its_killed_parent(world, scripts):
    run_id = scripts["pool"].run_id
    until(lambda: (run := world.run(run_id)) and "child" in run.tags, "the child's start")
    scripts["pool"].process.kill()
    world.ended(run_id, RunStatus.KILLED, "CRASHED", at=time.time())
    (world.folder / "go-child").touch()
    until(lambda: "outlived" in world.run(run_id).metrics, "the end of the child")
    assert world.run(run_id).status is RunStatus.KILLED


@pytest.mark.long
def test_no_watchdog_is_left(world, scripts):
    for script in scripts.values():
        script.process.terminate()
        script.process.wait(60)
    # The child of a killed process pool waits for ever, as it does without us.
    expected = (" worker start ", "multiprocessing")

    def left():
        return [line for line in world.living().values() if not any(part in line for part in expected)]

    until(lambda: not left(), f"the end of {left()}", 60)
