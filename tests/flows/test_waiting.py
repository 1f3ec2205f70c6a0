"""Nobody waits in vain: decisions wake flow runs from everywhere, and what a dead flow run left is carried on."""

from __future__ import annotations

import sys
import time
import uuid
from pathlib import Path

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import Pause
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled, Crashed, Running

import prefect_ml as ml
from prefect_ml.entities import RequestStatus
from prefect_ml.flowruns import promotions, waiting
from prefect_ml.flowruns.promotions import CarriedOn, carry_promotions_on
from prefect_ml.flows import approval, rollout
from prefect_ml.flows.approval import Answer, approvals_from
from prefect_ml.registry.promotion import decide
from prefect_ml.server.promotions import PATH
from prefect_ml.store import open_store
from prefect_ml.tasks import decide_promotion

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]
from promoting import MODEL, Killed, deployed_run, execute, new_run, protect, registered, state_of

from served import TrackingServer

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture
def version(store, tmp_path):
    protect(store)
    return registered(store, tmp_path).version


@pytest.fixture
def suspended(store, version):
    """A flow run that is suspended until somebody decides, its parameters and its request."""
    return suspend(store, version)


def suspend(store, version):
    run_id, parameters = deployed_run(version)
    with pytest.raises(Pause):
        execute(run_id, parameters)
    assert state_of(run_id).is_paused()
    return run_id, parameters, store.get_request_by_key(f"flow-run-{run_id}")


def by_python(_, request):
    ml.approve(request.request_id, actor="bob")


def by_task(store, request):
    from prefect import flow

    @flow
    def elsewhere():
        decide_promotion(request.request_id, approve=True, actor="bob", store=store)

    elsewhere()


def by_a_long_name(store, request):
    assert waiting.decide(store, request.request_id, approve=True, actor="b" * 200, reason="r" * 2000).resumed


def by_reconciling(store, request):
    decide(store, request.request_id, approve=True, actor="bob")
    assert carry_promotions_on(store) == CarriedOn(resumed=(request.request_id,))


def test_a_decision_wakes_the_suspended_flow_run(store, tmp_path):
    protect(store)
    for way in (by_python, by_task, by_a_long_name, by_reconciling):
        version = registered(store, tmp_path).version
        run_id, parameters, request = suspend(store, version)
        way(store, request)
        assert state_of(run_id).is_scheduled(), way
        assert carry_promotions_on(store) == CarriedOn(), way
        assert execute(run_id, parameters).result()["version"] == version
        assert len(store.get_request(request.request_id).decisions) == 1, way


def test_a_decision_between_the_last_look_and_the_suspension_wakes_the_flow_run_too(store, version, monkeypatch):
    suspend_flow_run = approval.suspend_flow_run

    def decided_just_before(**named):
        [request] = store.list_requests(status=RequestStatus.PENDING)
        assert waiting.decide(store, request.request_id, approve=True, actor="bob").resumed is False
        suspend_flow_run(**named)

    monkeypatch.setattr(approval, "suspend_flow_run", decided_just_before)
    run_id, parameters = deployed_run(version)
    with pytest.raises(Pause):
        execute(run_id, parameters)
    assert state_of(run_id).is_scheduled()


def test_the_flow_run_of_an_overtaken_request_is_woken_and_told_which_one_won(store, version, suspended):
    run_id, parameters, _ = suspended
    other, its_parameters = new_run(version)
    with approvals_from(lambda _: Answer(True, "bob")):
        assert execute(other, its_parameters).is_completed()
    winner = store.get_alias(MODEL, "champion").request_id
    assert state_of(run_id).is_scheduled()
    state = execute(run_id, parameters)
    assert state.name == "Superseded"
    assert winner in state.message


def test_the_end_of_an_earlier_round_is_no_answer_to_a_later_one(store, suspended):
    run_id, parameters, first = suspended
    protect(store, approvals=2)
    waiting.decide(store, first.request_id, approve=True, actor="bob")
    with pytest.raises(Pause):
        execute(run_id, parameters)
    [second] = store.list_requests(status=RequestStatus.PENDING)
    assert second.key == f"flow-run-{run_id}-2"
    assert waiting.decide(store, first.request_id, approve=True, actor="bob").resumed is False
    assert state_of(run_id).is_paused()


