"""The command line as a user runs it: real processes, tables and JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from prefect_ml.entities import Metric
from prefect_ml.models.folder import save_model
from prefect_ml.store import open_store

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
    assert "audit" not in run("models", "list")
    assert json.loads(run("requests", "--json")) == []
    assert "whole" in run("audit", "verify")
    assert "policy-saved" in run("audit", "list")


def test_upgrade_and_sync_say_what_they_did(store):
    assert "up to date" in run("db", "upgrade")
    assert json.loads(run("sync", "--json")) == []
    assert run("--version").strip()
    assert "quickstart" in run()
