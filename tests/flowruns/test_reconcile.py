"""What only Prefect knows of a run when no process of it is left: its steps, and the end of a suspended one."""

from __future__ import annotations

import time
import uuid

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.states import Cancelled, Completed, Failed, Paused, Running

import prefect_ml as ml
from prefect_ml.entities import RunStatus, Step
from prefect_ml.flowruns.reconcile import reconcile
from prefect_ml.flowruns.steps import FLOW_RUN_TAG, SYNCED_TAG

pytestmark = pytest.mark.usefixtures("prefect_api")


@flow
def anything(): ...


@task
def work(): ...


@pytest.fixture
def store():
    opened = ml.open_store()
    yield opened
    opened.close()


@pytest.fixture
def client():
    with get_client(sync_client=True) as made:
        yield made


def recorded(store, flow_run_id, status, *, ended=None):
    """A run of a flow run, as its process left it."""
    experiment = store.create_experiment(f"e-{flow_run_id}")
    run = store.create_run(experiment, run_id=flow_run_id.hex, tags={FLOW_RUN_TAG: str(flow_run_id)})
    store.update_run(run.run_id, status=status, end_time=ended)
    return run.run_id


def two_minutes_ago():
    return time.time_ns() // 1_000_000 - 120_000


def test_suspended_runs_end_as_their_flow_runs_did(store, client):
    """Cancelled in the UI, or not resumed in time; others go on waiting, those of another Prefect are left alone."""
    ends = {Cancelled: RunStatus.KILLED, Failed: RunStatus.FAILED, Paused: RunStatus.SCHEDULED}
    flow_runs = {kind: client.create_flow_run(anything, state=kind()) for kind in ends}
    runs = {kind: recorded(store, each.id, RunStatus.SCHEDULED) for kind, each in flow_runs.items()}
    elsewhere = recorded(store, uuid.uuid4(), RunStatus.SCHEDULED)
    done = reconcile(store, 120)
    assert set(done.ended) == {runs[Cancelled], runs[Failed]}
    for kind, status in ends.items():
        run = store.get_run(runs[kind])
        state = client.read_flow_run(flow_runs[kind].id).state
        assert run.status is status
        assert run.end_time == (int(state.timestamp.timestamp() * 1000) if status.ended else None)
    assert store.get_run(elsewhere).status is RunStatus.SCHEDULED
    assert reconcile(store, 120).ended == ()


def test_a_prefect_that_does_not_know_the_flow_run_says_nothing_of_its_steps(store):
    run_id = recorded(store, uuid.uuid4(), RunStatus.FINISHED, ended=two_minutes_ago())
    known = Step("t1", "load", "load", "Running", 1, None, 1)
    store.save_steps(run_id, [known])
    assert ml.get_steps(run_id) == [known]
    assert SYNCED_TAG not in store.get_run(run_id).tags, "the right one is still to be asked"


def test_steps_are_looked_at_until_all_have_ended(store, client):
    """As those that Prefect's server learns of late, or whose processes outlive that of the flow."""
    flow_run = client.create_flow_run(anything, state=Completed())
    run_id = recorded(store, flow_run.id, RunStatus.FINISHED, ended=two_minutes_ago())
    task_runs = [client.create_task_run(work, flow_run.id, str(n), state=Running()) for n in range(2)]
    for ended in range(3):
        states = sorted(step.state for step in ml.get_steps(run_id))
        assert states == ["Completed"] * ended + ["Running"] * (2 - ended)
        assert (SYNCED_TAG in store.get_run(run_id).tags) is (ended == 2)
        if ended < 2:
            client.set_task_run_state(task_runs[ended].id, Completed(), force=True)


def test_more_steps_than_are_asked_for_at_once_are_each_there_once(store, client, monkeypatch):
    monkeypatch.setattr("prefect_ml.flowruns.steps._PAGE", 10)
    flow_run = client.create_flow_run(anything, state=Completed())
    run_id = recorded(store, flow_run.id, RunStatus.FINISHED, ended=two_minutes_ago())
    made = {client.create_task_run(work, flow_run.id, str(n), name=f"n{n}").id.hex for n in range(31)}
    steps = ml.get_steps(run_id)
    assert {step.task_run_id for step in steps} == made
    assert len(steps) == 31
