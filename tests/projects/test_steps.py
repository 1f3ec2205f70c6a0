"""Entry points that run the other entry points of their project: by MLflow's `mlflow.run`, and by ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import nbformat
import pytest

from prefect_ml.errors import InvalidInputError, NotFoundError
from prefect_ml.projects.downloads import download
from prefect_ml.projects.parameters import is_url
from prefect_ml.store import open_store
from prefect_ml.tracking.start import started

COMMAND = Path(sys.executable).with_name("prefect-ml")


@pytest.fixture
def write(tmp_path):
    def written(folder, files):
        for name, text in files.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text))
        return tmp_path / folder

    return written


@pytest.fixture
def run_steps():
    """Runs a project by the command; the runs of its experiment, each by its entry point."""

    def run(folder, *arguments):
        done = subprocess.run(
            [COMMAND, "run", folder, "--experiment", "steps", *arguments, "--json"],
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_EXPERIMENT_ID": "0"},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        told = json.loads(done.stdout)
        store = open_store()
        found = store.search_runs([store.get_experiment_by_name("steps").experiment_id]).items
        store.close()
        by_name = {each.tags["mlflow.project.entryPoint"]: each for each in found}
        assert len(by_name) == len(found)
        assert by_name["main"].run_id == told["run_id"]
        return by_name

    return run


@pytest.mark.long  # each step loads MLflow anew: twenty seconds
def test_the_steps_of_mlflows_multistep_workflow_are_child_runs(write, run_steps):
    """The shape of MLflow's example `multistep_workflow`: main runs the steps and reads what they made."""
    folder = write(
        "multistep",
        {
            "MLproject": """
                name: multistep
                python_env: python_env.yaml
                entry_points:
                  load_raw_data:
                    command: "python load_raw_data.py"
                  train:
                    parameters: {data: path, alpha: {type: float, default: 0.1}}
                    command: "python train.py --data {data} --alpha {alpha}"
                  main:
                    parameters: {alpha: {type: float, default: 0.5}}
                    command: "python main.py --alpha {alpha}"
            """,
            "python_env.yaml": "dependencies: [mlflow]",
            "load_raw_data.py": """
                import mlflow
                with mlflow.start_run():
                    mlflow.log_text("1,2\\n2,4\\n", "ratings/ratings.csv")
            """,
            "train.py": """
                import argparse
                import mlflow
                import prefect_ml as ml
                parser = argparse.ArgumentParser()
                parser.add_argument("--data")
                parser.add_argument("--alpha", type=float)
                given = parser.parse_args()
                ml.log_param("before", "the client of MLflow is asked")
                with mlflow.start_run():
                    rows = [tuple(map(float, line.split(","))) for line in open(given.data)]
                    mlflow.log_metric("loss", sum(y - given.alpha * x for x, y in rows))
                    ml.log_metric("rows", len(rows))
                ml.set_tag("after", "the run of the step is known still")
            """,
            "main.py": """
                import argparse
                import mlflow
                from mlflow.tracking import MlflowClient
                parser = argparse.ArgumentParser()
                parser.add_argument("--alpha", type=float)
                given = parser.parse_args()
                with mlflow.start_run():
                    loaded = mlflow.run(".", "load_raw_data", env_manager="local")
                    data = mlflow.artifacts.download_artifacts(f"runs:/{loaded.run_id}/ratings/ratings.csv")
                    trained = mlflow.projects.run(
                        uri=".", entry_point="train", parameters={"data": data, "alpha": given.alpha},
                        env_manager="local",
                    )
                    found = MlflowClient().get_run(trained.run_id)
                    mlflow.log_metric("loss", found.data.metrics["loss"])
            """,
        },
    )
    runs = run_steps(folder, "--environment", "local", "-P", "alpha=0.25")
    main, loaded, trained = (runs[name] for name in ("main", "load_raw_data", "train"))
    assert {each.status for each in runs.values()} == {"FINISHED"}
    assert {each.tags.get("mlflow.parentRunId") for each in (loaded, trained)} == {main.run_id}
    assert "mlflow.parentRunId" not in main.tags
    assert (main.params, main.metrics["loss"]) == ({"alpha": "0.25"}, 5.25)
    assert Path(loaded.artifact_uri, "ratings", "ratings.csv").read_text() == "1,2\n2,4\n"
    assert {name: trained.metrics[name] for name in ("loss", "rows")} == {"loss": 5.25, "rows": 2}
    assert trained.params.keys() == {"alpha", "data", "before"}
    assert trained.tags["after"] == "the run of the step is known still"


