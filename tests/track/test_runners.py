"""Tasks on every runner log to the right run: thousands at once, each point exactly once."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path

import pytest
from prefect import flow
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

import prefect_ml as ml
from prefect_ml.entities import RunStatus

sys.path.append(str(Path(__file__).parent))
import flows_for_runners as tasks

pytestmark = [
    pytest.mark.usefixtures("prefect_api"),
    # Prefect, distributed and ray leave sockets and loops to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"),
]


def mapped(runner, count, experiment):
    """Map the task that logs a point over so many numbers; what the tasks told of their run and process."""

    @ml.track(experiment=experiment)
    @flow(task_runner=runner)
    def spread():
        return tasks.point.map(range(count)).result()

    return spread()


def proven(experiment, count):
    """The one run of an experiment, after a look at every point of its curve."""
    [run] = ml.search_runs(experiment)
    assert run.status is RunStatus.FINISHED
    points = ml.get_metric_history(run.run_id, "loss")
    assert [(point.step, point.value) for point in points] == [(n, n / 2) for n in range(count)]
    assert dict(run.params) == {f"param_{n}": str(n) for n in range(0, count, 100)}
    return run


@pytest.mark.parametrize("count", [300, pytest.param(2000, marks=pytest.mark.long)])
def test_hundreds_and_thousands_on_threads(count):
    told = mapped(ThreadPoolTaskRunner(max_workers=16), count, f"{count} threads")
    assert {run_id for run_id, _ in told} == {proven(f"{count} threads", count).run_id}


@pytest.mark.parametrize("count", [30, pytest.param(100, marks=pytest.mark.long)])
def test_dozens_on_processes(count):
    told = mapped(ProcessPoolTaskRunner(max_workers=2), count, f"{count} processes")
    assert {run_id for run_id, _ in told} == {proven(f"{count} processes", count).run_id}
    assert os.getpid() not in {pid for _, pid in told}


@pytest.mark.long
def test_a_thousand_on_dask():
    from prefect_dask import DaskTaskRunner

    options = {"n_workers": 2, "threads_per_worker": 2, "processes": True, "dashboard_address": "127.0.0.1:0"}
    told = mapped(DaskTaskRunner(cluster_kwargs=options), 1000, "dask")
    assert {run_id for run_id, _ in told} == {proven("dask", 1000).run_id}
    assert os.getpid() not in {pid for _, pid in told}


@pytest.mark.long
def test_a_thousand_on_ray(monkeypatch):
    from prefect_ray import RayTaskRunner

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "180")  # on a machine that is busy
    told = mapped(RayTaskRunner(init_kwargs={"num_cpus": 2, "include_dashboard": False}), 1000, "ray")
    assert {run_id for run_id, _ in told} == {proven("ray", 1000).run_id}
    assert os.getpid() not in {pid for _, pid in told}


def test_two_flows_at_once_in_one_process_keep_their_points_apart():
    experiments = ["left", "right"]
    flows = [
        threading.Thread(target=mapped, args=(ThreadPoolTaskRunner(max_workers=4), 50, name)) for name in experiments
    ]
    for thread in flows:
        thread.start()
    for thread in flows:
        thread.join()
    assert len({proven(name, 50).run_id for name in experiments}) == 2


def test_two_asynchronous_flows_at_once_keep_their_points_apart():
    @ml.track(experiment="gathered")
    @flow
    async def f(name: str):
        for step in range(20):
            ml.log_metric("loss", step / 2, step=step)
            await asyncio.sleep(0)
        return tasks.point.map(range(20, 40)).result()[0][0]

    async def both():
        return await asyncio.gather(f("a"), f("b"))

    ids = asyncio.run(both())
    runs = {run.run_id: run for run in ml.search_runs("gathered")}
    assert set(runs) == set(ids)
    for run_id, name in zip(ids, ["a", "b"], strict=True):
        assert runs[run_id].params["name"] == name
        assert [p.step for p in ml.get_metric_history(run_id, "loss")] == list(range(40))


@pytest.mark.parametrize(
    "runner",
    [ThreadPoolTaskRunner(max_workers=8), pytest.param(ProcessPoolTaskRunner(max_workers=2), marks=pytest.mark.long)],
)
def test_calls_whose_arguments_look_alike_are_calls_of_their_own(runner):
    """Their arguments are as long as each other, and too long to be read to the end."""

    @ml.track(experiment="alike")
    @flow(task_runner=runner)
    def f():
        return tasks.alike.map([[0.0] * 200 + [float(n)] for n in range(20)]).result()

    f()
    [run] = ml.search_runs("alike")
    assert [(p.step, p.value) for p in ml.get_metric_history(run.run_id, "alike")] == [(n, n) for n in range(20)]


@pytest.mark.parametrize("runner", [ThreadPoolTaskRunner(max_workers=8), ProcessPoolTaskRunner(max_workers=2)])
def test_a_task_called_by_a_task_logs_to_the_same_run(runner):
    @ml.track(experiment="nested")
    @flow(task_runner=runner)
    def f():
        return tasks.outer.map(range(20)).result()

    f()
    [run] = ml.search_runs("nested")
    for key in ("outer", "inner"):
        assert [p.step for p in ml.get_metric_history(run.run_id, key)] == list(range(20))


@pytest.mark.parametrize(
    "runner",
    [ThreadPoolTaskRunner(max_workers=2), pytest.param(ProcessPoolTaskRunner(max_workers=2), marks=pytest.mark.long)],
)
def test_a_subflow_called_by_a_task_is_a_child(runner):
    @ml.track(experiment="parents")
    @flow(task_runner=runner)
    def f():
        return tasks.call_child.map(range(3)).result()

    pids = f()
    assert (os.getpid() in pids) is isinstance(runner, ThreadPoolTaskRunner)
    [parent] = ml.search_runs("parents")
    children = ml.search_runs("children")
    assert sorted(run.metrics["own"] for run in children) == [0, 1, 2]
    assert {run.tags.get("mlflow.parentRunId") for run in children} == {parent.run_id}
    assert "own" not in parent.metrics


def test_a_subflow_of_a_generator_is_its_child():
    @ml.track(experiment="generators")
    @flow
    def numbers():
        for number in range(2):
            yield tasks.child(number)

    @ml.track(experiment="consumers")
    @flow
    def consume():
        return sum(numbers())

    consume()
    [consumer] = ml.search_runs("consumers")
    [generator] = ml.search_runs("generators")
    assert generator.tags["mlflow.parentRunId"] == consumer.run_id
    assert [c.tags["mlflow.parentRunId"] for c in ml.search_runs("children")] == [generator.run_id] * 2


def test_a_subflow_of_an_asynchronous_generator_is_its_child():
    @ml.track(experiment="generators")
    @flow
    async def numbers():
        for number in range(2):
            yield tasks.child(number)

    async def consume():
        return [number async for number in numbers()]

    asyncio.run(consume())
    [generator] = ml.search_runs("generators")
    assert [c.tags["mlflow.parentRunId"] for c in ml.search_runs("children")] == [generator.run_id] * 2


def test_a_subflow_of_an_untracked_flow_is_the_child_of_the_run_around_that():
    @flow
    def between():
        tasks.child(1)
        with ml.start_run(name="inner"):
            tasks.child(2)

    @ml.track(experiment="grandparents")
    @flow
    def f():
        between()

    f()
    by_name = {run.name: run for run in ml.search_runs("grandparents")}
    inner = by_name.pop("inner")
    [grandparent] = by_name.values()
    parents = {run.metrics["own"]: run.tags["mlflow.parentRunId"] for run in ml.search_runs("children")}
    assert parents == {1: grandparent.run_id, 2: inner.run_id}
