"""A promotion whose process died is started again by itself: once, and not for ever."""

from __future__ import annotations

import datetime as dt
import sys
import uuid
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter
from prefect.exceptions import Pause
from prefect.states import Cancelled, Crashed, Pending, Running

from prefect_ml.entities import RequestStatus
from prefect_ml.flowruns import promotions, restart
from prefect_ml.flowruns.promotions import CarriedOn, carry_promotions_on
from prefect_ml.flows import promote, rollout
from prefect_ml.flows.approval import Answer, approvals_from
from prefect_ml.flows.rollback import rollback_model

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]
from promoting import MODEL, Killed, deployed_run, execute, new_run, promoted, protect, registered, state_of

from orchestrator import until

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture
def version(store, tmp_path):
    protect(store)
    return registered(store, tmp_path).version


@pytest.fixture(autouse=True)
def _nothing_of_other_tests(prefect_api):
    """Flow runs that other tests left dead are about stores of their own, and so are those of these tests."""
    _forget_flow_runs()
    yield
    _forget_flow_runs()


def _forget_flow_runs():
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs():
            if run.state is not None and not run.state.is_completed():
                client.delete_flow_run(run.id)


def die(monkeypatch, version, place, name, *, after=True, make=deployed_run, **parameters):
    """A flow run whose process died before or after a call."""
    work = getattr(place, name)

    def dying(*given, **named):
        if after:
            work(*given, **named)
        raise Killed

    run_id, parameters = make(version, **parameters)
    with monkeypatch.context() as patch:
        patch.setattr(place, name, dying)
        with pytest.raises(Killed):
            execute(run_id, parameters)
    assert state_of(run_id).is_crashed()
    return run_id, parameters


def set_state(run_id, state):
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, state, force=True)


def test_killed_at_any_step_it_goes_on_by_itself(store, tmp_path, monkeypatch):
    protect(store)
    steps = [
        (promote.gates, "judge", False),
        (promote, "await_decision", False),
        (rollout, "move_alias", False),
        (rollout, "move_alias", True),
    ]
    for number, (place, name, after) in enumerate(steps, 1):
        version = registered(store, tmp_path).version
        with approvals_from(lambda _: Answer(True, "bob")):
            run_id, parameters = die(monkeypatch, version, place, name, after=after)
        assert carry_promotions_on(store) == CarriedOn(restarted=(str(run_id),)), name
        assert state_of(run_id).is_scheduled()
        assert carry_promotions_on(store) == CarriedOn(), name
        with approvals_from(lambda _: Answer(True, "bob")):
            assert execute(run_id, parameters).result()["version"] == version
        assert carry_promotions_on(store) == CarriedOn(), name
        assert len(store.list_requests()) == len(store.alias_history(MODEL, "champion")) == number
        [judged] = store.get_gate_results(f"flow-run-{run_id}")
        assert judged.result.passed


def test_killed_between_two_rounds_it_goes_on_with_the_next_one(store, version, monkeypatch):
    with approvals_from(lambda _: protect(store, approvers=["bob"]) and Answer(True, "bob")):
        run_id, parameters = die(monkeypatch, version, promote.rounds, "why_again")
    assert store.get_request_by_key(f"flow-run-{run_id}").status is RequestStatus.SUPERSEDED
    assert carry_promotions_on(store).restarted == (str(run_id),)
    with approvals_from(lambda _: Answer(True, "bob")):
        assert execute(run_id, parameters).result()["version"] == version


def test_a_rollback_that_waits_for_its_approval_is_started_again_too(store, version, tmp_path, monkeypatch):
    from prefect_ml.flows import rollback

    promoted(store, version)
    promoted(store, registered(store, tmp_path).version)
    run_id, parameters = deployed_run(version, rollback_model, reason="it drifts")
    del parameters["version"]
    with monkeypatch.context() as patch:
        patch.setattr(rollback, "await_decision", _killed)
        with pytest.raises(Killed):
            execute(run_id, parameters, rollback_model)
    assert carry_promotions_on(store).restarted == (str(run_id),)
    with pytest.raises(Pause):
        execute(run_id, parameters, rollback_model)
    assert store.list_requests(status=RequestStatus.PENDING)[0].flow_run_id == str(run_id)


def _killed(*_given, **_named):
    raise Killed


@pytest.mark.long
def test_what_seems_to_run_is_dead_when_its_heart_beats_no_more(version):
    hour = dt.timedelta(hours=1)
    now = dt.datetime.now(dt.UTC)
    beats = {None: (-3 * hour, True), -hour: (-3 * hour, True), 0 * hour: (-3 * hour, False)}
    for last, (since, dead) in beats.items():
        run_id, _ = deployed_run(version)
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(run_id)
            if last is not None:
                beat(client, run_id, now + last)
            assert restart._is_silent(client, run, Running(timestamp=now + since)) is dead, last
            assert restart._is_silent(client, run, Running(timestamp=now - hour)) is (last is not None and dead), last


def beat(client, run_id, at):
    """What Prefect's engine sends while it executes a run."""
    event = {
        "id": str(uuid.uuid4()),
        "event": "prefect.flow-run.heartbeat",
        "occurred": at.isoformat(),
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run_id}"},
    }
    client.request("POST", "/events", json=[event]).raise_for_status()
    of_run = EventFilter(
        event=EventNameFilter(name=[event["event"]]),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{run_id}"]),
    )
    until(lambda: client.read_events(of_run, limit=1).events, "the beat")


def test_one_that_never_got_to_run_and_one_without_a_heart_are_given_more_time(store, version, monkeypatch):
    run_id, _ = deployed_run(version)
    for state, patience in ((Pending(), "SILENT"), (Running(), "SILENT_FROM_THE_START")):
        set_state(run_id, state)
        assert carry_promotions_on(store) == CarriedOn()
        monkeypatch.setattr(restart, patience, dt.timedelta(0))
        assert carry_promotions_on(store).restarted == (str(run_id),)


def test_one_that_dies_each_time_is_left_after_some_times(store, version, monkeypatch, caplog):
    run_id, _ = die(monkeypatch, version, promote.gates, "judge")
    for _ in range(restart.MOST):
        assert carry_promotions_on(store).restarted == (str(run_id),)
        set_state(run_id, Crashed())
    assert carry_promotions_on(store) == CarriedOn()
    assert f"died {restart.MOST + 1} times" in caplog.text


def test_what_nobody_can_execute_or_wants_any_more_is_left_alone(store, version, monkeypatch):
    """Cancelled, no deployment's, or asked for again by somebody since."""
    run_id, _ = die(monkeypatch, version, promote.gates, "judge")
    set_state(run_id, Cancelled())
    die(monkeypatch, version, promote.gates, "judge", make=new_run)
    assert carry_promotions_on(store) == CarriedOn()
    die(monkeypatch, version, promote.gates, "judge")
    promoted(store, version)
    assert carry_promotions_on(store) == CarriedOn()


def test_one_that_nobody_executes_in_time_is_carried_out(store, version, monkeypatch):
    with approvals_from(lambda _: Answer(True, "bob")):
        run_id, parameters = die(monkeypatch, version, rollout, "move_alias", after=False)
    assert carry_promotions_on(store) == CarriedOn(restarted=(str(run_id),))
    monkeypatch.setattr(promotions, "_PATIENCE", 0)
    [request] = store.list_requests()
    assert carry_promotions_on(store) == CarriedOn(carried_out=(request.request_id,))
    assert execute(run_id, parameters).result()["version"] == version
