"""Canary before the move, soak after it, and what becomes of the rejected: each once, whatever is killed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import Pause

from prefect_ml.entities import Metric, RequestStatus
from prefect_ml.errors import NotFoundError
from prefect_ml.flowruns.promotions import CarriedOn, carry_promotions_on
from prefect_ml.flowruns.rollout import REJECTED_TAG, advance, judge_here, next_step, results
from prefect_ml.flows import rollout
from prefect_ml.flows.approval import Answer, approvals_from
from prefect_ml.registry.promotion import decide, request_promotion

sys.path.append(str(Path(__file__).parent))
from promoting import MODEL, Killed, deployed_run, execute, new_run, promoted, protect, registered

SECONDS = 0.3
CLAUSES = {
    "canary": {"alias": "canary", "seconds": SECONDS},
    "soak": {"seconds": SECONDS},
    "on_rejection": {"tags": {"promotion": "rejected"}, "drop_aliases": ["canary"]},
}

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture
def versions(store, tmp_path):
    """Version 1, which is the champion, and version 2."""
    first, second = (registered(store, tmp_path).version for _ in range(2))
    protect(store)
    promoted(store, first)
    protect(store, **CLAUSES)
    return first, second


def approve(_request):
    return Answer(True, "bob", "fine")


def run_approved(run_id, parameters):
    with approvals_from(approve):
        return execute(run_id, parameters)


def spoil(store, version):
    """From now on the version's metric is bad."""
    run_id = store.get_model_version(MODEL, version).run_id
    store.log_batch(run_id, metrics=[Metric("auc", 0.1, store.get_run(run_id).start_time + 60_000, 1)])


def at_step(monkeypatch, kind, do):
    """Do something the first time that a step is waited for."""
    wait, left = rollout._wait_until, [1]

    def waiting(step):
        if step.kind == kind and left:
            left.pop()
            do()
        wait(step)

    monkeypatch.setattr(rollout, "_wait_until", waiting)


def killed():
    raise Killed


def test_canary_move_and_soak_take_their_time_and_judge_the_gates_again(store, versions):
    _, second = versions
    run_id, parameters = new_run(second)
    assert run_approved(run_id, parameters).result()["version"] == second
    [request] = store.list_requests(max_results=1)
    [canary] = store.alias_history(MODEL, "canary")
    moved = store.get_alias(MODEL, "champion")
    assert canary.version == second
    assert moved.moved_at - canary.moved_at >= 1000 * SECONDS
    for part in ("canary", "soak"):
        [judged] = results(store, request, part)
        assert judged.passed
    assert next_step(store, request).kind == "done"
    assert REJECTED_TAG not in store.get_model_version(MODEL, second).tags


def test_a_gate_that_fails_after_the_canary_rejects_the_version_for_good(store, versions, monkeypatch):
    first, second = versions
    at_step(monkeypatch, "judge-canary", lambda: spoil(store, second))
    run_id, parameters = new_run(second)
    for _ in range(2):
        state = run_approved(run_id, parameters)
        assert state.name == "GatesFailed"
        assert "at the end of the canary" in state.message
    assert store.get_alias(MODEL, "champion").version == first
    [request] = store.list_requests(max_results=1)
    assert request.status is RequestStatus.REJECTED
    tags = store.get_model_version(MODEL, second).tags
    assert (tags["promotion"], tags[REJECTED_TAG]) == ("rejected", request.request_id)
    with pytest.raises(NotFoundError):
        store.get_alias(MODEL, "canary")
    # What a person sets again afterwards is theirs.
    store.set_alias(MODEL, "canary", second)
    run_approved(run_id, parameters)
    assert store.get_alias(MODEL, "canary").version == second
    assert store.verify_audit() == len(store.audit())


def test_a_gate_that_fails_after_the_soak_takes_the_move_back_once(store, versions, monkeypatch):
    first, second = versions
    at_step(monkeypatch, "judge-soak", lambda: spoil(store, second))
    run_id, parameters = new_run(second)
    for _ in range(2):
        state = run_approved(run_id, parameters)
        assert state.name == "RolledBack"
        assert "at the end of the soak" in state.message
    history = store.alias_history(MODEL, "champion")
    assert [move.version for move in history] == [first, second, first]
    assert "soak" in history[-1].reason
    assert history[-1].moved_by == "policy p"
    assert store.get_model_version(MODEL, second).tags["promotion"] == "rejected"
    assert store.verify_audit() == len(store.audit())


