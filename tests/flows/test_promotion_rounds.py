"""A promotion that is sent back, overtaken, or killed at any step: each step is done once."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from prefect import flow

from prefect_ml import tasks
from prefect_ml.cli import app
from prefect_ml.entities import RequestStatus
from prefect_ml.errors import NotFoundError, PromotionError, StoreUnavailableError
from prefect_ml.flowruns import rounds
from prefect_ml.flows import promote, rollout
from prefect_ml.flows.approval import Answer, approvals_from
from prefect_ml.registry.promotion import decide, move, request_rollback

sys.path.append(str(Path(__file__).parent))
from promoting import MODEL, Killed, artifacts_of, execute, new_run, promoted, protect, registered

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture
def version(store, tmp_path):
    return registered(store, tmp_path).version


def approving(*before):
    """Approves each request, after doing what comes next of `before`; what was asked is kept."""
    todo, asked = list(before), []

    def decider(request):
        asked.append(request)
        if todo:
            todo.pop(0)()
        return Answer(True, "bob", "fine")

    return decider, asked


def rolled_back(store):
    """Roll the champion back by an approved request."""
    request = request_rollback(store, MODEL, "champion", requester="zoe", reason="it drifts")
    decide(store, request.request_id, approve=True, actor="bob")
    move(store, request.request_id, actor="bob")


def test_a_changed_policy_sends_the_promotion_back(store, version):
    protect(store)
    decider, asked = approving(lambda: protect(store, approvers=["bob"]))
    run_id, parameters = new_run(version)
    with approvals_from(decider):
        state = execute(run_id, parameters)
    assert state.result()["version"] == version
    first, second = asked
    assert (first.key, second.key) == (f"flow-run-{run_id}", f"flow-run-{run_id}-2")
    assert store.get_request(first.request_id).status is RequestStatus.SUPERSEDED
    assert store.get_request(second.request_id).policy_version == first.policy_version + 1
    found = artifacts_of(run_id)
    assert set(found) == {
        f"promotion-churn-champion-{part}" for part in ("evidence", "decision", "evidence-2", "decision-2")
    }
    assert "SUPERSEDED" in found["promotion-churn-champion-decision"]
    assert "PROMOTED" in found["promotion-churn-champion-decision-2"]


def test_an_alias_that_was_rolled_back_sends_the_promotion_back_but_another_promotion_ends_it(store, version, tmp_path):
    protect(store, emergency=["ops"])
    second, third = (registered(store, tmp_path).version for _ in range(2))
    promoted(store, version)
    promoted(store, second)
    decider, asked = approving(
        lambda: store.rollback(MODEL, "champion", actor="ops", reason="it drifts"), lambda: rolled_back(store)
    )
    run_id, parameters = new_run(third)
    with approvals_from(decider):
        assert execute(run_id, parameters).result()["version"] == third
    assert len(asked) == 3

    winner = []
    decider, asked = approving(lambda: winner.append(promoted(store, version)))
    run_id, parameters = new_run(second)
    with approvals_from(decider):
        state = execute(run_id, parameters)
    assert (state.is_failed(), state.name, len(asked)) == (True, "Superseded", 1)
    assert winner[0] in state.message
    assert f"to version {version}" in state.message
    assert store.get_alias(MODEL, "champion").request_id == winner[0]
    assert winner[0][:8] in artifacts_of(run_id)["promotion-churn-champion-decision"].replace("&#45;", "-")


def test_an_artifact_that_stays_changed_is_asked_for_five_times_at_most(store, version, tmp_path):
    protect(store)
    decider, asked = approving()
    [file] = (tmp_path / "model-0").glob("MLmodel")
    file.write_text(file.read_text() + "\n# changed\n")
    run_id, parameters = new_run(version)
    with approvals_from(decider):
        state = execute(run_id, parameters)
    assert (state.name, len(asked)) == ("Superseded", rounds.MOST)
    assert "artifact" in state.message
    with pytest.raises(NotFoundError):
        store.get_alias(MODEL, "champion")
    assert len(artifacts_of(run_id)) == 2 * rounds.MOST


def test_gates_that_fail_in_the_second_round_ask_nobody(store, version):
    protect(store)
    strict = [{"type": "metric_threshold", "metric": "auc", "minimum": 0.99}]
    decider, asked = approving(lambda: protect(store, gates=strict))
    run_id, parameters = new_run(version)
    with approvals_from(decider):
        state = execute(run_id, parameters)
    assert (state.name, len(asked)) == ("GatesFailed", 1)


def test_an_undecided_request_expires_for_good_and_an_approved_one_is_asked_for_again(store, version, monkeypatch):
    protect(store, expires_after=0.05)
    run_id, parameters = new_run(version)
    state = execute(run_id, parameters)
    assert (state.name, rounds.newest(store, run_id)) == ("Expired", 1)

    protect(store, expires_after=0.3)
    decider, asked = approving()
    slow = []

    def late(*given, **named):
        if not slow:
            slow.append(protect(store))
            time.sleep(0.35)
        return move(*given, **named)

    move = rollout.move_alias
    monkeypatch.setattr(rollout, "move_alias", late)
    run_id, parameters = new_run(version)
    with approvals_from(decider):
        state = execute(run_id, parameters)
    assert state.result()["version"] == version
    assert [store.get_request(each.request_id).status.value for each in asked] == ["EXPIRED", "PROMOTED"]


def test_the_command_says_in_a_sentence_why_a_promotion_was_refused(store, version):
    protect(store, gates=[{"type": "metric_threshold", "metric": "auc", "minimum": 0.99}])
    with pytest.raises(PromotionError, match="was not promoted to @champion: the gate 'metric_threshold' failed"):
        app(["promote", MODEL, str(version)], exit_on_error=False, result_action="return_value")


def test_a_task_whose_answer_was_lost_does_not_do_its_work_twice(store, version, tmp_path, monkeypatch):
    protect(store, gates=[])

    def losing(name):
        work, left = getattr(tasks.announced, name), [1]

        def work_and_lose(*given, **named):
            found = work(*given, **named)
            if left:
                left.pop()
                raise StoreUnavailableError("the answer was lost; try again")
            return found

        monkeypatch.setattr(tasks.announced, name, work_and_lose)

    @flow
    def by_hand():
        at_once = {"retry_delay_seconds": 0}
        second = tasks.register_model.with_options(**at_once)(str(tmp_path / "model-0"), MODEL)
        asked = tasks.request_promotion.with_options(**at_once)(MODEL, second.version, "champion", requester="ann")
        tasks.decide_promotion.with_options(**at_once)(asked.request_id, approve=True, actor="bob")
        return tasks.move_alias.with_options(**at_once)(asked.request_id, actor="bob")

    for name in ("register_model", "request_promotion", "decide", "move"):
        losing(name)
    assert by_hand().version == version + 1
    assert [found.version for found in store.search_model_versions().items] == [version + 1, version]
    [request] = store.list_requests()
    assert len(request.decisions) == len(store.alias_history(MODEL, "champion")) == 1


def kill_around(monkeypatch, place, name, when):
    """Have a function of a module end the process, before or after its work, the first time."""
    work, left = getattr(place, name), [1]

    def killing(*given, **named):
        if when == "before" and left:
            left.pop()
            raise Killed
        found = work(*given, **named)
        if left:
            left.pop()
            raise Killed
        return found

    monkeypatch.setattr(place, name, killing)


def test_killed_at_any_step_and_executed_again_each_step_is_done_once(store, tmp_path, monkeypatch):
    protect(store)
    steps = [
        (promote.gates, "judge", "after"),
        (promote.announced, "request_promotion", "after"),
        (promote, "publish_request", "after"),
        (promote, "await_decision", "after"),
        (rollout, "move_alias", "after"),
        (promote, "_conclusion", "before"),
    ]
    for number, step in enumerate(steps, 1):
        assert registered(store, tmp_path).version == number
        decider, asked = approving()
        run_id, parameters = new_run(number)
        with approvals_from(decider):
            with monkeypatch.context() as patch:
                kill_around(patch, *step)
                with pytest.raises(Killed):
                    execute(run_id, parameters)
            assert execute(run_id, parameters).result()["version"] == number, step
        requests = store.list_requests()
        assert len(requests) == number, step
        assert requests[0].status is RequestStatus.PROMOTED
        assert len(requests[0].decisions) == len(asked) == 1, step
        moves = [move.request_id for move in store.alias_history(MODEL, "champion")]
        assert moves == [request.request_id for request in reversed(requests)], step
        assert len(artifacts_of(run_id)) == 2, step
    assert store.verify_audit() == len(store.audit())