def test_where_prefect_cannot_be_reached_the_decision_stays_and_a_sentence_says_so(store, suspended, caplog):
    run_id, _, request = suspended
    with temporary_settings({PREFECT_API_URL: None}):
        decided = waiting.decide(store, request.request_id, approve=True, actor="bob")
    assert decided.request.status is RequestStatus.APPROVED
    assert (decided.resumed, "PREFECT_API_URL" in decided.problem) == (False, True)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        ml.approve(request.request_id, actor="bob")
        assert carry_promotions_on(store) == CarriedOn()
    assert "did not take the resume" in caplog.text
    assert state_of(run_id).is_paused()
    assert waiting.decide(store, request.request_id, approve=True, actor="bob").resumed


def die_before_the_move(version, monkeypatch):
    """A flow run that was killed when its request was approved."""
    run_id, parameters = new_run(version)

    def killed(*_given, **_named):
        raise Killed

    with monkeypatch.context() as patch, approvals_from(lambda _: Answer(True, "bob")):
        patch.setattr(rollout, "move_alias", killed)
        with pytest.raises(Killed):
            execute(run_id, parameters)
    return run_id, parameters


def test_what_a_dead_flow_run_left_approved_is_carried_out_once(store, version, monkeypatch):
    run_id, parameters = die_before_the_move(version, monkeypatch)
    assert state_of(run_id).is_crashed()
    [request] = store.list_requests()
    assert carry_promotions_on(store).carried_out == (request.request_id,)
    assert carry_promotions_on(store) == CarriedOn()
    assert execute(run_id, parameters).result()["version"] == version
    assert len(store.alias_history(MODEL, "champion")) == 1


def test_a_flow_run_that_is_gone_or_seems_to_live_too_long_is_no_obstacle_but_a_cancelled_one_is(
    store, version, tmp_path, monkeypatch
):
    run_id, _ = die_before_the_move(version, monkeypatch)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, Cancelled(), force=True)
        assert carry_promotions_on(store) == CarriedOn()
        client.set_flow_run_state(run_id, Crashed(), force=True)
        client.delete_flow_run(run_id)
        assert len(carry_promotions_on(store).carried_out) == 1
    die_before_the_move(registered(store, tmp_path).version, monkeypatch)
    with get_client(sync_client=True) as client:
        [request] = store.list_requests(status=RequestStatus.APPROVED)
        client.set_flow_run_state(request.flow_run_id, Running(), force=True)
    assert carry_promotions_on(store) == CarriedOn()
    monkeypatch.setattr(promotions, "_PATIENCE", 0)
    assert carry_promotions_on(store).carried_out == (request.request_id,)


def test_overdue_requests_are_closed_and_audited(store, version):
    protect(store, expires_after=0.05)
    asked = [ml.request_promotion(MODEL, version, requester="ann", key=uuid.uuid4().hex) for _ in range(2)]
    while store.get_request(asked[-1].request_id).status is RequestStatus.PENDING:
        time.sleep(0.01)
    assert set(carry_promotions_on(store).expired) == {request.request_id for request in asked}
    assert carry_promotions_on(store) == CarriedOn()
    assert [entry.action for entry in store.audit()].count("request-expired") == 2


def test_a_decision_over_rest_wakes_the_flow_run_where_the_server_knows_prefect(tmp_path, monkeypatch):
    environment = {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
    with TrackingServer(tmp_path / "server", environment) as server:
        monkeypatch.setenv("PREFECT_ML_STORE_URL", server.store)
        store = open_store(server.store)
        protect(store)
        version = registered(store, tmp_path).version
        run_id, parameters, request = suspend(store, version)
        decided = httpx.post(f"{server.url}{PATH}/{request.request_id}/approve", json={"actor": "bob"}, timeout=60)
        told = decided.json()
        assert (told["promotion_request"]["status"], told["resumed"], told["note"]) == ("APPROVED", True, "")
        assert state_of(run_id).is_scheduled()
        assert execute(run_id, parameters).result()["version"] == version
        store.close()
