"""Flows at whose end there is no Prefect to tell: its server has died, and comes back later."""

from __future__ import annotations

import signal
import time
from types import SimpleNamespace

import pytest
from world import NEAR, SOON, World

from orchestrator import Orchestrator, until
from prefect_ml.entities import RunStatus

pytestmark = [pytest.mark.long, pytest.mark.timeout(280)]
BEATS = {"PREFECT_CLIENT_MAX_RETRIES": "1", "PREFECT_ML_HEARTBEAT_INTERVAL": "1", "PREFECT_ML_FLUSH_INTERVAL": "0.2"}


@pytest.fixture(scope="module")
def away(tmp_path_factory):
    """A server that was killed while scripts ran beside it, and when each of them ended."""
    with Orchestrator(tmp_path_factory.mktemp("away")) as orchestrator:
        world = World(orchestrator)
        world.environment |= BEATS
        go, leave = str(world.folder / "go"), str(world.folder / "leave")
        scripts = {
            "returns": world.script("hold", until=go),
            "raises": world.script("raises_late", until=go),
            "stays": world.script("stays", until=go, leave=leave),
            "sigkill": world.script("hold"),
        }
        runs = {name: script.run_id for name, script in scripts.items()}
        for run_id in runs.values():
            world.began(run_id)
        orchestrator.server.send_signal(signal.SIGKILL)
        orchestrator.server.wait(10)
        scripts["sigkill"].process.kill()
        at = time.time()
        (world.folder / "go").touch()
        yield SimpleNamespace(world=world, orchestrator=orchestrator, scripts=scripts, runs=runs, at=at)
        (world.folder / "leave").touch()
        world.close()


def ended(away, name, status):
    """Wait until the run says by itself how its code ended, and when."""
    run_id = away.runs[name]

    def look():
        run = away.world.run(run_id)
        return run if run.status is status and abs(run.end_time / 1000 - away.at) < NEAR else None

    until(look, f"{status} of the run {name} {away.world.run(run_id)}", SOON)
    [attempt] = away.world.store.get_attempts(run_id)
    assert (attempt.outcome, attempt.presumed) == (status, True)


def output(away, name):
    return (away.orchestrator.folder / f"{away.scripts[name].tag}.log").read_text()


def test_kill_9(away):
    ended(away, "sigkill", RunStatus.KILLED)


def test_the_code_came_to_its_end(away):
    ended(away, "returns", RunStatus.FINISHED)
    assert away.scripts["returns"].process.wait(30) == 1, "Prefect's engine raises when it cannot tell"
    assert "/prefect_ml/" not in output(away, "returns"), "no traceback of ours stands before Prefect's"


def test_the_code_raised(away):
    ended(away, "raises", RunStatus.FAILED)
    assert away.scripts["raises"].process.wait(30) == 1
    assert "ZeroDivisionError: on purpose" in output(away, "raises")


def test_the_process_lives_on(away):
    """As that of a notebook does, when the flow is over there."""
    ended(away, "stays", RunStatus.FINISHED)
    assert away.scripts["stays"].process.poll() is None


def test_prefect_comes_back(away):
    away.orchestrator.serve()
    for name in ("sigkill", "returns", "raises", "stays"):
        away.world.state(away.runs[name], "CRASHED", SOON)
    assert away.scripts["stays"].process.poll() is None
    statuses = [away.world.run(away.runs[name]).status for name in ("sigkill", "returns", "raises", "stays")]
    assert statuses == [RunStatus.KILLED, RunStatus.FINISHED, RunStatus.FAILED, RunStatus.FINISHED]
