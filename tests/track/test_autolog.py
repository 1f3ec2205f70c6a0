"""Autolog in tracked flows: in the flow's own code and in its tasks, wherever they run."""

from __future__ import annotations

import sys
from pathlib import Path
from uuid import UUID

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.task_runners import ProcessPoolTaskRunner

import prefect_ml as ml
from orchestrator import until

sys.path.append(str(Path(__file__).parent))
import flows_for_autolog as flows

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture(autouse=True)
def restored():
    yield
    ml.autolog(disable=True)


def fitted():
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=0.5).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])


def only_run(experiment):
    [run] = ml.search_runs(experiment)
    return run


def lines_of(run_id):
    """What the log of a flow run says in Prefect."""
    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[UUID(run_id)]))
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/logs/filter", json={"logs": wanted.model_dump(mode="json")}).json()
    return [line["message"] for line in found]


def test_a_flow_that_asks_for_it():
    fit = task(fitted)

    @ml.track(experiment="asked", autolog=True)
    @flow
    def train():
        fit()

    @ml.track(experiment="silent")
    @flow
    def other():
        fitted()

    train()
    other()
    run = only_run("asked")
    assert run.params["C"] == "0.5"
    said = run.tags["prefect_ml.autolog"]
    until(lambda: f"Autolog recorded in run {run.run_id}: {said}" in lines_of(run.run_id), "its line in Prefect's log")
    assert any("accuracy" in key for key in run.metrics)
    assert run.tags["prefect_ml.autolog"].startswith("sklearn")
    assert [version.source for version in ml.open_store().search_model_versions().items] == []
    assert ml.load_model(f"runs:/{run.run_id}/model").predict([[3.0]]) == [1]
    assert "C" not in only_run("silent").params


def test_a_flow_within_says_for_itself_when_it_is_tracked():
    @flow
    def untracked():
        fitted()

    @ml.track(experiment="inner")
    @flow
    def tracked():
        fitted()

    @ml.track(experiment="outer", autolog=True)
    @flow
    def train():
        untracked()
        tracked()

    train()
    assert only_run("outer").params["C"] == "0.5"
    assert only_run("inner").params == {}


def test_a_process_that_asks_for_it_and_a_flow_that_does_not_want_it():
    ml.autolog(["sklearn"])

    @ml.track(experiment="everywhere")
    @flow
    def train():
        fitted()

    @ml.track(experiment="unwanted", autolog=False)
    @flow
    def other():
        fitted()

    train()
    other()
    assert only_run("everywhere").params["C"] == "0.5"
    assert only_run("unwanted").params == {}


@pytest.mark.long
def test_tasks_in_other_processes():
    runner = ProcessPoolTaskRunner(max_workers=1)
    flows.train.with_options(task_runner=runner)()
    run = only_run("autolog in processes")
    assert run.params["C"] == "0.25"
    assert run.tags["prefect_ml.autolog"].startswith("sklearn")
