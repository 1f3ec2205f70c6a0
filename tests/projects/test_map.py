"""An entry point with many parameter sets, on threads and on real clusters."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

import prefect_ml as ml
from prefect_ml.cli.reproduce import reproduce
from prefect_ml.errors import InvalidInputError
from prefect_ml.flows.map_project import map_project
from prefect_ml.flows.run_project import run_project

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture
def project(tmp_path):
    (tmp_path / "MLproject").write_text(
        "name: p\nentry_points: {main: {parameters: {x: float}, command: 'python train.py {x}'}}"
    )
    (tmp_path / "train.py").write_text(
        "import sys\nimport prefect_ml as ml\nx = float(sys.argv[1])\nml.log_metric('y', 10 / x)\n"
    )
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True, timeout=60)  # noqa: S607 - the one on the PATH
    return str(tmp_path)


@pytest.fixture
def asked_of_git(tmp_path_factory, monkeypatch):
    """Notes what the real git is asked; the commands so far."""
    folder, real = tmp_path_factory.mktemp("bin"), shutil.which("git")
    log = folder / "log"
    (folder / "git").write_text(f'#!/bin/sh\necho "$*" >> {log}\nexec {real} "$@"\n')
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return lambda: log.read_text().splitlines()


@pytest.mark.parametrize("runner", ["threads", "dask", pytest.param("ray", marks=pytest.mark.long)])
def test_each_set_is_a_child_run_and_a_failed_one_stops_no_other(project, runner, asked_of_git):
    sets = [{"x": x} for x in (1, 2, 0, 4)]
    state = map_project(project, sets, experiment=runner, task_runner=runner, parallel=2, return_state=True)
    assert (state.type, "1 of 4" in state.message) == ("FAILED", True), state.message
    found = {run.params.get("x"): run for run in ml.search_runs(runner)}
    [parent] = [run for run in found.values() if "mlflow.parentRunId" not in run.tags]
    children = {x: run for x, run in found.items() if run.run_id != parent.run_id}
    assert {x: run.status for x, run in children.items()} == {
        "1": "FINISHED", "2": "FINISHED", "0": "FAILED", "4": "FINISHED",
    }  # fmt: skip
    assert {run.tags["mlflow.parentRunId"] for run in children.values()} == {parent.run_id}
    assert [children[x].metrics["y"] for x in ("1", "2", "4")] == [10, 5, 2.5]
    assert len({run.tags["prefect_ml.project.bundle"] for run in children.values()}) == 1
    assert sum("ls-files" in line for line in asked_of_git()) == 1, "the folder is packed once"


def test_what_is_wrong_with_one_set_starts_none(project):
    with pytest.raises(InvalidInputError, match="x must be a number"):
        map_project(project, [{"x": 1}, {"x": "a"}], experiment="none")
    assert [run.status for run in ml.search_runs("none")] == ["FAILED"]


def test_a_project_is_a_flow_run_with_the_secrets_of_blocks_and_is_had_again_with_them(project, tmp_path, capsys):
    from prefect.blocks.system import Secret

    Secret(value="hunter2").save("project-password", overwrite=True)
    with (tmp_path / "train.py").open("a") as stream:
        stream.write("import os\nsecret = os.environ['PASSWORD']\nprint(secret)\nml.log_param('length', len(secret))\n")
    told = run_project(project, parameters={"x": 2}, experiment="secret", secrets={"PASSWORD": "project-password"})
    run = ml.get_run(told["run_id"])
    assert (run.params, dict(run.metrics)) == ({"x": "2", "length": "7"}, {"y": 5})
    assert told["exit_code"] == 0
    with pytest.raises(InvalidInputError, match="no Secret block"):
        run_project(project, parameters={"x": 2}, secrets={"PASSWORD": "none-such"})
    with pytest.raises(InvalidInputError, match="give --secret PASSWORD=BLOCK"):
        reproduce(told["run_id"])
    with pytest.raises(SystemExit) as ended:
        reproduce(told["run_id"], secret=("PASSWORD=project-password",), json=True)
    report = json.loads(capsys.readouterr().out)
    assert (ended.value.code, report["equal"]) == (0, True), report
    again = ml.get_run(report["after"])
    assert (again.params, again.tags["prefect_ml.flow_name"]) == (run.params, "run-project")
