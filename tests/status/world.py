"""What the rows of the status table act on and look at: flow runs in Prefect, runs in the store, processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
import uuid
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import until
from prefect_ml.entities import RunStatus
from prefect_ml.errors import NotFoundError
from prefect_ml.store import open_store

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

    from orchestrator import Orchestrator
    from prefect_ml.entities import Attempt, Run
    from prefect_ml.store.contract import Store

FLOWS = Path(__file__).with_name("flows.py")
DEPLOYED = (
    "hold", "raises", "typed", "retried", "caches", "suspends", "ticks", "pauses", "fails_once", "pool",
    "waits_to_retry", "lives_again", "nests",
)  # fmt: skip
# Seconds within which everything must be as it is to be, by itself, on a machine that is busy.
SOON = 45
# Seconds by which the end of a run may be off.
NEAR = 6


class World:
    """A server, its workers, scripts, and the store that all of them record to.

    Args:
        orchestrator: the server.
    """

    def __init__(self, orchestrator: Orchestrator) -> None:
        self.orchestrator, self.api = orchestrator, orchestrator.api
        self.folder = orchestrator.folder / "status"
        self.folder.mkdir()
        self.mark = f"PREFECT_ML_TEST_MARK={uuid.uuid4().hex}"
        self.environment = {
            "PREFECT_ML_HOME": str(self.folder),
            "PREFECT_ML_WATCH": "true",
            "PREFECT_ML_CAPTURE": "",
            "PREFECT_LOCAL_STORAGE_PATH": str(self.folder / "results"),
            **dict([self.mark.split("=")]),
        }
        self.store = open_store(f"sqlite:///{self.folder / 'store.db'}")
        self._deployments: dict[str, str] = {}

    def close(self) -> None:
        """Let nothing live on that was started with our mark, whatever the tests found."""
        for pid in self.living():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.store.close()

    def deploy(self, pool: str, names: Sequence[str] = DEPLOYED) -> None:
        """Deploy flows to a pool."""
        for name in names:
            flow = self.api.post("/flows/", {"name": name.replace("_", "-")})["id"]
            deployment = {
                "name": pool,
                "flow_id": flow,
                "entrypoint": f"{FLOWS}:{name}",
                "path": str(FLOWS.parent),
                "pull_steps": [],
                "work_pool_name": pool,
                "enforce_parameter_schema": False,
            }
            self._deployments[f"{name}/{pool}"] = self.api.post("/deployments/", deployment)["id"]

    def served(self, name: str, deployment: str) -> None:
        """Wait until a flow is served."""

        def look() -> Any:
            found = self.api.client.get(f"/deployments/name/{name}/{deployment}")
            return found.json()["id"] if found.is_success else None

        self._deployments[f"{name}/{deployment}"] = until(look, f"the deployment {name}/{deployment}")

    def create(self, name: str, deployment: str = "status", **parameters: Any) -> str:
        """Have a deployed flow run; the id of its run."""
        found = self._deployments[f"{name}/{deployment}"]
        created = self.api.post(f"/deployments/{found}/create_flow_run", {"parameters": parameters})
        return uuid.UUID(created["id"]).hex

    def script(self, name: str, environment: dict[str, str] | None = None, **parameters: Any) -> Script:
        """Run a flow as a script."""
        tag = f"{name}-{uuid.uuid4().hex}"
        environment = {**self.environment, "PREFECT_TAGS_OF_TEST": tag, **(environment or {})}
        command = (sys.executable, FLOWS, name, json.dumps(parameters))
        return Script(self, tag, self.orchestrator.start(tag, *command, environment=environment))

    def flow_run(self, run_id: str) -> dict[str, Any]:
        return self.api.get(f"/flow_runs/{uuid.UUID(run_id)}")

    def states(self, run_id: str) -> list[str]:
        """The types of all states that the flow run has had, in order."""
        found = self.api.get(f"/flow_run_states/?flow_run_id={uuid.UUID(run_id)}")
        return [state["type"] for state in sorted(found, key=lambda state: state["timestamp"])]

    def set_state(self, run_id: str, type: str, name: str | None = None, **details: Any) -> dict[str, Any]:
        """What the other buttons of Prefect's UI send."""
        state = {"type": type, "name": name, "state_details": details}
        return self.api.post(f"/flow_runs/{uuid.UUID(run_id)}/set_state", {"state": state, "force": True})

    def retry(self, run_id: str) -> None:
        """What the button Retry of Prefect's UI sends."""
        state = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Retry from the UI"}
        answer = self.api.post(f"/flow_runs/{uuid.UUID(run_id)}/set_state", {"state": state, "force": False})
        assert answer["status"] == "ACCEPT", answer

    def resume(self, run_id: str) -> dict[str, Any]:
        return self.api.post(f"/flow_runs/{uuid.UUID(run_id)}/resume", {})

    def state(self, run_id: str, type: str, seconds: float = 90) -> dict[str, Any]:
        """Wait for a state of the flow run."""

        def look() -> Any:
            found = self.flow_run(run_id)
            return found if found["state"] and found["state"]["type"] == type else None

        return self._explained(look, f"{type} of the flow run {run_id}", seconds)

    def run(self, run_id: str) -> Run | None:
        return found(self.store, run_id)

    def child(self, run_id: str) -> str:
        """The id of the run of the flow that a flow called, as soon as there is one."""

        def look() -> Any:
            run = self.run(run_id)
            mine = f"tags.`mlflow.parentRunId` = '{run_id}'"
            return run and self.store.search_runs([run.experiment_id], mine).items

        [found] = self._explained(look, f"the child of the run {run_id}")
        return str(found.run_id)

    def began(self, run_id: str, metric: str = "begun", attempts: int = 1) -> Attempt:
        """Wait until a metric was delivered in the given number of attempts; the last of them."""

        def look() -> Any:
            run = self.run(run_id)
            if run is None or metric not in run.metrics:
                failed = run is not None and run.status is RunStatus.FAILED
                assert not failed, f"the run {run_id} failed before it began"
                return None
            found = self.store.get_attempts(run_id)
            return found[-1] if len(found) >= attempts and found[-1].pid else None

        return self._explained(look, f"the beginning of the run {run_id}")

    def ended(
        self,
        run_id: str,
        status: RunStatus,
        state: str,
        *,
        at: float | None = None,
        outcomes: Sequence[RunStatus] | None = None,
        lasting: bool = False,
        seconds: float = SOON,
    ) -> Run:
        """Wait until run, attempts and flow run say how it ended, and when.

        Args:
            run_id: the run.
            status: of the run.
            state: type of the flow run's state.
            at: when it ended; by default when Prefect says.
            outcomes: of all attempts; by default of one, which is `status`.
            lasting: whether its end took from `at` until Prefect says that it came, as when a process is told to stop.
            seconds: to wait at most.
        """
        wanted = [status] if outcomes is None else list(outcomes)

        def look() -> Any:
            run = self.run(run_id)
            if run is None or run.status is not status or (status.ended and run.end_time is None):
                return None
            attempts = self.store.get_attempts(run_id)
            found = self.flow_run(run_id)["state"]
            if [attempt.outcome for attempt in attempts] != wanted or found["type"] != state:
                return None
            # Who found its journal without its process knows the end less well than its watchdog, which comes later.
            told = datetime.fromisoformat(found["timestamp"]).timestamp()
            earliest = told if at is None else at
            latest = max(told, earliest) if lasting else earliest
            return run if not status.ended or earliest - NEAR < run.end_time / 1000 < latest + NEAR else None

        run: Run = self._explained(look, f"{status}, its end near {at}, of the run {run_id}", seconds)
        return run

    def values(self, run_id: str, metric: str) -> dict[int, float]:
        """The points of a curve by step, no step twice."""
        points = self.store.get_metric_history(run_id, metric).items
        assert len({point.step for point in points}) == len(points), points
        return {point.step: point.value for point in points}

    def living(self) -> dict[int, str]:
        """The command lines of all processes that were started with our mark and live, by process id."""
        return living(self.mark)

    def story(self, run_id: str) -> str:
        """What is known of a run, for a test that fails."""
        state = self.flow_run(run_id)["state"]
        found = self.run(run_id)
        attempts = self.store.get_attempts(run_id) if found else None
        return f"{found}\n{attempts}\n{state}\n{self.orchestrator.logs()}"

    def _explained(self, look: Any, what: str, seconds: float = 90) -> Any:
        try:
            return until(look, what, seconds)
        except AssertionError as error:
            run_id = what.rsplit(maxsplit=1)[-1]
            raise AssertionError(f"{error}\n{self.story(run_id)}") from None


