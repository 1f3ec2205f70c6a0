"""Flow runs of a worker that are retried by hand after the death of their process."""

from __future__ import annotations

import os
import signal
import time
from types import SimpleNamespace

import pytest

from orchestrator import until
from prefect_ml.entities import RunStatus

pytestmark = [pytest.mark.long, pytest.mark.timeout(280)]
ONCE_MORE = [RunStatus.KILLED, RunStatus.FINISHED]


@pytest.fixture(scope="module")
def runs(world):
    """Both, created at once."""
    again = {"until": str(world.folder / "go-lives-again"), "mourned": str(world.folder / "mourned")}
    return SimpleNamespace(
        waits=world.create("waits_to_retry", marker=str(world.folder / "waits-worker")),
        lives_again=world.create("lives_again", **again),
    )


def test_killed_while_it_waits_for_a_retry_and_once_more(world, runs):
    """The retry was its process's own, which nobody else goes on with; Prefect's button does."""
    run_id = runs.waits
    first = world.began(run_id)
    world.state(run_id, "SCHEDULED")
    assert world.run(run_id).status is RunStatus.RUNNING
    os.kill(first.pid, signal.SIGKILL)
    world.ended(run_id, RunStatus.KILLED, "CRASHED", at=time.time())
    time.sleep(8)  # the worker reports the death once more, and would undo what comes now
    world.retry(run_id)
    world.state(run_id, "COMPLETED")
    world.ended(run_id, RunStatus.FINISHED, "COMPLETED", outcomes=ONCE_MORE)


def test_the_death_is_reported_when_another_attempt_lives(world, runs):
    """Prefect believes its worker; the run is what its newest attempt is."""
    run_id, mourned = runs.lives_again, world.folder / "mourned"
    os.kill(world.began(run_id).pid, signal.SIGKILL)
    world.state(run_id, "CRASHED")
    world.retry(run_id)
    world.began(run_id, attempts=2)
    mourned.touch()
    until(lambda: world.states(run_id)[-2:] == ["RUNNING", "CRASHED"], "the worker's second report")
    time.sleep(5)
    run = world.run(run_id)
    assert (run.status, run.end_time) == (RunStatus.RUNNING, None), world.story(run_id)
    first, second = world.store.get_attempts(run_id)
    assert (first.outcome, second.outcome) == (RunStatus.KILLED, None), world.story(run_id)
    (world.folder / "go-lives-again").touch()
    world.ended(run_id, RunStatus.FINISHED, "COMPLETED", outcomes=ONCE_MORE)
