"""Runs of tracked flows and scripts, had again from what they recorded: commit, changes, packages, parameters."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any, Literal

import pytest

sys.path.append(str(Path(__file__).parent))
from git_server import GitServer, git

from prefect_ml.artifacts import open_artifacts
from prefect_ml.errors import CorruptArtifactError, InvalidInputError, NotFoundError
from prefect_ml.projects.again import again_of
from prefect_ml.projects.code_entries import code_entry
from prefect_ml.projects.definition import PythonEnvironment
from prefect_ml.projects.locks import lock_of
from prefect_ml.projects.reading import read_project
from prefect_ml.projects.recorded_source import rebuild
from prefect_ml.settings import Settings
from prefect_ml.store import open_store
from prefect_ml.tracking.start import started

COMMAND = Path(sys.executable).with_name("prefect-ml")
SCRIPT = """
    import prefect_ml as ml
    with ml.start_run("again") as run:
        run.log_metric("rows", len(open("data/rows.csv").read().split()))
        run.log_metric("factor", 1)
        run.log_text("made", "note.txt")
"""
FLOW = """
    import prefect_ml as ml
    from prefect import flow
    @ml.track(experiment="again")
    @flow
    def train(alpha: float, names: list[str], note: str = "7", limit: int | None = None) -> dict:
        assert (type(alpha), names, note, limit) == (float, ["a", "b"], "7", None)
        ml.log_text(note, "note.txt")
        return {"factor": alpha * 1}
    if __name__ == "__main__":
        train(0.25, ["a", "b"])