def test_killed_in_a_rollout_it_goes_on_and_its_clocks_run_on(store, versions, tmp_path, monkeypatch):
    for number, kind in enumerate(("canary", "judge-canary", "move", "judge-soak"), versions[1]):
        version = number if number == versions[1] else registered(store, tmp_path).version
        run_id, parameters = new_run(version)
        with monkeypatch.context() as patch:
            at_step(patch, kind, killed)
            with pytest.raises(Killed):
                run_approved(run_id, parameters)
        assert run_approved(run_id, parameters).result()["version"] == version, kind
        [request] = store.list_requests(max_results=1)
        assert len(request.decisions) == 1, kind
        assert [move.version for move in store.alias_history(MODEL, "canary")] == list(range(2, version + 1)), kind
        assert [move.version for move in store.alias_history(MODEL, "champion")] == list(range(1, version + 1)), kind


def test_a_canary_that_another_took_is_refused_and_says_so(store, versions, monkeypatch):
    first, second = versions
    at_step(monkeypatch, "judge-canary", lambda: store.set_alias(MODEL, "canary", first, actor="eve"))
    run_id, parameters = new_run(second)
    # What was due is judged first; then the canary is found gone.
    state = run_approved(run_id, parameters)
    assert state.is_failed()
    assert "moved to version 1 by eve" in state.message
    assert store.get_alias(MODEL, "champion").version == first


def test_promotions_that_share_a_canary_alias_queue(store, versions, tmp_path, monkeypatch):
    _, second = versions
    third = registered(store, tmp_path).version
    protect(store, aliases=["champion", "challenger"], **CLAUSES)
    first = request_promotion(store, MODEL, second, "champion", requester="zoe")
    decide(store, first.request_id, approve=True, actor="bob")
    asked = store.get_request(first.request_id)
    judge = judge_here(store, asked)
    assert advance(store, asked, judge).status is RequestStatus.APPROVED
    seen = []

    def end_the_first():
        seen.append(store.get_alias(MODEL, "canary").version)
        time.sleep(SECONDS)
        advance(store, asked, judge)

    monkeypatch.setattr(rollout.rollout, "_LOOK", 10)
    at_step(monkeypatch, "queue", end_the_first)
    run_id, parameters = new_run(third, alias="challenger")
    assert run_approved(run_id, parameters).result()["version"] == third
    assert seen == [second]
    assert [move.version for move in store.alias_history(MODEL, "canary")] == [second, third]
    assert store.get_alias(MODEL, "champion").version == second


def test_people_who_reject_have_the_version_cleaned_up_after(store, versions):
    _, second = versions
    store.set_alias(MODEL, "canary", second)
    run_id, parameters = new_run(second)
    with approvals_from(lambda _: Answer(False, "bob", "too early")):
        assert execute(run_id, parameters).name == "Rejected"
    version = store.get_model_version(MODEL, second)
    assert (version.tags["promotion"], list(version.aliases)) == ("rejected", [])


def test_a_long_wait_gives_the_process_up_and_the_run_is_scheduled_for_its_end(store, versions):
    _, second = versions
    protect(store, canary={"alias": "canary", "seconds": 3600.0})
    run_id, parameters = deployed_run(second)
    for _ in range(2):
        with pytest.raises(Pause):
            run_approved(run_id, parameters)
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(run_id).state
        assert state.is_scheduled()
        due = 1000 * state.state_details.scheduled_time.timestamp()
        assert due == pytest.approx(store.get_alias(MODEL, "canary").moved_at + 3_600_000, abs=2)


def test_the_soak_of_a_dead_flow_run_is_judged_and_taken_back_by_whoever_reconciles(store, versions, monkeypatch):
    first, second = versions
    at_step(monkeypatch, "judge-soak", killed)
    with pytest.raises(Killed):
        run_approved(*new_run(second))
    spoil(store, second)
    time.sleep(SECONDS)
    [request] = store.list_requests(max_results=1)
    done = carry_promotions_on(store, rollout.judge_of)
    assert done == CarriedOn(carried_out=(request.request_id,), cleaned=(request.request_id,))
    assert [move.version for move in store.alias_history(MODEL, "champion")] == [first, second, first]
    assert carry_promotions_on(store, rollout.judge_of) == CarriedOn()
