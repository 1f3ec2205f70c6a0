"""`prefect-ml lineage` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

import prefect_ml as ml
from prefect_ml.cli.lineage import lineage
from prefect_ml.entities import Dataset, DatasetInput
from prefect_ml.errors import InvalidInputError

X = np.arange(12.0).reshape(6, 2)
MODEL = LinearRegression().fit(X, X.sum(axis=1))


@pytest.fixture
def run_id(home):
    with ml.start_run(experiment="[red]e[/red]", name="[bold]r") as teacher:
        ml.log_model(MODEL, "model", input_example=X[:2], register="teacher")
    with ml.start_run(experiment="[red]e[/red]") as run:
        ml.load_model("models:/teacher/1")
        ml.log_model(MODEL, "model", input_example=X[:2], register="student")
    store = ml.open_store()
    used = Dataset("rows [x]", "d1", "local", "{}")
    store.log_inputs(teacher.run_id, [DatasetInput(used, {"mlflow.data.context": "training"})])
    store.set_alias("student", "tried", 1, actor="ann")
    return run.run_id


def test_the_tree_shows_what_was_recorded_as_it_is(run_id, capsys):
    lineage("models:/student@tried")
    shown = " ".join(capsys.readouterr().out.split())
    for part in ("models:/student/1", "aliases @tried", run_id, "of '[red]e[/red]'", "from models:/teacher/1"):
        assert part in shown
    assert "'[bold]r'" in shown
    assert "rows [x] d1 for training" in shown
    assert "became @tried" in shown
    assert "No flow run" in shown
    lineage(f"runs:/{run_id}/model")
    assert f"runs:/{run_id}/model" in capsys.readouterr().out


def test_json_is_one_document_with_everything(run_id):
    command = [str(Path(sys.executable).parent / "prefect-ml"), "lineage", "models:/student/1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = json.loads(done.stdout)
    assert found["run"]["run_id"] == run_id
    assert found["version"]["name"] == "student"
    [teacher] = found["upstream"]
    assert teacher["datasets"][0]["digest"] == "d1"
    assert found["moves"][0]["alias"] == "tried"


def test_backwards(run_id, capsys):
    lineage(dataset="d1", json=True)
    found = json.loads(capsys.readouterr().out)
    assert [version["name"] for version in found["versions"]] == ["teacher"]
    lineage(model="models:/teacher/1")
    assert "student" in capsys.readouterr().out
    with ml.start_run(experiment="none"):
        ml.load_model("models:/teacher/1")
    lineage(model="models:/teacher/1")
    assert "1 more run used it and made no version." in capsys.readouterr().out
    lineage(dataset="no such digest")
    assert capsys.readouterr().out == "Nothing is known here of no such digest.\n"


def test_one_thing_is_asked(run_id):
    with pytest.raises(InvalidInputError, match="Give one thing"):
        lineage()
    with pytest.raises(InvalidInputError, match="Give one thing"):
        lineage("models:/student/1", dataset="d1")
