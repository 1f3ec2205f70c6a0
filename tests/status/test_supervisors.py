"""Flows whose supervisor, a worker or `serve()`, dies or stops them."""

from __future__ import annotations

import os
import signal
import time
from types import SimpleNamespace

import pytest

from prefect_ml.entities import RunStatus

pytestmark = [pytest.mark.long, pytest.mark.timeout(280)]


@pytest.fixture(scope="module")
def doomed(world):
    """A worker to be killed, one to be terminated, a serving process to be killed, and flow runs of each."""
    until = str(world.folder / "go-supervisors")
    made = SimpleNamespace(until=world.folder / "go-supervisors", runs={})
    made.workers = {pool: world.orchestrator.start_worker(pool, world.environment) for pool in ("killed", "stopped")}
    made.serving = world.script("serve").process
    for pool in made.workers:
        world.deploy(pool, ["hold", "waits_to_retry"])
        made.runs[f"{pool} dies"] = world.create("hold", pool)
    made.runs["killed waits"] = world.create("waits_to_retry", "killed", marker=str(world.folder / "waits-killed"))
    made.runs["killed lives"] = world.create("hold", "killed", until=until)
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
    world.ended(run_id, RunStatus.KILLED, "CANCELLED", at=time.time())


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
