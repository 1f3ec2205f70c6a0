"""The command line as a user runs it: real processes, tables and JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from prefect_ml.cli.output import duration
from prefect_ml.entities import Dataset, DatasetInput, Metric
from prefect_ml.models.folder import save_model
from prefect_ml.store import open_store
from prefect_ml.tracking.run import ActiveRun

COMMAND = str(Path(sys.executable).parent / "prefect-ml")


def run(*arguments: str, code: int = 0) -> str:
    done = subprocess.run([COMMAND, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture
def store(home):
    opened = open_store()
    yield opened
    opened.close()


@pytest.fixture
def wide(monkeypatch):
    """A terminal in which no cell is folded."""
    monkeypatch.setenv("COLUMNS", "240")


@pytest.fixture
def runs(store) -> list[str]:
    """Two finished runs of the experiment "churn"."""
    experiment = store.create_experiment("churn")
    ids = []
    for number in range(2):
        created = store.create_run(experiment, name=f"run [{number}]")
        metrics = [Metric("auc", 0.5 + step / 10 + number / 100, 1000 + step, step) for step in range(3)]
        store.log_batch(created.run_id, metrics=metrics, params={"c": str(number), "same": "x"})
        ids.append(created.run_id)
    return ids


def test_runs_are_listed_shown_and_compared(runs):
    listed = json.loads(run("runs", "list", "--experiment", "churn", "--filter", "params.c = '1'", "--json"))
    assert [found["run_id"] for found in listed] == [runs[1]]
    shown = json.loads(run("runs", "show", runs[0], "--json"))
    assert (shown["params"], shown["metrics"], shown["artifacts"]) == ({"c": "0", "same": "x"}, {"auc": 0.7}, [])
    compared = run("runs", "compare", *runs)
    assert "run [0]" in compared
    assert "0.71" in compared
    assert "same" not in compared
    assert "same" in run("runs", "compare", *runs, "--all")
    history = json.loads(run("runs", "history", runs[0], "auc", "--max-points", "2", "--json"))
    assert [point["step"] for point in history] == [0, 2]
    run("runs", "delete", runs[0])
    assert [r["run_id"] for r in json.loads(run("runs", "list", "--json"))] == [runs[1]]
    run("runs", "restore", runs[0])


def test_what_was_logged_comes_before_what_was_sampled_and_long_texts_are_cut(store, runs, wide):
    sampled = [Metric(f"system/{number}", 1.0, 1000, 0) for number in range(9)]
    store.log_batch(runs[0], metrics=[*sampled, Metric("zeta", 0.25, 1000, 0)], tags={"history": "x" * 1000})
    listed = run("runs", "list")
    [line] = [line for line in listed.splitlines() if runs[0] in line]
    assert "auc=0.7, zeta=0.25 " in line
    assert "system" not in line
    shown = run("runs", "show", runs[0])
    assert shown.index("zeta") < shown.index("System metrics") < shown.index("system/0") < shown.index("history")
    assert shown.count("x") < 400
    assert "1000 characters" in shown
    assert json.loads(run("runs", "show", runs[0], "--json"))["tags"]["history"] == "x" * 1000


def test_data_sets_are_shown_and_compared(store, runs, wide):
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [0, 1, 0]})
    for run_id, rows in zip(runs, (3, 2), strict=True):
        active = ActiveRun(run_id)
        active.log_input(frame[:rows], "churn", source="s3://lake/churn.parquet")
        active.log_input(frame, "same", context="evaluation")
        assert active.flush(20)
    foreign = Dataset("odd [b]", "d1", "other", "no JSON", profile="[3]")
    store.log_inputs(runs[0], [DatasetInput(foreign)])
    used = {each.dataset.name: each.dataset for each in store.get_run(runs[0]).inputs}

    shown = run("runs", "show", runs[0])
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.partition("Data sets")[2].splitlines()]
    assert ["churn", used["churn"].digest, "training", "3", "2", "s3://lake/churn.parquet"] in rows
    assert ["odd [b]", "d1", "-", "-", "-", "no JSON"] in rows
    assert next(row for row in rows if row[:1] == ["same"])[2:5] == ["evaluation", "3", "2"]
    assert "Data sets" in shown

    differing = run("runs", "compare", *runs)
    assert "churn (training)" in differing
    assert f"{used['churn'].digest} (3 rows)" in differing
    assert "(2 rows)" in differing
    assert "same (evaluation)" not in differing
    assert "same (evaluation)" in run("runs", "compare", *runs, "--all")
    for found in (
        json.loads(run("runs", "show", runs[0], "--json")),
        json.loads(run("runs", "compare", *runs, "--json"))[0],
    ):
        assert [each["dataset"]["name"] for each in found["inputs"]] == ["churn", "odd [b]", "same"]
        assert found["inputs"][0]["tags"] == {"mlflow.data.context": "training"}


def test_experiments_are_made_renamed_deleted_and_restored(store):
    number = run("experiments", "create", "a").strip()
    run("experiments", "rename", number, "b")
    assert store.get_experiment(number).name == "b"
    run("experiments", "delete", number)
    assert [e["name"] for e in json.loads(run("experiments", "list", "--deleted", "--json"))] == ["b"]
    run("experiments", "restore", number)
    assert "b" in run("experiments", "list")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("runs", "show", "0" * 32), "not found"),
        (("runs", "list", "--filter", "metrics.auc >"), "position"),
        (("runs", "compare", "x"), "two or more"),
        (("models", "show", "nope"), "not found"),
        (("models", "register", "runs:/x/model", "m"), "not found"),
        (("rollback", "nope", "--reason", "x"), "not found"),
        (("approve", "nope"), "nope"),
        (("serve", "models:/nope@champion"), "nope"),
        (("serve", "nonsense:/x"), "models:/"),
        (("serve", "models:/nope@champion", "--host", "0.0.0.0"), "PREFECT_ML_SERVE_TOKEN"),  # noqa: S104 (refused)
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_and_exit_code_1(store, arguments, sentence):
    said = run(*arguments, code=1)
    assert said.startswith("Error: ")
    assert sentence in said
    assert "Traceback" not in said


def test_a_policy_of_a_yaml_file_protects_an_alias(store, tmp_path):
    folder = tmp_path / "model"
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    save_model(LinearRegression().fit(frame, frame["x"]), folder, input_example=frame)
    registered = json.loads(run("models", "register", str(folder), "line", "--json"))
    assert (registered["version"], registered["artifact_digest"][:7]) == (1, "sha256:")
    policy = tmp_path / "policy.yaml"
    policy.write_text("name: lines\nmodel_pattern: line*\naliases: [champion]\ngates: [{type: loads}]\n")
    run("policies", "save", str(policy))
    assert json.loads(run("policies", "show", "lines", "--json"))["aliases"] == ["champion"]
    assert "lines" in run("policies", "list")
    policy.write_text("name: lines\naliases: [champion]\napprovals: many\n")
    assert "approvals" in run("policies", "save", str(policy), code=1)
    assert "line" in run("models", "list")
    assert json.loads(run("requests", "--json")) == []
    assert "whole" in run("audit", "verify")
    assert "policy-saved" in run("audit", "list")


def test_what_never_started_took_no_time():
    assert [duration(*times) for times in ((1000, 2500), (1000, None), (None, 2500))] == ["1.5 s", None, None]


def test_upgrade_and_sync_say_what_they_did(store):
    assert "up to date" in run("db", "upgrade")
    assert json.loads(run("sync", "--json")) == []
    assert run("--version").strip()
    assert "quickstart" in run()
