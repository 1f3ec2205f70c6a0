"""Rollouts on a worker that are killed, with it or alone: who asks the endpoint sees nothing of it, and they go on."""

from __future__ import annotations

import re
import sys
import threading
from collections import Counter
from pathlib import Path

import httpx
import pytest

from prefect_ml.entities import EndpointAction, Route
from prefect_ml.flowruns.background import client_of
from prefect_ml.flowruns.restart import restart_dead

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
from journey import FEATURES, SOON

from orchestrator import stop, until
from served import COMMAND

MODEL, POOL = "rolled", "rollouts"
FLOWS = {"canary": "canary.canary", "deploy-model": "deploy_model.deploy_model"}
RESTARTED = "Its process died; it goes on where it was."

pytestmark = [pytest.mark.long, pytest.mark.timeout(580)]


@pytest.fixture(scope="module")
def deployments(world):
    """The shipped flows on a pool of their own, whose worker may be killed; their ids."""
    world.orchestrator.start_worker(POOL, world.environment)
    made = {}
    for name, entrypoint in FLOWS.items():
        deployment = {
            "name": POOL,
            "flow_id": world.api.post("/flows/", {"name": name})["id"],
            "entrypoint": f"prefect_ml.flows.{entrypoint}",
            "pull_steps": [],
            "work_pool_name": POOL,
            "enforce_parameter_schema": False,
        }
        made[name] = world.api.post("/deployments/", deployment)["id"]
    return made


@pytest.fixture(scope="module")
def versions(world):
    """A version, one that is as good, and one that fails on what the others are asked."""
    logged = [world.log(0.01), world.log(0.011), world.log(1.0, prefix="other ")]
    return [world.register(MODEL, uri).version for uri in logged]


class Asking:
    """A process that serves an endpoint, and a thread that asks it as long as it is wanted.

    Attributes:
        answers: how many there were, by version and status.
    """

    def __init__(self, world, endpoint):
        environment = {"PREFECT_ML_STORE_URL": world.server.url, "PREFECT_ML_SERVE_POLL_INTERVAL": "0.1"}
        command = (COMMAND, "serve", f"endpoint:{endpoint}", "--port", "0")
        self._process = world.orchestrator.start(endpoint, *command, environment=environment)
        log = world.orchestrator.folder / f"{endpoint}.log"
        self._url = until(lambda: re.search(r"at (http://\S+)", log.read_text()), "the start of what serves", SOON)[1]
        self.answers = Counter()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join(60)
        stop(self._process)

    def _ask(self):
        with httpx.Client(base_url=self._url, timeout=60) as client:
            row = 0
            while not self._over.wait(0.01):
                row = (row + 1) % len(FEATURES)
                body = {"dataframe_split": FEATURES[row : row + 1].to_dict(orient="split", index=False)}
                answer = client.post("/invocations", json=body)
                self.answers[answer.headers.get("x-model-version"), answer.status_code] += 1


def begun(world, deployment, version, **parameters):
    """The id of a run of a deployment that brings a version to the endpoint."""
    given = {"model_uri": f"models:/{MODEL}/{version}", "requester": "ann", "timeout": 240.0, **parameters}
    return world.api.post(f"/deployments/{deployment}/create_flow_run", {"parameters": given})["id"]


def kill_at(world, run_id, held, following, *, with_worker=False):
    """Kill the process of a run within a call that is held, and see that it is executed again.

    Args:
        world: of the run.
        run_id: of it.
        held: the call.
        following: holds the call after which the run is killed next.
        with_worker: whether its worker is killed before, so that nobody reports the death.
    """
    until(lambda: held.reached, f"{held.path} of the flow run {run_id}\n{world.orchestrator.logs()}", SOON)
    if with_worker:
        world.orchestrator.kill_worker(POOL)
    before = restarts(world, run_id)
    then = following()
    world.kill(run_id)
    held.let_go()
    if with_worker:
        world.orchestrator.restart_worker(POOL)
        world.crashed(run_id)

    def again():
        # What reconcile-runs does by its schedule, and as soon as it hears of a crash.
        with client_of(world.orchestrator.url) as client:
            list(restart_dead(world.store, client, tuple(FLOWS)))
        return restarts(world, run_id) > before

    until(again, f"the restart of the flow run {run_id}\n{world.orchestrator.logs()}", SOON)
    return then


