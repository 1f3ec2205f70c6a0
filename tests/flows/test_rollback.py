"""Rolling back as a flow: at once where nothing protects, by approval where a policy does, loudly in an emergency."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from prefect.exceptions import Pause

from prefect_ml.cli import app
from prefect_ml.entities import RequestKind, RequestStatus
from prefect_ml.errors import PromotionError, ProtectedError
from prefect_ml.flowruns import waiting
from prefect_ml.flowruns.promotions import carry_promotions_on
from prefect_ml.flows.approval import Answer, approvals_from
from prefect_ml.flows.rollback import rollback_model
from prefect_ml.tasks import rollback_alias

sys.path.append(str(Path(__file__).parent))
from promoting import MODEL, artifacts_of, deployed_run, execute, new_run, promoted, protect, registered, state_of

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture
def champions(store, tmp_path):
    """Two versions that were champion one after the other, protected."""
    protect(store, emergency=["oncall"])
    found = [registered(store, tmp_path).version for _ in range(2)]
    for version in found:
        promoted(store, version)
    return found


def asked(**more):
    return {"name": MODEL, "alias": "champion", "reason": "it drifts", "requester": "ann"} | more


def history(store):
    return [move.version for move in store.alias_history(MODEL, "champion")]


def test_a_protected_alias_goes_back_by_approval_once(store, champions):
    first, second = champions
    run_id, _ = new_run(second, rollback_model)
    for _ in range(2):
        with approvals_from(lambda _: Answer(True, "bob", "agreed")):
            assert execute(run_id, asked(), rollback_model).result()["version"] == first
    assert history(store) == [first, second, first]
    [request] = store.list_requests(max_results=1)
    assert (request.kind, request.status) == (RequestKind.ROLLBACK, RequestStatus.PROMOTED)
    assert set(artifacts_of(run_id)) == {f"promotion-churn-champion-{part}" for part in ("evidence", "decision")}
    assert store.verify_audit() == len(store.audit())


def test_a_rejected_rollback_leaves_everything(store, champions):
    run_id, _ = new_run(2, rollback_model)
    with approvals_from(lambda _: Answer(False, "bob", "it does not drift")):
        state = execute(run_id, asked(), rollback_model)
    assert (state.is_completed(), state.name) == (True, "Rejected")
    assert history(store) == champions


def test_a_suspended_rollback_is_woken_and_carried_on_like_a_promotion(store, champions):
    run_id, _ = deployed_run(2, rollback_model)
    with pytest.raises(Pause):
        execute(run_id, asked(), rollback_model)
    [request] = store.list_requests(status=RequestStatus.PENDING)
    assert carry_promotions_on(store).resumed == ()
    assert waiting.decide(store, request.request_id, approve=True, actor="bob").resumed
    assert state_of(run_id).is_scheduled()
    assert execute(run_id, asked(), rollback_model).is_completed()
    assert history(store) == [*champions, champions[0]]


def test_an_emergency_goes_back_at_once_and_loudly_for_those_it_names(store, champions, caplog):
    first, second = champions
    run_id, _ = new_run(second, rollback_model)
    state = execute(run_id, asked(emergency=True), rollback_model)
    assert state.is_failed()
    with pytest.raises(ProtectedError):
        state.result()
    run_id, _ = new_run(second, rollback_model)
    for _ in range(2):
        state = execute(run_id, asked(emergency=True, requester="oncall"), rollback_model)
        assert state.result()["version"] == first
    assert history(store) == [first, second, first]
    assert [entry.action for entry in store.audit()][-1] == "emergency-rollback"
    assert "EMERGENCY" in caplog.text
    assert "EMERGENCY" in artifacts_of(run_id)["rollback-churn-champion"]


def test_an_unprotected_alias_goes_back_at_once_and_a_retried_task_does_so_once(store, champions):
    from prefect import flow

    first, second = champions
    for version in champions:
        store.set_alias(MODEL, "steady", version)

    @flow
    def by_hand():
        return [rollback_alias(MODEL, "steady", actor="ann", reason="it drifts", key="k").version for _ in range(2)]

    assert by_hand() == [first, first]
    run_id, _ = new_run(second, rollback_model)
    assert execute(run_id, asked(alias="steady"), rollback_model).result()["version"] == second


def test_the_command_asks_or_says_loudly_that_it_did_not(store, champions, capsys):
    def command(*more):
        app(["rollback", MODEL, "--reason", "it drifts", *more], exit_on_error=False, result_action="return_value")
        return capsys.readouterr()

    with approvals_from(lambda _: Answer(True, "bob")):
        command("--actor", "ann")
    assert history(store) == [*champions, champions[0]]
    told = command("--actor", "oncall", "--emergency")
    assert "EMERGENCY" in told.err
    assert history(store) == [*champions, champions[0], champions[1]]
    with approvals_from(lambda _: Answer(True, "ann")):
        protect(store, four_eyes=True, emergency=["oncall"])
        with pytest.raises(PromotionError):
            command("--actor", "ann")
