"""What a flow or task logs again when it is executed again replaces what it logged before."""

from __future__ import annotations

import pytest
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner

import prefect_ml as ml
from prefect_ml.entities import RunStatus

pytestmark = pytest.mark.usefixtures("prefect_api")


def only_run(experiment):
    [run] = ml.search_runs(experiment)
    return run


def curve(run, key):
    return [(point.step, point.value) for point in ml.get_metric_history(run.run_id, key)]


def test_a_retried_flow_has_each_point_once():
    calls = []

    @ml.track(experiment="retried")
    @flow(retries=1)
    def train():
        calls.append(1)
        for step in range(5):
            ml.log_metric("loss", 10 * len(calls) + step, step=step)
            if step == 2 and len(calls) == 1:
                raise ValueError
        ml.log_metric("loss", 0.5, step=9)

    train()
    run = only_run("retried")
    assert run.status is RunStatus.FINISHED
    assert curve(run, "loss") == [(0, 20.0), (1, 21.0), (2, 22.0), (3, 23.0), (4, 24.0), (9, 0.5)]
    attempts = ml.get_attempts(run.run_id)
    assert [attempt.number for attempt in attempts] == [1, 2]
    assert attempts[-1].outcome is RunStatus.FINISHED


@pytest.mark.parametrize("options", [{}, {"cache_policy": NO_CACHE}, {"persist_result": True}])
def test_mapped_tasks_of_a_retried_flow(options):
    calls = []

    @task(**options)
    def fit(c):
        ml.log_metric("fitted", c, step=0)
        return c

    @ml.track(experiment=f"mapped{len(options)}{list(options)}")
    @flow(retries=1, task_runner=ThreadPoolTaskRunner(max_workers=4))
    def train():
        calls.append(1)
        fit.map([1.0, 2.0, 3.0]).wait()
        if len(calls) == 1:
            raise ValueError

    train()
    run = only_run(f"mapped{len(options)}{list(options)}")
    assert sorted(curve(run, "fitted")) == [(0, 1.0), (0, 2.0), (0, 3.0)]


def test_a_retried_task_has_each_point_once():
    calls = []

    @task(retries=2)
    def fit(c):
        calls.append(c)
        ml.log_metric("loss", len(calls), step=0)
        if c == 2 and calls.count(2) < 3:
            raise ValueError
        ml.log_metric("loss", len(calls), step=1)

    @ml.track(experiment="task")
    @flow
    def train():
        for c in (1, 2, 3):
            fit(c)

    train()
    # calls 1; 2, 3, 4 (the third of c = 2 ends well); 5
    assert curve(only_run("task"), "loss") == [(0, 1.0), (0, 4.0), (0, 5.0), (1, 1.0), (1, 4.0), (1, 5.0)]


def test_a_cached_task_logs_nothing_twice():
    @task(persist_result=True, cache_key_fn=lambda _, parameters: f"fit-{parameters['c']}")
    def fit(c):
        ml.log_metric("loss", c, step=0)
        return c

    @ml.track(experiment="cached")
    @flow
    def train():
        return {"sum": fit(1.0) + fit(1.0)}

    train()
    run = only_run("cached")
    assert run.metrics["sum"] == 2.0
    assert curve(run, "loss") == [(0, 1.0)]
    steps = ml.get_steps(run.run_id)
    assert sorted(step.state for step in steps) in (["Cached", "Completed"], ["Completed"], [])


def test_steps_say_which_task_recorded_what():
    import time

    @task
    def load():
        ml.log_param("rows", 3)

    @task(retries=1)
    def fit(c):
        ml.log_metric("loss", c)
        ml.log_text("x", f"model-{c}.txt")
        ml.set_tag("fitted", c)

    @ml.track(experiment="steps")
    @flow
    def train():
        load()
        fit.map([1, 2]).wait()
        ml.log_metric("done", 1)

    train()
    run = only_run("steps")
    deadline = time.monotonic() + 30
    while True:
        steps = ml.get_steps(run.run_id)
        if [step.state for step in steps] == ["Completed"] * 3 or time.monotonic() > deadline:
            break
        time.sleep(0.3)
    recorded = {step.name.rpartition("-")[0]: step.recorded for step in steps}
    assert recorded["load"] == {"param": ["rows"]}
    found = [step.recorded for step in steps if step.name.startswith("fit")]
    assert sorted(names["artifact"][0] for names in found) == ["model-1.txt", "model-2.txt"]
    assert all(names["metric"] == ["loss"] and names["tag"] == ["fitted"] for names in found)
    assert all(step.start_time and step.end_time and step.run_count == 1 for step in steps)
