"""Rolling a model out at an endpoint, on a real Prefect server, with real replicas that are asked all the time."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from sklearn.linear_model import LinearRegression

from prefect_ml.cli import app
from prefect_ml.entities import EndpointAction, RequestStatus, Route
from prefect_ml.errors import InvalidInputError
from prefect_ml.flowruns.promotions import carry_promotions_on
from prefect_ml.flowruns.telling import tell_events
from prefect_ml.flows import endpoint_rollout
from prefect_ml.flows.approval import Answer, approvals_from
from prefect_ml.flows.canary import canary
from prefect_ml.flows.deploy_model import deploy_model
from prefect_ml.http.refusal import RefusedError
from prefect_ml.models.folder import save_model
from prefect_ml.registry.register import register_model
from prefect_ml.serving.endpoint import ServedEndpoint
from prefect_ml.serving.observing import Answered
from prefect_ml.settings import Settings

sys.path.append(str(Path(__file__).parent))
from promoting import MODEL, Killed, artifacts_of, execute, promoted, protect

from orchestrator import until

pytestmark = pytest.mark.usefixtures("prefect_api")

RANDOM = np.random.default_rng(5)
FRAME = pd.DataFrame({"x": RANDOM.normal(10, 2, 50), "y": RANDOM.normal(size=50)})
QUICK = {
    "weights": [30.0, 100.0],
    "seconds": 0.5,
    "latency_ratio": None,
    "requests": 50,
    "timeout": 90.0,
    "requester": "ann",
}


@pytest.fixture
def version(store, tmp_path):
    """Registers a model and returns its version; by its slope it predicts alike or not."""

    def register(slope=1.0, columns=("x", "y")):
        folder = tmp_path / f"model-{len(list(tmp_path.iterdir()))}"
        frame = FRAME.rename(columns=dict(zip(FRAME.columns, columns, strict=True)))
        save_model(LinearRegression().fit(frame, slope * FRAME["x"]), folder, input_example=frame[:2])
        run = store.create_run("0")
        made = register_model(store, str(folder), MODEL, run_id=run.run_id)
        return made.version

    return register


def body():
    row = RANDOM.choice(len(FRAME))
    return json.dumps({"dataframe_records": [FRAME.iloc[row].to_dict()]}).encode()


class ReplicaHere:
    """A replica in this process, and a thread that asks it without pause; `answers` counts them by version."""

    def __init__(self, store):
        self.served = ServedEndpoint("live", "live", store, Settings(serve_poll_interval=0.05))
        self.answers = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self):
        self.served.start()
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(60)
        self.served.stop()
        for observer in self.served.observers:
            observer.close()

    def _ask(self):
        while not self._stop.wait(0.001):
            asked, began = body(), time.perf_counter()
            answer, status, error, replica = b"", 200, None, None
            try:
                replica = self.served.pick({}, None)
                answer = replica.answer("application/json", asked)
                self.answers[replica.version] = self.answers.get(replica.version, 0) + 1
            except (InvalidInputError, RefusedError) as refused:
                status, error = 400, refused
            seconds = time.perf_counter() - began
            told = Answered(
                name="live", replica=replica, headers={}, content_type="application/json", body=asked, accept="",
                answer=answer, status=status, seconds=seconds, at=0, request_id="r", rows=1, error=error,
            )  # fmt: skip
            for observer in self.served.observers:
                observer.answered(told)


def routes(store):
    return {route.uri: route.weight for route in store.get_endpoint("live").routes}


def canary_run(version, **parameters):
    with get_client(sync_client=True) as client:
        given = {"endpoint": "live", "model_uri": f"models:/{MODEL}/{version}", **QUICK, **parameters}
        return client.create_flow_run(canary, parameters=given).id, given


def test_a_version_that_is_as_good_takes_over_step_by_step(store, version):
    one, two = version(), version()
    store.create_endpoint("live", [Route(MODEL, one, weight=100)])
    run_id, parameters = canary_run(two)
    with ReplicaHere(store) as replica:
        state = execute(run_id, parameters, canary)
        assert state.is_completed(), state
        assert replica.answers["2"] > 0
    done = state.result()
    assert done == {"endpoint": "live", "revision": 5, "routes": {f"models:/{MODEL}/2": 100.0}}
    history = store.list_endpoint_revisions("live")[::-1]
    assert [[route.weight for route in each.routes] for each in history] == [[100], [100, 0], [70, 30], [0, 100], [100]]
    assert {each.rollout for each in history[1:]} == {f"flow-run-{run_id}"}
    assert {each.changed_by for each in history[1:]} == {"ann"}
    assert history[2].reason == f"models:/{MODEL}/2, step 1 of 2: 30 %"
    page = artifacts_of(run_id)["rollout-live-step-1"]
    assert "It goes on." in page
    assert "population stability index" in page
    with get_client(sync_client=True) as client:
        by_run = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
        names = {run.name for run in client.read_task_runs(flow_run_filter=by_run)}
    assert "watch live at revision 3" in names
    # it is there already
    again, parameters = canary_run(two)
    assert execute(again, parameters, canary).result()["revision"] == 5


def test_what_drifts_fails_or_cannot_be_loaded_is_taken_back(store, version):
    one = version()
    store.create_endpoint("live", [Route(MODEL, one, weight=100)])
    with ReplicaHere(store):
        for bad, why in (
            (version(slope=3.0), "its predictions drifted: population stability index"),
            (version(columns=("x", "z")), "100.0% of its requests failed"),
        ):
            run_id, parameters = canary_run(bad, seconds=60.0)
            state = execute(run_id, parameters, canary)
            assert (state.type, state.name) == ("FAILED", "RolledBack"), state
            assert why in state.message
            assert routes(store) == {f"models:/{MODEL}/1": 100.0}
            back = store.get_endpoint("live")
            assert (back.action, back.changed_by) == (EndpointAction.ROLLED_BACK, "ann")
            assert why in back.reason
            assert "**Taken back:**" in artifacts_of(run_id)["rollout-live-step-1"]
        damaged = version()
        files = Path(store.get_model_version(MODEL, damaged).source)
        (files / "MLmodel").write_text("no model")
        state = execute(*canary_run(damaged), canary)
        assert (state.name, routes(store)) == ("RolledBack", {f"models:/{MODEL}/1": 100.0})
        assert "cannot load it" in state.message


def test_a_canary_that_nobody_asks_is_taken_back_or_goes_on_as_told(store, version):
    one, two = version(), version()
    store.create_endpoint("live", [Route(MODEL, one, weight=100)])
    nobody = {"replicas": 0, "seconds": 0.0}
    state = execute(*canary_run(two, patience=0.2, **nobody), canary)
    assert state.name == "RolledBack"
    assert "only 0 of 50 requests came" in state.message
    assert execute(*canary_run(two, patience=0.0, **nobody), canary).is_completed()
    # without replicas, nothing is brought anywhere
    state = execute(*canary_run(one, timeout=0.2), canary)
    assert "0 of 0 replicas answer" in state.message
    assert routes(store) == {f"models:/{MODEL}/2": 100.0}
    for weights in ([50.0, 20.0], [0.0], [120.0]):
        assert "growing percentages" in execute(*canary_run(one, weights=weights), canary).message


@pytest.mark.parametrize(
    "point",
    ["shift", *(pytest.param(point, marks=pytest.mark.long) for point in ("await_loaded", "watch", "publish_text"))],
)
def test_a_run_that_was_killed_goes_on_where_it_was(store, version, monkeypatch, point):
    one, two = version(), version()
    store.create_endpoint("live", [Route(MODEL, one, weight=100)])
    run_id, parameters = canary_run(two, replicas=0, patience=0.0, seconds=0.0)
    original, calls = getattr(endpoint_rollout, point), []

    def dies(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            original(*args, **kwargs)  # it was done, and nobody was told
            raise Killed
        return original(*args, **kwargs)

    monkeypatch.setattr(endpoint_rollout, point, dies)
    with pytest.raises(Killed):
        execute(run_id, parameters, canary)
    monkeypatch.setattr(endpoint_rollout, point, original)
    between = store.get_endpoint("live").revision
    assert 1 < between < 5
    assert execute(run_id, parameters, canary).result()["revision"] == 5
    weights = [[route.weight for route in each.routes] for each in store.list_endpoint_revisions("live")[::-1]]
    assert weights == [[100], [100, 0], [70, 30], [0, 100], [100]]


def test_somebody_who_changes_the_endpoint_meanwhile_wins(store, version, monkeypatch):
    one, two = version(), version()
    store.create_endpoint("live", [Route(MODEL, one, weight=100)])
    original = endpoint_rollout.watch

    def meddle(*args, **kwargs):
        theirs = [Route(MODEL, one, weight=60), Route(MODEL, two, weight=40)]
        store.change_endpoint("live", theirs, expected_revision=3, actor="zoe", reason="by hand")
        return original(*args, **kwargs)

    monkeypatch.setattr(endpoint_rollout, "watch", meddle)
    state = execute(*canary_run(two, replicas=0), canary)
    assert (state.type, state.name) == ("FAILED", "Superseded")
    assert "zoe put revision 4" in state.message
    assert routes(store) == {f"models:/{MODEL}/1": 60.0, f"models:/{MODEL}/2": 40.0}


def deploy(version, decider=None):
    given = {"endpoint": "live", "model_uri": f"models:/{MODEL}/{version}", "seconds": 0.0, "replicas": 0}
    with get_client(sync_client=True) as client:
        given["requester"] = "ann"
        run_id = client.create_flow_run(deploy_model, parameters=given).id
    with approvals_from(decider) if decider else contextlib.nullcontext():
        return run_id, execute(run_id, given, deploy_model)


def test_a_version_is_approved_before_it_answers_and_the_alias_moves_last(store, version, monkeypatch):
    one, two, three = version(), version(), version()
    protect(store, gates=[{"type": "signature_present"}])
    promoted(store, one)
    store.create_endpoint("live", [Route(MODEL, alias="champion", weight=100)])
    at_shift = []
    original = endpoint_rollout.shift

    def noted(store, asked, key, step, *rest):
        # what a reconciliation meanwhile would do: nothing, since the rollout carries its request out
        assert carry_promotions_on(store).carried_out == ()
        at_shift.append((step, store.get_alias(MODEL, "champion").version, store.list_requests()[0].status))
        return original(store, asked, key, step, *rest)

    monkeypatch.setattr(endpoint_rollout, "shift", noted)
    run_id, state = deploy(two, lambda _: Answer(True, "bob", "fine"))
    assert state.result()["routes"] == {f"models:/{MODEL}@champion": 100.0}
    approved, moved = RequestStatus.APPROVED, RequestStatus.PROMOTED
    assert at_shift == [(0, 1, approved), (1, 1, approved), (2, 1, approved), (3, 2, moved)]
    assert {"promotion-churn-champion-evidence", "promotion-churn-champion-decision"} <= set(artifacts_of(run_id))
    monkeypatch.setattr(endpoint_rollout, "shift", original)

    _, state = deploy(three, lambda _: Answer(False, "bob", "not today"))
    assert (state.type, state.name) == ("COMPLETED", "Rejected")
    assert routes(store) == {f"models:/{MODEL}@champion": 100.0}

    # taken back after the approval: nobody carries the request out any more
    monkeypatch.setattr(endpoint_rollout, "watch", lambda *_: "it is slow")
    four = version()
    _, state = deploy(four, lambda _: Answer(True, "bob", "fine"))
    assert (state.name, routes(store)) == ("RolledBack", {f"models:/{MODEL}@champion": 100.0})
    request = store.list_requests()[0]
    assert (request.version, request.status) == (four, RequestStatus.REJECTED)
    assert "it is slow" in request.status_reason
    assert store.get_alias(MODEL, "champion").version == two


def test_a_policy_that_names_the_endpoint_asks_for_its_versions(store, version):
    one = version()
    store.create_endpoint("live", [Route(MODEL, one, weight=100)])
    two = version()
    protect(store, aliases=["endpoint.live"], gates=[{"type": "signature_present"}])
    _, state = deploy(two, lambda _: Answer(True, "bob", "fine"))
    assert state.result()["routes"] == {f"models:/{MODEL}/2": 100.0}
    assert store.get_alias(MODEL, "endpoint.live").version == two
    assert deploy(two)[1].is_completed()  # approved already, and there


def test_the_command_rolls_out_and_prefect_is_told(store, version, capsys):
    store.create_endpoint("told", [Route(MODEL, version(), weight=100)])
    arguments = ["endpoints", "deploy", "told", f"models:/{MODEL}/{version()}", "--seconds", "0", "--replicas", "0"]
    for more in (["--canary", "30", "100", "--patience", "0"], []):
        app([*arguments, *more, "--json"], result_action="return_value", exit_on_error=False)
    last = capsys.readouterr().out.rpartition('{\n  "endpoint"')[2]
    assert f'"models:/{MODEL}/2": 100.0' in last
    store.roll_back_endpoint("told", to_revision=1, expected_revision=5, reason="bad")
    tell_events(store)

    def told():
        with get_client(sync_client=True) as client:
            query = {"resource": {"id": ["prefect-ml.endpoint.told"]}, "order": "ASC"}
            found = client.request("POST", "/events/filter", json={"filter": query, "limit": 50}).json()["events"]
        return sorted(found, key=lambda each: each["payload"]["revision"]) if len(found) == 6 else None

    events = until(told, "what Prefect was told", 60)
    assert [each["event"].rpartition(".")[2] for each in events] == [*["changed"] * 5, "rolled-back"]
    assert events[2]["payload"]["routes"] == {f"models:/{MODEL}/1": 70.0, f"models:/{MODEL}/2": 30.0}
    assert events[2]["related"][0]["prefect.resource.id"].startswith("prefect.flow-run.")


def test_a_process_that_serves_is_rolled_over_without_a_failed_request(store, version):
    one, two = version(), version()
    store.create_endpoint("live", [Route(MODEL, one, weight=100)])
    command = [Path(sys.executable).with_name("prefect-ml"), "serve", "endpoint:live", "--port", "0"]
    environment = {**os.environ, "PREFECT_ML_SERVE_POLL_INTERVAL": "0.1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    answers, failures, stop = [], [], threading.Event()

    def ask(port):
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        while not stop.wait(0.005):
            connection.request("POST", "/invocations", body(), {"content-type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            answers.append(answer.headers["x-model-version"])
            if answer.status != 200:
                failures.append(content)
        connection.close()

    try:
        line = process.stdout.readline()
        assert line.startswith("Serving live"), line
        port = int(line.strip().rpartition(":")[2])
        threads = [threading.Thread(target=ask, args=(port,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        run_id, parameters = canary_run(two)
        state = execute(run_id, parameters, canary)
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
        process.terminate()
        assert process.wait(60) == 0
        process.stdout.close()
    assert state.is_completed(), state
    assert failures == []
    assert set(answers) == {"1", "2"}
    assert store.list_endpoint_replicas("live") == []