class Script:
    """A flow that runs as a script of its own.

    Args:
        world: what it runs in.
        tag: of its flow run.
        process: the handle.
    """

    def __init__(self, world: World, tag: str, process: subprocess.Popen[bytes]) -> None:
        self.world, self.process, self.tag = world, process, tag

    @property
    def run_id(self) -> str:
        """The id of its run, as soon as Prefect knows it."""
        by_tag = {"flow_runs": {"tags": {"all_": [self.tag]}}}
        found = until(lambda: self.world.api.post("/flow_runs/filter", by_tag), f"the flow run of {self.tag}")
        [outermost] = [each for each in found if each["parent_task_run_id"] is None]
        return uuid.UUID(outermost["id"]).hex

    @property
    def watchdog(self) -> int:
        """The process that watches it."""

        def mine(pid: int) -> bool:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] == str(self.process.pid)

        [found] = [pid for pid, line in self.world.living().items() if "watchdog.py" in line and mine(pid)]
        return found

    def signal(self, number: int) -> float:
        """Send it a signal as soon as it has begun; when that was."""
        self.world.began(self.run_id)
        self.process.send_signal(number)
        return time.time()


def found(store: Store, run_id: str) -> Run | None:
    """The run, if it is there already."""
    try:
        return store.get_run(run_id)
    except NotFoundError:
        return None


def pids() -> set[int]:
    """All processes that live, those that ended and were not waited for left out."""
    return {int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdecimal() and _lives(folder)}


def living(mark: str) -> dict[int, str]:
    """The command lines of all processes that live with a mark in their environment, by process id."""
    found = {}
    for pid in pids() - {os.getpid()}:
        with contextlib.suppress(OSError):
            folder = Path("/proc") / str(pid)
            if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found[pid] = (folder / "cmdline").read_text().replace("\0", " ")
    return found


def _lives(folder: Path) -> bool:
    try:
        return (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