@pytest.mark.long  # five processes
def test_a_step_of_ours_is_a_child_run_and_a_process_that_was_given_a_run_records_there(write, run_steps):
    folder = write(
        "ours",
        {
            "pyproject.toml": """
                [tool.prefect-ml.entry-points]
                main = "python main.py"
                step = "python step.py"
            """,
            "main.py": f"""
                import os, subprocess, sys
                import prefect_ml as ml
                experiment = os.environ["MLFLOW_EXPERIMENT_NAME"]
                step = [{str(COMMAND)!r}, "run", ".", "-e", "step", "--experiment", experiment]
                subprocess.run(step, check=True)
                assert "MLFLOW_EXPERIMENT_ID" not in os.environ
                # As MLflow starts a step: with the run of the step in the variable that its client reads and takes.
                [child] = [each for each in ml.search_runs("steps") if "mlflow.parentRunId" in each.tags]
                code = "import os, prefect_ml as ml; del os.environ['MLFLOW_RUN_ID']; ml.log_param('given', 'a run')"
                variables = {{**os.environ, "MLFLOW_RUN_ID": child.run_id}}
                subprocess.run([sys.executable, "-c", code], env=variables, check=True)
                ml.log_param("of", "main")
            """,
            "step.py": "import prefect_ml as ml\nml.log_param('of', 'step')\n",
        },
    )
    runs = run_steps(folder)
    assert runs["step"].tags["mlflow.parentRunId"] == runs["main"].run_id
    assert {name: each.params for name, each in runs.items()} == {
        "main": {"of": "main"}, "step": {"of": "step", "given": "a run"},
    }  # fmt: skip


@pytest.mark.parametrize(("variables", "run_id"), [
    ({"PREFECT_ML_RUN_ID": "a" * 32, "MLFLOW_RUN_ID": "b" * 32}, "b" * 32),
    ({"PREFECT_ML_RUN_ID": "a" * 32}, "a" * 32),
    ({"PREFECT_ML_RUN_ID": "a" * 32, "MLFLOW_RUN_ID": "none"}, "a" * 32),
    ({"MLFLOW_RUN_ID": "b" * 32}, None),
])  # fmt: skip
def test_a_step_of_mlflows_is_told_its_run_by_a_variable_that_its_client_takes(variables, run_id):
    code = "import os; os.environ.pop('MLFLOW_RUN_ID', None); from prefect_ml.tracking.inherited import inherited; "
    done = subprocess.run(
        [sys.executable, "-c", code + "found = inherited(); print(found and found.run_id)"],
        env={**os.environ, **variables}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == str(run_id)


def test_what_a_run_or_a_model_has_is_fetched_for_a_path(tmp_path):
    store = open_store()
    with started("paths", None, parent=None, tags=None, flow_run_id=None, own_code=False) as run:
        run.log_text("1,2", "raw/ratings.csv")
        run.log_text("a model", "model/MLmodel")
    uri = store.get_run(run.run_id).artifact_uri
    store.create_registered_model("paths")
    store.create_model_version("paths", f"{uri}/model", run_id=run.run_id)
    for number, (url, name, text) in enumerate(
        (
            (f"runs:/{run.run_id}/raw/ratings.csv", "ratings.csv", "1,2"),
            (f"runs:/{run.run_id}/raw", "raw/ratings.csv", "1,2"),
            ("models:/paths/1", "1/MLmodel", "a model"),
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert is_url(url)
        download(url, folder)
        assert (folder / name).read_text() == text
    for wrong in (f"runs:/{run.run_id}/none.csv", f"runs:/{'0' * 32}/x", "models:/none/1"):
        with pytest.raises(NotFoundError):
            download(wrong, tmp_path)
    for hostile in (f"runs:/{run.run_id}/../../x", "runs:/../x/y", "mlflow-artifacts:/../x"):
        with pytest.raises((InvalidInputError, NotFoundError)):
            download(hostile, tmp_path)
    store.close()


@pytest.mark.long  # an environment with Jupyter's kernel is built
def test_a_notebook_is_executed_in_the_environment_of_its_project(tmp_path):
    cells = ["x = 6", "open('found.txt', 'w').write(str(x + 1))"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(notebook, tmp_path / "note.ipynb")
    (tmp_path / "requirements.txt").write_text("nbconvert\nipykernel\n")
    done = subprocess.run(
        [COMMAND, "run", tmp_path, "-e", "note.ipynb", "--json"],
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    store = open_store()
    run = store.get_run(json.loads(done.stdout)["run_id"])
    store.close()
    assert (run.status, run.tags["mlflow.project.env"]) == ("FINISHED", "uv")
    assert (tmp_path / "found.txt").read_text() == "7"
    executed = nbformat.read(tmp_path / "note.ipynb", as_version=4)
    assert [cell.execution_count for cell in executed.cells] == [1, 2]
