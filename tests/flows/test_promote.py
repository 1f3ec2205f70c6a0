"""The promotion flow in this process, on a real Prefect API, its decisions given by the caller."""

from __future__ import annotations

import threading

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.states import StateType
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

from prefect_ml.blocks import PromotionPolicyBlock, TrackingServer
from prefect_ml.entities import Metric, RequestStatus
from prefect_ml.errors import NotFoundError
from prefect_ml.flows.approval import Answer, approvals_from
from prefect_ml.flows.promote import promote_model
from prefect_ml.models.folder import save_model
from prefect_ml.registry.promotion import decide
from prefect_ml.registry.register import register_model
from prefect_ml.store import open_store
from prefect_ml.tasks import decide_promotion, move_alias, request_promotion, rollback_alias
from prefect_ml.tasks import register_model as register_task

FEATURES, TARGET = load_diabetes(return_X_y=True, as_frame=True)
MODEL = "diabetes"

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture
def version(store, tmp_path):
    model = Ridge().fit(FEATURES, TARGET)
    run = store.create_run("0")
    store.log_batch(run.run_id, metrics=[Metric("r2", float(model.score(FEATURES, TARGET)), run.start_time)])
    save_model(model, tmp_path / "model", input_example=FEATURES[:3])
    return register_model(store, str(tmp_path / "model"), MODEL, run_id=run.run_id)


def artifacts_of(state):
    with get_client(sync_client=True) as client:
        by_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
        return {artifact.key: artifact.data for artifact in client.read_artifacts(artifact_filter=by_run)}


def promote(**parameters):
    return promote_model(MODEL, 1, requester="ann", return_state=True, **parameters)


def test_approved(store, version):
    asked = []

    def approve(request):
        asked.append(request)
        return Answer(True, "bob", "looks right")

    with approvals_from(approve):
        state = promote(stage="Production")
    assert state.is_completed()
    assert state.result()["version"] == version.version
    [request] = store.list_requests(name=MODEL)
    assert [r.request_id for r in asked] == [request.request_id]
    assert request.flow_run_id == str(state.state_details.flow_run_id)
    assert request.status is RequestStatus.PROMOTED
    assert store.get_alias(MODEL, "champion").request_id == request.request_id
    artifacts = artifacts_of(state)
    assert "Promote diabetes version 1" in artifacts["promotion-diabetes-champion-evidence"]
    assert "PROMOTED" in artifacts["promotion-diabetes-champion-decision"]
    assert "bob" in artifacts["promotion-diabetes-champion-decision"]


@pytest.mark.usefixtures("version")
def test_rejected(store):
    with approvals_from(lambda _: Answer(False, "bob", "too early")):
        state = promote()
    assert (state.type, state.name) == (StateType.COMPLETED, "Rejected")
    assert "too early" in state.message
    assert store.list_requests(name=MODEL)[0].status is RequestStatus.REJECTED
    with pytest.raises(NotFoundError):
        store.get_alias(MODEL, "champion")


@pytest.mark.usefixtures("version")
def test_gates_failed_and_nobody_was_asked(store):
    definition = "name: strict\naliases: [champion]\ngates: [{type: metric_threshold, metric: r2, minimum: 0.99}]\n"
    PromotionPolicyBlock(definition=definition).save_to_store(store, actor="ops")

    def never(request):
        raise AssertionError(request)

    with approvals_from(never):
        state = promote()
    assert (state.type, state.name) == (StateType.FAILED, "GatesFailed")
    assert "metric_threshold" in state.message
    with pytest.raises(NotFoundError):
        store.get_alias(MODEL, "champion")


@pytest.mark.usefixtures("version")
def test_an_answer_for_someone_who_may_not_decide_ends_the_run_and_leaves_the_request_open(store):
    definition = "name: strict\naliases: [champion]\napprovers: [cara]\n"
    PromotionPolicyBlock(definition=definition).save_to_store(store, actor="ops")
    with approvals_from(lambda _: Answer(True, "mallory")):
        state = promote()
    assert state.is_failed()
    assert store.list_requests(name=MODEL)[0].status is RequestStatus.PENDING


@pytest.mark.usefixtures("version")
def test_without_anyone_to_ask_the_run_watches_the_record(store):
    def decide_elsewhere():
        while not (found := store.list_requests(name=MODEL)):
            gone.wait(0.05)
        decide(store, found[0].request_id, approve=True, actor="bob", channel="elsewhere")

    gone = threading.Event()
    other = threading.Thread(target=decide_elsewhere)
    other.start()
    state = promote()
    other.join()
    assert state.result()["moved_by"] == "bob"


@pytest.mark.usefixtures("version")
def test_a_block_names_another_store(tmp_path, store):
    url = f"sqlite:///{tmp_path / 'team.db'}"
    team = open_store(url)
    register_model(team, str(tmp_path / "model"), MODEL)
    TrackingServer(store_url=url).save("team", overwrite=True)
    with approvals_from(lambda _: Answer(True, "bob")):
        assert promote(tracking_server="team").is_completed()
    assert team.get_alias(MODEL, "champion").version == 1
    assert store.list_requests(name=MODEL) == []
    team.close()


def test_the_tasks_of_a_promotion_outside_the_flow(store, version, tmp_path):
    from prefect import flow

    @flow
    def by_hand():
        second = register_task(str(tmp_path / "model"), MODEL, description="again")
        for number in (version.version, second.version):
            request = request_promotion(MODEL, number, "champion", requester="ann", key=f"k{number}")
            decide_promotion(request.request_id, approve=True, actor="bob")
            move_alias(request.request_id, actor="bob")
        return rollback_alias(MODEL, "champion", actor="ann", reason="it drifts")

    definition = "name: strict\naliases: [champion]\nemergency: [ann]\n"
    PromotionPolicyBlock(definition=definition).save_to_store(store, actor="ops")
    assert by_hand().version == version.version
    assert [move.version for move in store.alias_history(MODEL, "champion")] == [1, 2, 1]