"""


@pytest.fixture
def repository(tmp_path):
    """A repository whose code was changed since its only commit."""
    folder = tmp_path / "team"
    files = {"jobs/train.py": SCRIPT, "jobs/flows.py": FLOW, "data/rows.csv": "1\n2\n3\n"}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(dedent(text))
    git(tmp_path, "init", "--quiet", "--initial-branch", "main", "team")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "one")
    for name in ("jobs/train.py", "jobs/flows.py"):
        path = folder / name
        path.write_text(path.read_text().replace("1)\n", "2)\n").replace("alpha * 1", "alpha * 2"))
    return folder


@pytest.fixture
def store():
    opened = open_store()
    yield opened
    opened.close()


def start(repository, *command, **more):
    subprocess.run([sys.executable, *command], cwd=repository, env={**os.environ, **more}, check=True, timeout=120)


def reproduce(*arguments, **more):
    done = subprocess.run(
        [COMMAND, "reproduce", *arguments, "--json"],
        env={**os.environ, **more}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return done, json.loads(done.stdout) if done.stdout else {}


def only_run(store):
    [found] = store.search_runs([store.get_experiment_by_name("again").experiment_id]).items
    return found


def test_a_script_runs_again_at_its_commit_with_its_changes(repository, store, tmp_path):
    start(repository, "jobs/train.py")
    before = only_run(store)
    assert dict(before.metrics) == {"rows": 3, "factor": 2}
    commit = git(repository, "rev-parse", "HEAD")
    # The code goes on, and the folder elsewhere.
    (repository / "jobs" / "train.py").write_text("raise SystemExit('other code')\n")
    (repository / "data" / "rows.csv").write_text("1\n")
    git(repository, "commit", "--quiet", "--all", "--message", "two")
    moved = repository.rename(tmp_path / "moved")
    with pytest.raises(NotFoundError, match="name a --repository"):
        again_of(store, before.run_id, Settings())
    store.create_registered_model("again")
    store.create_model_version("again", f"{before.artifact_uri}/model", run_id=before.run_id)
    done, told = reproduce("models:/again/1", "--no-flow", "--repository", moved)
    assert (done.returncode, told["equal"]) == (0, True), done.stdout + done.stderr
    assert told["before"] == before.run_id
    rows = {(row["kind"], row["name"]): row for row in told["rows"]}
    changes = before.tags["prefect_ml.source.git.diff_digest"]
    assert rows["source", "source"]["after"] == f"commit {commit} with changes {changes}"
    assert rows.keys() >= {("lock", "packages"), ("metric", "rows"), ("metric", "factor"), ("artifact", "note.txt")}
    after = store.get_run(told["after"])
    assert after.run_id != before.run_id
    assert dict(after.metrics) == dict(before.metrics)
    assert after.tags["mlflow.project.env"] == "local", "the same packages are here"


@pytest.mark.long  # two flow runs in processes of their own, and an environment of seventy packages
@pytest.mark.parametrize("how", [(), ("--environment", "build", "--no-flow")])
def test_a_tracked_flow_is_called_again_with_its_parameters(repository, store, orchestrator, how):
    start(repository, "jobs/flows.py", **orchestrator.environment, PREFECT_ML_HOME=os.environ["PREFECT_ML_HOME"])
    before = only_run(store)
    (repository / "jobs" / "flows.py").write_text("raise SystemExit('other code')\n")
    given = {**orchestrator.environment, "PREFECT_ML_HOME": os.environ["PREFECT_ML_HOME"]}
    done, told = reproduce(before.run_id, *how, **given)
    assert (done.returncode, told.get("equal")) == (0, True), done.stdout + done.stderr
    after = store.get_run(told["after"])
    assert (after.params, dict(after.metrics)) == (before.params, {"factor": 0.5})
    assert after.params == {"alpha": "0.25", "names": '["a","b"]', "note": "7", "limit": "None"}
    assert after.tags["prefect_ml.flow_run_id"] != before.tags["prefect_ml.flow_run_id"]
    command = store.get_run(after.tags["mlflow.parentRunId"])
    assert command.tags["mlflow.project.env"] == ("uv" if how else "local")
    assert ("prefect_ml.flow_run_id" in command.tags) == (not how), "as a flow run, unless it is not wanted"
    rows = {(row["kind"], row["name"]) for row in told["rows"]}
    assert rows >= {("source", "source"), ("lock", "python"), ("lock", "packages"), ("artifact", "note.txt")}
    # What was had again is of a project's command, and can be had again itself.
    again = again_of(store, after.run_id, Settings())
    assert (again.step, again.command) == (True, command.run_id)


def test_a_clean_commit_is_taken_from_the_remote_alone(repository, store, tmp_path):
    git(repository, "checkout", "--quiet", ".")
    (tmp_path / "served").mkdir()
    git(tmp_path, "clone", "--quiet", "--bare", "team", "served/team.git")
    with GitServer(tmp_path / "served") as server:
        git(repository, "remote", "add", "origin", f"{server.url}/team.git")
        start(repository, "jobs/train.py")
        shutil.rmtree(repository)
        again = again_of(store, only_run(store).run_id, Settings(), where="local")
    assert again.request.uri == f"{server.url}/team.git@{again.source.commit}"
    assert (again.request.entry_point, again.request.lock, str(again.source)) == (
        "jobs/train.py", None, f"commit {again.source.commit}",
    )  # fmt: skip


def test_what_the_record_does_not_have_whole_is_refused(repository, store, tmp_path):
    start(repository, "jobs/train.py")
    run, settings = only_run(store), Settings()
    artifacts = open_artifacts(run.artifact_uri)
    elsewhere = {**run.tags, "mlflow.source.name": "/x/jobs/other.py", "prefect_ml.entry_point": "jobs/other.py"}
    for tags, error, said in (
        ({}, NotFoundError, "no commit"),
        (elsewhere, NotFoundError, "not in its commit"),
        ({**run.tags, "mlflow.source.git.commit": "0" * 40}, NotFoundError, "has no commit"),
        ({**run.tags, "prefect_ml.source.git.diff_digest": "sha256:0"}, CorruptArtifactError, "not what was recorded"),
    ):
        with pytest.raises(error, match=said):
            rebuild(replace(run, tags=tags), artifacts, settings, str(repository))
    for text, said in (
        ("+password = [redacted]\n", "secret"),
        ("# data.bin: changes are left out\n", "not whole"),
        ("--- a/none.py\n+++ b/none.py\n@@ -1 +1 @@\n-a\n+b\n", "git apply"),
        ("--- /dev/null\n+++ b/../../out.py\n@@ -0,0 +1 @@\n+b\n", "git apply"),
    ):
        other = open_artifacts(str(tmp_path / f"artifacts-{len(text)}"))
        (tmp_path / "patch").write_text(text)
        with (tmp_path / "patch").open("rb") as stream:
            other.put("source/changes.patch", stream)
        digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
        changed = replace(run, tags={**run.tags, "prefect_ml.source.git.diff_digest": digest})
        with pytest.raises(InvalidInputError, match=said):
            rebuild(changed, other, settings, str(repository))
    assert not list(tmp_path.parent.rglob("out.py"))


def test_what_was_started_is_found_in_the_commit_from_where_it_was_started(repository, store):
    with started("again", None, parent=None, tags=None, flow_run_id=None, own_code=False) as active:
        pass
    run = store.get_run(active.run_id)
    artifacts, commit = open_artifacts(run.artifact_uri), git(repository, "rev-parse", "HEAD")
    for recorded, file, folder, entry_point in (
        ("jobs/train.py", "/home/ann/team/jobs/train.py", "", "jobs/train.py"),
        ("train.py", "/home/ann/team/jobs/train.py", "jobs", "train.py"),
        ("/home/ann/team/jobs/train.py", "/home/ann/team/jobs/train.py", "", "jobs/train.py"),
        ("flows.py:train", "/srv/other name/jobs/flows.py", "jobs", "flows.py:train"),
        ("jobs/flows.py:train", "jobs/flows.py", "", "jobs/flows.py:train"),
        ("-m jobs.train", "/home/ann/team/jobs/train.py", "", "-m jobs.train"),
        ("-m train", "/home/ann/team/jobs/train.py", "jobs", "-m train"),
    ):
        tags = {"mlflow.source.git.commit": commit, "mlflow.source.name": file, "prefect_ml.entry_point": recorded}
        found = rebuild(replace(run, tags=tags), artifacts, Settings(), str(repository))
        assert (found.uri.subdirectory, found.entry_point) == (folder, entry_point)
        project = read_project(repository / folder, entry_point)
        assert project.entry_point(entry_point).command[0] == "python"


@pytest.mark.parametrize("name", [
    "../x.py:f", "x.py:f;g", "x.py:", "-m ..x", "-m x;y", "-m none", "-mx", "none.py:f", "a:b:f", "-m x y", "x.txt:f",
])  # fmt: skip
def test_what_is_no_code_of_the_folder_is_no_entry_point(tmp_path, name):
    for each in ("x.py", "x.txt"):
        (tmp_path / "inner").mkdir(exist_ok=True)
        (tmp_path / "inner" / each).touch()
        (tmp_path / each).touch()
    assert code_entry(tmp_path / "inner", name) is None


@pytest.mark.parametrize(("text", "annotation", "value"), [
    ("5", str, "5"), ("None", str | None, None), ("0.5", float, "0.5"), ("[1,2]", list[int], [1, 2]),
    ('{"a":1}', dict[str, int], {"a": 1}), ("True", bool | None, "True"), ("None", int | None, None),
    ("x", Any, "x"), ("5", Any, 5), ("True", Any, True), ("b", Literal["a", "b"], "b"), ("nonsense", int, "nonsense"),
])  # fmt: skip
def test_text_is_the_value_that_the_parameter_takes(text, annotation, value):
    from prefect_ml.flows.call import value_of

    assert value_of(text, annotation) == value


@pytest.mark.parametrize(
    "line", ["--index-url https://x.org/simple", "-e .", "./here.whl", "-r other.txt", "x @ file:///y"]
)
def test_a_lock_that_was_changed_since_installs_nothing_from_elsewhere(tmp_path, line):
    with pytest.raises(InvalidInputError, match="no requirement"):
        lock_of(PythonEnvironment(), tmp_path, tmp_path, kept=f"six==1.17.0 \\\n    --hash=sha256:{'0' * 64}\n{line}\n")
