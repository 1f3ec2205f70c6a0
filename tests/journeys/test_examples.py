"""The examples do what their first lines say."""

from __future__ import annotations

import ast
import asyncio
import gc
import logging
import runpy
import sqlite3
import time
from pathlib import Path

import pytest

import prefect_ml as ml

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.usefixtures("prefect_api")
def test_a_flow_of_ones_own_is_recorded_and_its_model_registered():
    module = runpy.run_path(str(EXAMPLES / "train_diabetes.py"), run_name="example")
    returned = module["train_diabetes"](alpha=0.01)
    (run,) = ml.search_runs("diabetes")
    assert run.params == {"alpha": "0.01"}
    assert dict(run.metrics) == pytest.approx(returned)
    assert run.status == "FINISHED"
    x = module["load"].fn()[1]
    model = ml.load_model("models:/diabetes/1")
    assert len(model.predict(x)) == len(x)
    assert set(ml.load_model(f"runs:/{run.run_id}/model").signature.to_mlmodel()) == {"inputs", "outputs", "params"}


def example(name):
    """What an example defines."""
    return runpy.run_path(str(EXAMPLES / name), run_name="example")


def steps_of(run, count):
    """The steps of a run, once Prefect's API knows how each of them ended."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = ml.get_steps(run.run_id)
        if len(found) == count and all(step.state in {"Completed", "Cached", "Failed"} for step in found):
            return {step.name: step for step in found}
        time.sleep(0.2)
    raise AssertionError(f"{count} steps are not complete: {found}")


@pytest.mark.parametrize("name", ["etl_orders.py", "training_mapped_digits.py", "async_prices.py"])
def test_one_line_is_all_that_an_ordinary_flow_gets(name):
    tree = ast.parse((EXAMPLES / name).read_text())
    used = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "ml"]
    assert len(used) == 1
    [decorator] = [
        ast.unparse(d)
        for f in tree.body
        if hasattr(f, "decorator_list")
        for d in f.decorator_list[:1]
        if used[0] in ast.walk(d)
    ]
    assert decorator == "ml.track"


class Arrival(logging.Handler):
    """Lets something happen when Prefect says that a task will be tried again."""

    def __init__(self, happen):
        super().__init__()
        self.happen = happen

    def emit(self, record):
        if "Retry" in record.getMessage():
            self.happen()


@pytest.mark.usefixtures("prefect_api")
def test_an_etl_whose_export_comes_late(tmp_path):
    module = example("etl_orders.py")
    day = "2026-03-02"
    module["write_exports"](tmp_path, day)
    late = tmp_path / f"lisbon-{day}.csv"
    export = late.read_text()
    late.unlink()
    database = tmp_path / "warehouse.db"
    log, arrival = logging.getLogger("prefect.task_runs"), Arrival(lambda: late.write_text(export))
    log.addHandler(arrival)
    try:
        returned = module["etl_orders"](tmp_path, database, ["berlin", "lisbon"], day)
    finally:
        log.removeHandler(arrival)

    assert returned == {"extracted": 7, "loaded": 4, "revenue": 103.4}
    [run] = ml.search_runs("etl-orders")
    assert run.status == "FINISHED"
    assert dict(run.metrics) == returned
    assert dict(run.params) == {
        "folder": str(tmp_path),
        "database": str(database),
        "shops": '["berlin","lisbon"]',
        "day": day,
    }
    steps = steps_of(run, 4)
    assert steps["extract-berlin"].run_count == 1
    assert steps["extract-lisbon"].run_count > 1

    assert module["etl_orders"](tmp_path, database, ["berlin", "lisbon"], day) == returned
    again = next(r for r in ml.search_runs("etl-orders") if r.run_id != run.run_id)
    assert dict(again.metrics) == returned
    assert {name: steps_of(again, 4)[name].state for name in ("extract-berlin", "extract-lisbon")} == {
        "extract-berlin": "Cached",
        "extract-lisbon": "Cached",
    }


@pytest.mark.usefixtures("prefect_api")
def test_an_etl_whose_database_is_away_fails_and_its_run_says_so(tmp_path):
    module = example("etl_orders.py")
    day = "2026-03-03"
    module["write_exports"](tmp_path, day)
    etl = module["etl_orders"].with_options(retries=0)
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        etl(tmp_path, tmp_path / "nowhere" / "warehouse.db", ["berlin"], day)
    [run] = ml.search_runs("etl-orders")
    assert run.status == "FAILED"
    assert not run.metrics
    assert run.params["shops"] == '["berlin"]'
    steps = steps_of(run, 3)
    load = next(step for name, step in steps.items() if name.startswith("load"))
    assert (load.state, load.run_count) == ("Failed", 4)


@pytest.mark.usefixtures("prefect_api")
def test_a_training_flow_with_mapped_tasks_and_retries():
    module = example("training_mapped_digits.py")
    returned = module["train_digits"]([0.001, 0.1], test_share=0.5)
    assert returned["c"] == 0.1
    assert returned["iterations"] > 20
    [run] = ml.search_runs("train-digits")
    assert run.status == "FINISHED"
    assert dict(run.metrics) == returned
    assert dict(run.params) == {"candidates": "[0.001,0.1]", "test_share": "0.5"}
    steps = steps_of(run, 4)
    assert {name.partition("-")[0] for name in steps} == {"load", "fit", "best_of"}
    assert (steps["fit-0.001"].run_count, steps["fit-0.1"].run_count) == (1, 2)


@pytest.mark.usefixtures("prefect_api")
def test_an_asynchronous_flow_that_asks_an_api_which_is_busy_at_first():
    module = example("async_prices.py")
    server = module["start_catalogue"]()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        returned = asyncio.run(module["price_report"](url, "USD"))
    finally:
        server.shutdown()
        server.server_close()
    assert returned == {"products": 40, "median": 19.625, "highest": 34.25}
    [run] = ml.search_runs("price-report")
    assert run.status == "FINISHED"
    assert dict(run.metrics) == returned
    assert dict(run.params) == {"base_url": url, "currency": "USD"}
    steps = steps_of(run, 6)
    assert {name: step.run_count for name, step in steps.items() if name.startswith("page-")} == {
        f"page-{page}": 2 for page in range(5)
    }
    gc.collect()


@pytest.mark.usefixtures("prefect_api")
def test_a_model_whose_customers_change_and_the_version_that_is_trained_for_that(tmp_path):
    module = example("closed_loop.py")
    assert module["champion_of_today"]() == 1
    log = str(tmp_path / "log")
    module["traffic"](log, module["OLD"], seed=5)
    [found] = module["detect_drift"](module["MODEL"], log=log)
    assert (found["version"], found["told"]) == (1, True)
    assert found["columns"] == ["input.age", "output.prediction"]
    # An automation starts this on the event, as tests/drift has it.
    assert module["train_spending"](module["OLD"], because="drift") == 2
    asked = module["newer_than"](1)
    assert (asked.version, asked.status) == (2, "PENDING")


@pytest.mark.usefixtures("prefect_api")
def test_a_pipeline_of_a_project_runs_only_what_has_changed(tmp_path):
    pipeline = example("wine_pipeline/pipeline.py")["pipeline"]

    def steps():
        runs = ml.search_runs("wine pipeline", "tags.`mlflow.project.entryPoint` != ''")
        return sorted(run.tags["mlflow.project.entryPoint"] for run in runs)

    first = pipeline(str(tmp_path))
    assert first["accuracy"] > 0.9
    assert steps() == ["judge", "prepare", "train"]
    pipeline(str(tmp_path), depth=1)
    assert steps() == ["judge", "judge", "prepare", "train", "train"]
