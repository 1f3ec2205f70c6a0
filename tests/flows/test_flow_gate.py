"""A user's own flow as a gate, on a real Prefect API; a thread of the test is the worker."""

from __future__ import annotations

import threading
import time

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.flow_engine import run_flow
from prefect.states import Completed
from sklearn.linear_model import LinearRegression

from prefect_ml.flows.approval import Answer, approvals_from
from prefect_ml.flows.gates import judge
from prefect_ml.flows.promote import promote_model
from prefect_ml.models.folder import save_model
from prefect_ml.registry.flow_gate import FlowGate
from prefect_ml.registry.gate import Candidate
from prefect_ml.registry.policy import PromotionPolicy
from prefect_ml.registry.register import register_model
from prefect_ml.store import open_store

pytestmark = pytest.mark.usefixtures("prefect_api")


def says(name, version, alias, request_key, verdict):
    return {"passed": verdict, "summary": f"{name} {version} {alias} {request_key}", "evidence": {"drift": 0.1}}


def ends_passed(name, version, alias, request_key, verdict=True):
    return Completed(name="Passed", message="looks right")


def says_nothing(name, version, alias, request_key, verdict=True):
    return None


def fails(name, version, alias, request_key, verdict=True):
    raise RuntimeError("the data is gone")


AS_JSON = {"persist_result": True, "result_serializer": "json"}
FLOWS = {
    "json": flow(name="json-gate", **AS_JSON)(says),
    "pickle": flow(name="pickle-gate", persist_result=True)(says),
    "passed": flow(name="passed-gate")(ends_passed),
    "nothing": flow(name="nothing-gate")(says_nothing),
    "fails": flow(name="failing-gate")(fails),
}


@pytest.fixture(scope="module")
def deployments(prefect_api):
    return {name: found.to_deployment("gate").apply() for name, found in FLOWS.items()}


@pytest.fixture
def worker(deployments):
    """Runs what is scheduled, in a thread of its own."""
    stopped = threading.Event()
    scheduled = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])))

    def work():
        with get_client(sync_client=True) as client:
            while not stopped.wait(0.1):
                for run in client.read_flow_runs(flow_run_filter=scheduled):
                    chosen = next((k for k, d in deployments.items() if d == run.deployment_id), None)
                    if chosen is not None:
                        run_flow(FLOWS[chosen], flow_run=run, return_type="state")

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stopped.set()
    thread.join()


@pytest.fixture
def store(tmp_path):
    found = open_store()
    save_model(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), tmp_path / "model", input_example=[[1.0]])
    register_model(found, str(tmp_path / "model"), "m")
    yield found
    found.close()


def judged(store, gate, key="k"):
    """The verdict in a flow, as the promotion asks for it."""

    @flow
    def judging():
        return judge(gate, "m", 1, "champion", request_key=f"{key}-{time.time_ns()}", store=store)

    return judging()


@pytest.mark.usefixtures("worker")
def test_a_result_kept_as_json_is_the_verdict(store):
    gate = FlowGate(name="drift", deployment="json-gate/gate", parameters={"verdict": True}, timeout=60.0)
    result = judged(store, gate)
    assert result.passed, result.summary
    assert result.summary.startswith("m 1 champion k-")
    assert result.evidence["told"] == {"drift": 0.1}
    assert result.evidence["artifact_digest"] == store.get_model_version("m", 1).artifact_digest
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(result.evidence["flow_run_id"]).state.is_completed()
    refused = judged(store, gate.model_copy(update={"parameters": {"verdict": False}}))
    assert not refused.passed


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("name", "passed", "words"),
    [
        ("passed", True, "looks right"),
        pytest.param("nothing", False, "without a verdict", marks=pytest.mark.long),
        ("fails", False, "the data is gone"),
        pytest.param("pickle", False, "its result is kept by pickle", marks=pytest.mark.long),
    ],
)
def test_every_other_end_passes_only_by_its_name(store, name, passed, words):
    gate = FlowGate(deployment=f"{FLOWS[name].name}/gate", parameters={"verdict": True}, timeout=60.0)
    result = judged(store, gate)
    assert result.passed is passed, result.summary
    assert words in result.summary


@pytest.mark.usefixtures("deployments")
def test_a_run_that_nobody_executes_is_cancelled_when_the_time_is_up(store):
    result = judged(store, FlowGate(deployment="passed-gate/gate", timeout=1.0))
    assert not result.passed
    assert "did not end within 1 seconds" in result.summary
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(result.evidence["flow_run_id"]).state
    assert state.type in (StateType.CANCELLING, StateType.CANCELLED)


@pytest.mark.usefixtures("deployments")
def test_what_prefect_does_not_start_fails(store):
    assert "no deployment 'absent/gate'" in judged(store, FlowGate(deployment="absent/gate")).summary
    wrong = FlowGate(deployment="json-gate/gate", timeout=5.0)  # the flow needs a `verdict`
    assert "Prefect did not start" in judged(store, wrong).summary


@pytest.mark.usefixtures("worker")
def test_a_promotion_asks_the_flow_once_however_often_it_is_judged(store, deployments):
    gates = (FlowGate(deployment="json-gate/gate", parameters={"verdict": True}, timeout=60.0),)
    policy = PromotionPolicy(name="by-flow", aliases=("champion",), gates=gates)
    store.save_policy(policy.to_entity(), actor="ops")
    with approvals_from(lambda _: Answer(True, "bob")):
        state = promote_model("m", 1, requester="ann", return_state=True)
    assert state.is_completed(), state.message
    [request] = store.list_requests(name="m")
    [result] = store.get_request(request.request_id).evidence
    assert result.passed
    assert request.key in result.summary

    @flow
    def again():
        return [judge(gates[0], "m", 1, "champion", request_key="same", store=store) for _ in range(2)]

    one, other = again()
    assert one.evidence["flow_run_id"] == other.evidence["flow_run_id"]
    assert Candidate.of(store, "m", 1, "champion").champion.version.version == 1
