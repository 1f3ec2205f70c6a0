"""`@track` on flows that a real Prefect API orchestrates."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest
from prefect import Flow, flow, task
from prefect.client.orchestration import get_client
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner
from pydantic import SecretStr

import prefect_ml as ml
from prefect_ml.entities import RunStatus
from prefect_ml.errors import InvalidInputError, NoActiveRunError, ParamConflictError

sys.path.append(str(Path(__file__).parent))
import flows_for_pools as pools

pytestmark = pytest.mark.usefixtures("prefect_api")


def only_run(experiment: str):
    [run] = ml.search_runs(experiment)
    return run


def test_params_returned_numbers_name_and_tags():
    @ml.track(experiment="churn", tags={"team": "blue"})
    @flow
    def train(c: float = 1.0, layers: list[int] | None = None) -> dict:
        return {"auc": 0.9, "n": 3, "note": "text is no metric", "flag": True, "c": c, "nan": float("nan")}

    train(layers=[1, 2])
    run = only_run("churn")
    assert run.status is RunStatus.FINISHED
    assert run.params == {"c": "1.0", "layers": "[1,2]"}
    assert {k: v for k, v in run.metrics.items() if k != "nan"} == {"auc": 0.9, "n": 3.0, "c": 1.0}
    assert run.metrics["nan"] != run.metrics["nan"]
    assert run.tags["team"] == "blue"
    assert run.tags["prefect_ml.flow_name"] == "train"
    assert uuid.UUID(run.tags["prefect_ml.flow_run_id"]).hex == run.run_id
    assert run.tags["mlflow.source.name"] == __file__
    assert run.tags["mlflow.source.git.commit"]
    assert run.end_time is not None
    assert run.end_time >= run.start_time


def test_bare_decorator_uses_the_flows_name():
    @ml.track
    @flow(name="bare-flow", flow_run_name="named-{x}")
    def f(x: int) -> float:
        return x / 2

    assert f(5) == 2.5
    run = only_run("bare-flow")
    assert (run.name, run.metrics) == ("named-5", {"result": 2.5})


def test_below_flow_works_too():
    @flow
    @ml.track(experiment="below")
    def f() -> int:
        ml.log_metric("inside", 1)
        return 2

    f()
    run = only_run("below")
    assert (run.status, run.metrics) == (RunStatus.FINISHED, {"inside": 1.0, "result": 2.0})


def test_prefect_sees_the_users_function():
    @ml.track(experiment="same")
    @flow
    def f(x: int, y: str = "a") -> str:
        """Words."""
        return f"{x}{y}"

    assert isinstance(f, Flow)
    assert inspect.getfile(f.fn) == __file__
    assert list(f.parameters.properties) == ["x", "y"]
    assert f.fn.__doc__ == "Words."
    assert f.fn(1) == "1a"
    assert f.with_options(name="other").name == "other"
    assert f("7") == "7a"  # coerced by Prefect


def test_a_copy_by_with_options_is_tracked():
    @ml.track(experiment="copied")
    @flow
    def f():
        return 1

    f.with_options(name="second")()
    assert only_run("copied").status is RunStatus.FINISHED


def test_an_exception_fails_the_run_and_reaches_the_caller():
    @ml.track(experiment="failing")
    @flow
    def f():
        ml.log_metric("before", 1)
        raise ZeroDivisionError("boom")

    with pytest.raises(ZeroDivisionError, match="boom"):
        f()
    run = only_run("failing")
    assert (run.status, run.metrics) == (RunStatus.FAILED, {"before": 1.0})


def test_a_failure_before_the_function_runs_is_recorded():
    @ml.track(experiment="invalid")
    @flow
    def f(x: int):
        return x

    with pytest.raises(Exception, match="valid integer"):
        f("text")
    assert only_run("invalid").status is RunStatus.FAILED


def test_a_retried_flow_run_continues_its_run():
    seen = []

    @ml.track(experiment="retried")
    @flow(retries=1)
    def f():
        seen.append(ml.current_run().run_id)
        ml.log_metric("loss", 0.5, step=1, timestamp=1000)
        ml.log_param("p", 1)
        if len(seen) == 1:
            raise ValueError("first")

    f()
    run = only_run("retried")
    assert set(seen) == {run.run_id}
    assert run.status is RunStatus.FINISHED
    assert len(ml.get_metric_history(run.run_id, "loss")) == 1


def test_an_async_flow_with_async_tasks():
    @task
    async def step(n: int):
        ml.log_metric("loss", n, step=n)

    @ml.track(experiment="async")
    @flow
    async def f(n: int) -> dict:
        await asyncio.gather(*[step(i) for i in range(n)])
        return {"n": n}

    asyncio.run(f(3))
    run = only_run("async")
    assert run.status is RunStatus.FINISHED
    assert run.metrics["n"] == 3
    assert [p.step for p in ml.get_metric_history(run.run_id, "loss")] == [0, 1, 2]
    assert len(artifacts_of(run)) == 1


def test_a_sync_flow_called_in_a_running_loop():
    @ml.track(experiment="sync-in-loop")
    @flow
    def f():
        return 1

    async def main():
        f()

    asyncio.run(main())
    assert only_run("sync-in-loop").status is RunStatus.FINISHED


def test_generator_flows():
    @ml.track(experiment="generator")
    @flow
    def f(n: int):
        for i in range(n):
            ml.log_metric("i", i, step=i)
            yield i

    @ml.track(experiment="async-generator")
    @flow
    async def g(n: int):
        for i in range(n):
            ml.log_metric("i", i, step=i)
            yield i

    async def consume():
        return [x async for x in g(3)]

    assert list(f(3)) == [0, 1, 2]
    assert asyncio.run(consume()) == [0, 1, 2]
    for name in ("generator", "async-generator"):
        run = only_run(name)
        assert run.status is RunStatus.FINISHED
        assert len(ml.get_metric_history(run.run_id, "i")) == 3


class Trainer:
    def __init__(self, rate: float) -> None:
        self.rate = rate

    @ml.track(experiment="methods")
    @flow
    def fit(self, n: int) -> float:
        return self.rate * n


def test_methods():
    assert Trainer(0.5).fit(4) == 2
    run = only_run("methods")
    assert run.metrics == {"result": 2.0}
    assert run.params == {"n": "4"}


def test_secrets_are_masked():
    @ml.track(experiment="secrets")
    @flow
    def f(key: SecretStr):
        return len(key.get_secret_value())

    f(SecretStr("hunter2"))
    run = only_run("secrets")
    assert "hunter2" not in run.params["key"]
    assert run.metrics == {"result": 7.0}


def test_functions_classes_tasks_and_flows_are_params_by_name():
    @task
    def step():
        pass

    @ml.track(experiment="named")
    @flow(validate_parameters=False)
    def f(function, class_, task_, flow_):
        pass

    f(only_run, Trainer, step, f)
    params = only_run("named").params
    within = "test_functions_classes_tasks_and_flows_are_params_by_name.<locals>"
    assert params["function"] == f"{__name__}:only_run"
    assert params["class_"] == f"{__name__}:Trainer"
    assert params["task_"] == f"{__name__}:{within}.step"
    assert params["flow_"] == f"{__name__}:{within}.f"


def test_subflows():
    @flow
    def untracked():
        ml.log_metric("from_untracked", 1)

    @ml.track(experiment="children")
    @flow
    def child(i: int):
        ml.log_metric("i", i)

    @ml.track(experiment="parents")
    @flow
    def parent():
        for i in range(2):
            child(i)
        untracked()
        ml.log_metric("own", 1)

    parent()
    run = only_run("parents")
    assert run.metrics == {"from_untracked": 1.0, "own": 1.0}
    children = ml.search_runs("children")
    assert sorted(c.metrics["i"] for c in children) == [0, 1]
    assert {c.tags["mlflow.parentRunId"] for c in children} == {run.run_id}


def test_start_run_inside_a_flow_is_a_child():
    @ml.track(experiment="outer")
    @flow
    def f():
        with ml.start_run(name="inner"):
            ml.log_metric("m", 1)
        ml.log_metric("m", 2)

    f()
    by_name = {run.name: run for run in ml.search_runs("outer")}
    inner = by_name.pop("inner")
    [outer] = by_name.values()
    assert (inner.metrics, outer.metrics) == ({"m": 1.0}, {"m": 2.0})
    assert inner.tags["mlflow.parentRunId"] == outer.run_id


@pytest.mark.parametrize("asynchronous", [False, True])
def test_tasks_in_threads(asynchronous):
    def body():
        found = pools.log_here.map(range(6)).result()
        handed = pools.log_by_handle.submit(ml.current_run(), 5).result()
        return {*[i for i, _ in found], handed}

    if asynchronous:

        @ml.track(experiment="threads")
        @flow(task_runner=ThreadPoolTaskRunner(max_workers=3))
        async def f():
            return body()

        ids = asyncio.run(f())
    else:

        @ml.track(experiment="threads")
        @flow(task_runner=ThreadPoolTaskRunner(max_workers=3))
        def f():
            return body()

        ids = f()
    run = only_run("threads")
    assert ids == {run.run_id}
    assert len(ml.get_metric_history(run.run_id, "loss")) == 6
    assert run.metrics["handed"] == 5


@pytest.mark.parametrize("asynchronous", [False, True])
def test_tasks_in_processes(asynchronous, home):
    def body():
        found = pools.log_here.map(range(6)).result()
        handed = pools.log_by_handle.submit(ml.current_run(), 5).result()
        assert os.getpid() not in {pid for _, pid in found}
        return {*[i for i, _ in found], handed}

    runner = ProcessPoolTaskRunner(max_workers=2)
    if asynchronous:

        @ml.track(experiment="processes")
        @flow(task_runner=runner)
        async def f():
            return body()

        ids = asyncio.run(f())
    else:

        @ml.track(experiment="processes")
        @flow(task_runner=runner)
        def f():
            return body()

        ids = f()
    run = only_run("processes")
    assert ids == {run.run_id}
    assert run.status is RunStatus.FINISHED
    assert len(ml.get_metric_history(run.run_id, "loss")) == 6
    assert len([p for p in run.params if p.startswith("param_")]) == 6
    assert ml.flush()
    assert not list((home / "journal").glob("*/*.journal"))


def test_log_outside_any_run_names_the_remedies():
    @flow
    def untracked():
        ml.log_metric("x", 1)

    with pytest.raises(NoActiveRunError, match=r"not tracked.*@prefect_ml\.track"):
        untracked()
    with pytest.raises(NoActiveRunError, match="start_run"):
        ml.log_metric("x", 1)


def test_bad_input_at_a_log_call_fails_the_flow_with_its_sentence():
    @ml.track(experiment="bad-input")
    @flow
    def f(c: int = 1):
        ml.log_param("c", 2)

    with pytest.raises(ParamConflictError, match="'c' is '1' already"):
        f()
    run = only_run("bad-input")
    assert (run.status, run.params) == (RunStatus.FAILED, {"c": "1"})


def test_track_refuses_what_is_no_flow():
    with pytest.raises(InvalidInputError, match="directly above"):
        ml.track(3)


def artifacts_of(run):
    with get_client(sync_client=True) as client:
        found = client.read_artifacts()
    return [a for a in found if a.flow_run_id and a.flow_run_id.hex == run.run_id and a.type == "markdown"]


def test_one_summary_in_prefects_ui():
    @ml.track(experiment="Sum up!")
    @flow
    def f(note: str = "a|b\n# <b>loud</b>"):
        return {"auc": 0.5}

    f()
    run = only_run("Sum up!")
    [artifact] = artifacts_of(run)
    assert artifact.type == "markdown"
    assert artifact.key == "sum-up-run"
    assert f"prefect-ml runs show {run.run_id}" in artifact.data
    assert f"](<file://{run.artifact_uri}>)" in artifact.data
    assert "| auc | 0.5 |" in artifact.data
    assert r"a\|b \# \<b\>loud\</b\>" in artifact.data


def test_a_failed_run_has_a_summary_too():
    @ml.track(experiment="failed-summary")
    @flow
    def f():
        raise ValueError("x")

    f(return_state=True)
    assert len(artifacts_of(only_run("failed-summary"))) == 1


def test_a_cancelled_flow_run_is_killed():
    from prefect.states import Cancelled

    @ml.track(experiment="cancelled")
    @flow
    def f():
        return Cancelled()

    f(return_state=True)
    run = only_run("cancelled")
    assert run.status is RunStatus.KILLED


def test_a_store_that_is_away_never_reaches_the_flow(home, monkeypatch, caplog):
    monkeypatch.setenv("PREFECT_ML_FLUSH_TIMEOUT", "0.5")
    home.mkdir(parents=True)
    blocker = home / "no-folder"
    blocker.write_text("a file where the store's folder should be")
    monkeypatch.setenv("PREFECT_ML_STORE_URL", f"sqlite:///{blocker}/store.db")

    @ml.track(experiment="away")
    @flow
    def f():
        ml.log_metric("loss", 1)
        ml.log_text("hello", "note.txt")
        return {"auc": 1}

    with caplog.at_level(logging.WARNING):
        assert f() == {"auc": 1}
    assert "The store is away" in caplog.text
    blocker.unlink()
    from prefect_ml.tracking.sync import sync_journals

    assert ml.flush(10)
    sync_journals(ml.open_store())
    run = only_run("away")
    assert (run.status, run.metrics) == (RunStatus.FINISHED, {"loss": 1.0, "auc": 1.0})
    assert (Path(run.artifact_uri) / "note.txt").read_text() == "hello"


def test_a_thread_of_ones_own_needs_the_context():
    import contextvars

    @ml.track(experiment="own-thread")
    @flow
    def f():
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(ml.log_metric, "m", 1))
        thread.start()
        thread.join()

    f()
    assert only_run("own-thread").metrics == {"m": 1.0}


def test_a_log_call_in_a_task_returns_in_microseconds():
    @task
    def work() -> list[int]:
        found = []
        for step in range(20_000):
            start = time.perf_counter_ns()
            ml.log_metric("loss", step / 7, step=step)
            found.append(time.perf_counter_ns() - start)
        return sorted(found)

    @ml.track(experiment="latency")
    @flow
    def f() -> float:
        return work()[19_800] / 1000

    assert min(f() for _ in range(3)) < 50


def test_a_flow_killed_by_the_system_is_marked_by_sync(home):
    script = """