def restarts(world, run_id):
    states = world.api.get(f"/flow_run_states/?flow_run_id={run_id}")
    return sum(state["message"] == RESTARTED for state in states)


def ended(world, run_id):
    """The state of a run that has come to its end."""

    def look():
        state = world.run(run_id)["state"]
        return state if state["type"] in ("COMPLETED", "FAILED", "CANCELLED") else None

    return until(look, f"the end of the flow run {run_id}\n{world.orchestrator.logs()}", SOON)


def weights(store, endpoint):
    """Of the routes of each revision, oldest first."""
    return [[route.weight for route in each.routes] for each in store.list_endpoint_revisions(endpoint)[::-1]]


def test_a_canary_that_is_killed_at_its_steps_goes_on_and_no_request_fails(world, deployments, versions):
    one, two, _ = versions
    world.store.create_endpoint("steady", [Route(MODEL, one, weight=100.0)])

    def hold(step, *, done):
        return world.proxy.hold("change_endpoint", f'"step":{step}', done=done)

    with Asking(world, "steady") as asking:
        held = hold(0, done=True)
        run_id = begun(
            world, deployments["canary"], two, endpoint="steady", weights=[30.0, 100.0], seconds=2.0, requests=20,
            latency_ratio=None,
        )  # fmt: skip
        # loaded without weight, and nobody was told
        held = kill_at(world, run_id, held, lambda: hold(1, done=False), with_worker=True)
        # asked for the first weight, which never arrived
        held = kill_at(world, run_id, held, lambda: hold(1, done=True))
        assert world.store.get_endpoint("steady").revision == 2
        # the first weight is there, and was not watched
        held = kill_at(world, run_id, held, lambda: hold(2, done=True))
        assert [route.weight for route in world.store.get_endpoint("steady").routes] == [70.0, 30.0]
        # the whole weight
        held = kill_at(world, run_id, held, lambda: hold(3, done=True))
        until(lambda: held.reached, f"the last step\n{world.orchestrator.logs()}", SOON)
        held.let_go()
        assert ended(world, run_id)["name"] == "Completed", world.orchestrator.logs()
        until(lambda: asking.answers[str(two), 200] > 20, "the answers of the new version")
    assert weights(world.store, "steady") == [[100], [100, 0], [70, 30], [0, 100], [100]]
    history = world.store.list_endpoint_revisions("steady")
    assert {each.rollout for each in history[:-1]} == {f"flow-run-{run_id}"}
    assert set(asking.answers) == {(str(one), 200), (str(two), 200)}
    assert world.store.verify_audit() > 0


def test_a_deployment_that_is_killed_while_it_is_taken_back_is_taken_back_once(world, deployments, versions):
    one, _, bad = versions
    world.store.create_endpoint("spared", [Route(MODEL, one, weight=100.0)])

    def hold(path, *, done):
        return world.proxy.hold(path, '"spared"', done=done)

    with Asking(world, "spared") as asking:
        held = hold("list_endpoint_replicas", done=False)
        run_id = begun(world, deployments["deploy-model"], bad, endpoint="spared", seconds=120.0)
        held = kill_at(world, run_id, held, lambda: hold("roll_back_endpoint", done=False), with_worker=True)
        held = kill_at(world, run_id, held, lambda: hold("roll_back_endpoint", done=True))
        held = kill_at(world, run_id, held, lambda: hold("roll_back_endpoint", done=False))
        state = ended(world, run_id)
        assert (state["type"], state["name"]) == ("FAILED", "RolledBack"), state
        assert "of its requests failed" in state["message"]
        assert not held.reached
        held.let_go()
        served = asking.answers[str(one), 200]
        until(lambda: asking.answers[str(one), 200] > served + 20, "the answers of the version before")
    assert weights(world.store, "spared") == [[100], [100, 0], [50, 50], [100]]
    newest = world.store.get_endpoint("spared")
    assert (newest.action, newest.changed_by) == (EndpointAction.ROLLED_BACK, "ann")
    # who asked the bad one was refused, and nobody else
    assert set(asking.answers) == {(str(one), 200), (None, 400)}
    assert world.store.verify_audit() > 0
