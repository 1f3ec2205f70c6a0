"""Flows whose supervisor, a worker or `serve()`, dies or stops them, also after they were suspended."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from world import FLOWS

from prefect_ml.entities import RunStatus

pytestmark = [pytest.mark.long, pytest.mark.timeout(280)]
PREFECT_ML = Path(sys.executable).with_name("prefect-ml")


@pytest.fixture(scope="module")
def doomed(world):
    """A worker to be killed, one to be terminated, a serving process to be killed, and flow runs of each."""
    until = str(world.folder / "go-supervisors")
    made = SimpleNamespace(until=world.folder / "go-supervisors", runs={})
    made.workers = {pool: world.orchestrator.start_worker(pool, world.environment) for pool in ("killed", "stopped")}
    made.serving = world.script("serve").process
    made.stopping = world.script("serve", deployment="stopping").process
    made.runs["suspended"] = world.create("suspends")
    for pool in made.workers:
        world.deploy(pool, ["hold", "waits_to_retry"])
        made.runs[f"{pool} dies"] = world.create("hold", pool)
    made.runs["killed waits"] = world.create("waits_to_retry", "killed", marker=str(world.folder / "waits-killed"))
    made.runs["killed lives"] = world.create("hold", "killed", until=until)
    world.served("hold", "stopping")
    made.runs["stopping dies"] = world.create("hold", "stopping")
    world.served("hold", "served")
    for name in ("cancelled", "killed", "lives", "dies"):
        made.runs[f"served {name}"] = world.create("hold", "served", **({"until": until} if name == "lives" else {}))
    return made


def kill(world, run_id, number=signal.SIGKILL):
    """Send a signal to the process of a run; when that was."""
    os.kill(world.began(run_id).pid, number)
    return time.time()


def test_a_worker_is_killed(world, doomed):
    lives, dies, waits = (doomed.runs[f"killed {name}"] for name in ("lives", "dies", "waits"))
    for run_id in (lives, dies):
        world.began(run_id)
    world.state(waits, "SCHEDULED")
    doomed.workers["killed"].kill()
    doomed.workers["killed"].wait(10)
    for run_id in (dies, waits):
        at = kill(world, run_id)
        # A retry that waits in its process is no other worker's to take.
        world.ended(run_id, RunStatus.KILLED, "CRASHED", at=at)
    doomed.until.touch()
    world.state(lives, "COMPLETED")
    world.ended(lives, RunStatus.FINISHED, "COMPLETED")


def test_a_worker_is_terminated(world, doomed):
    """It takes its flows with it."""
    world.began(doomed.runs["stopped dies"])
    at = time.time()
    doomed.workers["stopped"].terminate()
    doomed.workers["stopped"].wait(90)
    world.ended(doomed.runs["stopped dies"], RunStatus.KILLED, "CRASHED", at=at)


def test_served_and_cancelled(world, doomed):
    run_id = doomed.runs["served cancelled"]
    world.began(run_id)
    world.set_state(run_id, "CANCELLING", "Cancelling")
    world.ended(run_id, RunStatus.KILLED, "CANCELLED", at=time.time(), lasting=True)


def test_served_and_killed(world, doomed):
    at = kill(world, doomed.runs["served killed"])
    world.ended(doomed.runs["served killed"], RunStatus.KILLED, "CRASHED", at=at)


def test_the_serving_process_is_killed(world, doomed):
    lives, dies = doomed.runs["served lives"], doomed.runs["served dies"]
    for run_id in (lives, dies):
        world.began(run_id)
    doomed.serving.kill()
    doomed.serving.wait(10)
    at = kill(world, dies)
    world.ended(dies, RunStatus.KILLED, "CRASHED", at=at)
    doomed.until.touch()
    world.state(lives, "COMPLETED")
    world.ended(lives, RunStatus.FINISHED, "COMPLETED")


def test_the_serving_process_is_terminated(world, doomed):
    """It takes its flows with it."""
    run_id = doomed.runs["stopping dies"]
    world.began(run_id)
    at = time.time()
    doomed.stopping.terminate()
    doomed.stopping.wait(90)
    run = world.ended(run_id, RunStatus.KILLED, "CRASHED", at=at, lasting=True)
    assert run.tags["prefect_ml.entry_point"] == f"{FLOWS}:hold", "also of a flow that was sent to its process"


def test_suspended_and_cancelled_in_the_ui(world, doomed):
    """No process is there to learn of it; whoever reconciles does."""
    run_id = doomed.runs["suspended"]
    world.state(run_id, "PAUSED")
    world.ended(run_id, RunStatus.SCHEDULED, "PAUSED")
    at = time.time()
    world.set_state(run_id, "CANCELLING", "Cancelling")
    world.state(run_id, "CANCELLED")
    reconcile = world.orchestrator.start("reconcile", PREFECT_ML, "reconcile", environment=world.environment)
    assert reconcile.wait(90) == 0, world.orchestrator.logs()
    outcomes = [RunStatus.SCHEDULED]
    world.ended(run_id, RunStatus.KILLED, "CANCELLED", outcomes=outcomes, at=at, lasting=True)