import os, signal
from prefect import flow
import prefect_ml as ml

@ml.track(experiment="killed")
@flow
def f():
    ml.log_metric("loss", 1)
    os.kill(os.getpid(), signal.SIGKILL)

f()
"""
    from prefect.settings import PREFECT_API_URL

    environment = {**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value()}
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, env=environment)
    assert done.returncode == -9
    from prefect_ml.tracking.sync import sync_journals

    [report] = sync_journals(ml.open_store())
    assert report.finished
    run = only_run("killed")
    assert (run.status, run.metrics) == (RunStatus.KILLED, {"loss": 1.0})
    assert not list(home.glob("journal/*"))


def test_the_hook_of_another_process_ends_the_run():
    """A worker calls the hooks in a process that has never seen the run, with the flow run alone."""
    from prefect.states import Cancelling, Crashed

    from prefect_ml.flowruns.states import end_run

    @ml.track(experiment="supervised", tags={"team": "blue"})
    @flow
    def f(): ...

    with get_client(sync_client=True) as client:
        for state, status in ((Crashed(), RunStatus.KILLED), (Cancelling(), RunStatus.KILLED)):
            flow_run = client.create_flow_run(f)
            assert end_run(f, flow_run, state) is None
            run = ml.get_run(flow_run.id.hex)
            assert (run.status, run.name, run.tags["team"]) == (status, flow_run.name, "blue")
            assert len(artifacts_of(run)) == 1
    assert len(ml.search_runs("supervised")) == 2


def test_sigterm_of_a_script_ends_the_run():
    script = """
import os, signal
from prefect import flow
import prefect_ml as ml

@ml.track(experiment="terminated")
@flow
def f():
    ml.log_metric("loss", 1)
    os.kill(os.getpid(), signal.SIGTERM)
    import time
    time.sleep(5)

f()
"""
    from prefect.settings import PREFECT_API_URL

    environment = {**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value()}
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, env=environment)
    assert done.returncode != 0
    run = only_run("terminated")
    assert (run.status, run.metrics) == (RunStatus.KILLED, {"loss": 1.0})


def test_a_nested_flow_by_cloudpickle_is_tracked_still():
    import cloudpickle

    @ml.track(experiment="pickled")
    @flow
    def f():
        return 3

    again = cloudpickle.loads(cloudpickle.dumps(f))
    again()
    assert only_run("pickled").metrics == {"result": 3.0}
