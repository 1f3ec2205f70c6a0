"""Zero code change: real processes whose flows nobody decorated, recorded by two variables of the environment."""

from __future__ import annotations

import functools
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prefect import Flow, flow, tags
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

import prefect_ml as ml
from prefect_ml.entities import RunStatus
from prefect_ml.flowruns.options import options_of
from prefect_ml.plugin import track_flows
from prefect_ml.store import open_store

HERE = Path(__file__).parent
ON = {"PREFECT_PLUGINS_ENABLED": "1", "PREFECT_ML_TRACK_FLOWS": "true", "PREFECT_ML_SYSTEM_METRICS_INTERVAL": "0"}

pytestmark = pytest.mark.usefixtures("prefect_api")


def environment(home, **more):
    return {**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value(), "PREFECT_ML_HOME": str(home), **more}


def run(arguments, home, **more):
    done = subprocess.run(
        [sys.executable, *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=HERE,
        env=environment(home, **more),
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def recorded(home):
    """The runs in the store of a home by the name of their experiment."""
    store = open_store(f"sqlite:///{home / 'store.db'}")
    found = {}
    for experiment in store.search_experiments().items:
        if runs := store.search_runs([experiment.experiment_id]).items:
            found[experiment.name] = list(runs)
    store.close()
    return found


@pytest.fixture(scope="module")
def untouched(prefect_api, tmp_path_factory):
    home = tmp_path_factory.mktemp("untouched")
    run(["untouched.py"], home, **ON, PREFECT_ML_TRACK_FLOWS_EXCEPT="nothing, etl-*")
    return recorded(home)


def test_every_kind_of_flow_is_recorded_under_its_name(untouched):
    seen = {name: (dict(run.params), dict(run.metrics)) for name, [run, *_] in untouched.items() if name != "child"}
    assert seen == {
        "decorated": ({"x": "4", "name": "a"}, {"squared": 16.0}),
        "made": ({"x": "1"}, {"result": 2.0}),
        "copied": ({"x": "2"}, {"result": 3.0}),
        "asynchronous": ({"x": "5"}, {"x": 5.0}),
        "generating": ({"n": "2"}, {}),
        "generating-async": ({"n": "2"}, {}),
        "failing": ({}, {}),
        "parent": ({}, {"result": 3.0}),
        "spread": ({}, {"result": 7.0}),
        "child-in-a-process": ({"x": "7"}, {"result": 7.0}),
        "fit": ({"rate": "0.5"}, {"result": 0.5}),
        "static": ({"x": "2"}, {"result": 2.0}),
    }


def test_each_ends_as_its_flow_ended(untouched):
    for name, runs in untouched.items():
        assert {run.status for run in runs} == {RunStatus.FAILED if name == "failing" else RunStatus.FINISHED}
        assert all(run.end_time is not None for run in runs)


def test_subflows_are_children(untouched):
    [parent] = untouched["parent"]
    assert [child.tags["mlflow.parentRunId"] for child in untouched["child"]] == [parent.run_id] * 2


def test_the_source_is_the_users_file(untouched):
    assert {run.tags["mlflow.source.name"] for runs in untouched.values() for run in runs} == {
        str(HERE / "untouched.py")
    }


def test_excepted_names_and_tagged_runs_are_left_out(untouched):
    assert not {"etl-orders", "tagged-off"} & set(untouched)


def test_without_the_setting_nothing_is_recorded_nor_imported(home):
    script = """
import prefect, sys
assert "prefect_ml.plugin" in sys.modules
before = {m for m in sys.modules if m.startswith("prefect_ml")}
assert before == {"prefect_ml", "prefect_ml.errors", "prefect_ml.plugin", "prefect_ml.settings"}, before
from prefect import flow
made = flow(lambda: 1, name="free")
assert made.fn.__name__ == "<lambda>" and not hasattr(made.fn, "__prefect_ml_track__")
assert made() == 1
assert {m for m in sys.modules if m.startswith("prefect_ml")} == before
"""
    run(["-c", script], home, PREFECT_PLUGINS_ENABLED="1")
    assert not home.exists()


IN_A_LOOP = """
import asyncio, sys

async def main(remedy):
    from prefect import flow
    if remedy:
        from prefect_ml.plugin import track_flows
        track_flows()

    @flow
    async def notebook() -> int:
        return 4

    assert await notebook() == 4

asyncio.run(main(len(sys.argv) > 1))
"""


def test_prefect_first_imported_in_a_running_loop_says_so_and_one_call_helps(home):
    said = run(["-c", IN_A_LOOP], home, **ON)
    assert "Failed to initialize plugins" in said
    assert not home.exists()
    run(["-c", IN_A_LOOP, "remedy"], home, **ON)
    [found] = recorded(home)["notebook"]
    assert found.metrics == {"result": 4.0}


def test_a_setting_that_cannot_be_read_breaks_no_flow(home):
    script = "from prefect import flow; print(flow(lambda: 1, name='free')() + 41)"
    said = run(["-c", script], home, **ON, PREFECT_ML_HEARTBEAT_TIMEOUT="soon")
    assert "42" in said
    assert "PREFECT_ML_HEARTBEAT_TIMEOUT cannot be read" in said
    assert not home.exists()


@pytest.mark.long
def test_a_worker_loads_untouched_flows_from_files(home):
    """One is killed: the hooks of the worker do not know the plugin, but the process that watches ends the run."""
    with get_client(sync_client=True) as client:
        run(["-m", "prefect", "work-pool", "create", "plugin", "--type", "process"], home)
        ids = {}
        for name in ("decorated", "killed"):
            made = Flow.from_source(source=str(HERE), entrypoint=f"untouched.py:{name}")
            deployment = made.deploy("untouched", "plugin", print_next_steps=False, ignore_warnings=True)
            ids[name] = client.create_flow_run_from_deployment(deployment).id.hex
    run(["-m", "prefect", "worker", "start", "--pool", "plugin", "--run-once"], home, **ON, PREFECT_ML_WATCH="true")
    ended = {"decorated": (ids["decorated"], RunStatus.FINISHED), "killed": (ids["killed"], RunStatus.KILLED)}
    deadline = time.monotonic() + 60
    while (found := statuses(home)) != ended and time.monotonic() < deadline:
        time.sleep(0.5)
    assert found == ended


def statuses(home):
    return {name: (run.run_id, run.status) for name, [run] in recorded(home).items()}


@pytest.fixture
def tracking(monkeypatch):
    """Every flow of this process is tracked, until the end of the test."""
    monkeypatch.setattr(Flow, "__init__", Flow.__init__)
    monkeypatch.setenv("PREFECT_ML_TRACK_FLOWS_EXCEPT", "debug-*")
    track_flows()
    track_flows()


@pytest.mark.usefixtures("tracking")
def test_a_decorator_replaces_what_the_setting_says():
    @ml.track(experiment="mine", tags={"team": "blue"})
    @flow(name="debug-decorated")
    def decorated():
        ml.log_metric("m", 1)

    @ml.track(enabled=False)
    @flow
    def refused():
        return 1

    @flow
    @ml.track(experiment="below")
    def below():
        return 2

    with tags("prefect-ml:off"):
        decorated()
    assert not refused.on_completion_hooks
    refused()
    refused.with_options(name="refused-too")()
    below()
    [run] = ml.search_runs("mine")
    assert (run.tags["team"], run.metrics) == ("blue", {"m": 1.0})
    assert {e.name for e in ml.open_store().search_experiments().items} == {"Default", "mine", "below"}
    assert not ml.search_runs("Default")


@pytest.mark.usefixtures("tracking")
def test_an_excepted_flow_has_no_run_to_log_in():
    @flow
    def ordinary():
        ml.log_metric("m", 1)

    ordinary()
    with pytest.raises(ml.PrefectMLError, match="not tracked"):
        ordinary.with_options(name="debug-ordinary")()
    with tags("prefect-ml:off"), pytest.raises(ml.PrefectMLError, match="not tracked"):
        ordinary()
    [run] = ml.search_runs("ordinary")
    assert run.metrics == {"m": 1.0}


@pytest.mark.usefixtures("tracking")
def test_flows_of_the_package_itself_are_left_alone():
    from prefect_ml.flows.deploy_model import deploy_model

    assert options_of(deploy_model.with_options(name="again").fn) is None


@pytest.mark.usefixtures("tracking")
def test_a_flow_that_cannot_be_tracked_is_made_and_a_warning_says_so(caplog):
    counted = functools.wraps(len)(functools.partial(len))
    with caplog.at_level(logging.WARNING):
        made = Flow(counted, name="odd")
    assert made.fn is counted
    assert "The flow 'odd' will not be tracked" in caplog.text
