"""Projects on a work pool of processes: a real Prefect server, a worker, and the command that people type."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
from git_server import git

from orchestrator import until
from prefect_ml.store import open_store

COMMAND = Path(sys.executable).with_name("prefect-ml")
PREFECT = COMMAND.with_name("prefect")
POOL = "projects"


@pytest.fixture(scope="module")
def place(orchestrator, tmp_path_factory):
    """The environment of the command and of the worker: one store, one Prefect server."""
    home = tmp_path_factory.mktemp("projects")
    given = {
        "PREFECT_ML_HOME": str(home),
        "PREFECT_ML_SYSTEM_METRICS_INTERVAL": "0",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    }
    orchestrator.start_worker(POOL, given)
    return {**orchestrator.environment, **given}


@pytest.fixture
def project(tmp_path):
    """A folder that is in no repository."""
    (tmp_path / "pyproject.toml").write_text(
        dedent("""
            [tool.prefect-ml.entry-points.main]
            command = "python train.py --alpha {alpha}"
            parameters = { alpha = "float" }

            [tool.prefect-ml.entry-points.slow]
            command = "python slow.py {file}"
            parameters = { file = "uri" }
        """)
    )
    (tmp_path / "train.py").write_text(
        dedent("""
            import sys
            from pathlib import Path
            import prefect_ml as ml
            ml.log_metric("alpha", float(sys.argv[2]))
            print("from", Path.cwd())
        """)
    )
    (tmp_path / "slow.py").write_text(
        dedent("""
            import os, subprocess, sys, time
            from pathlib import Path
            other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
            Path(sys.argv[1]).write_text(f"{os.getpid()} {other.pid}")
            time.sleep(600)
        """)
    )
    return tmp_path


def run(place, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "run", *arguments, "--work-pool", POOL, "--json"],
        env=place, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_folder_goes_to_the_pool_as_a_bundle(orchestrator, place, project):
    done = run(place, str(project), "-P", "alpha=0.5")
    assert done.returncode == 0, done.stdout + done.stderr + orchestrator.logs()
    told = json.loads(done.stdout)
    store = open_store(f"sqlite:///{place['PREFECT_ML_HOME']}/store.db")
    found = until(lambda: (each := store.get_run(told["run_id"])).status == "FINISHED" and each, "the end of the run")
    assert (found.params, found.metrics) == ({"alpha": "0.5"}, {"alpha": 0.5})
    assert found.tags["prefect_ml.project.uri"] == f"bundle:sha256:{found.tags['prefect_ml.project.bundle']}"
    logged = {"logs": {"flow_run_id": {"any_": [told["flow_run"]]}}}

    def shown():
        return [each for each in orchestrator.api.post("/logs/filter", logged) if each["message"].startswith("from /")]

    [line] = until(shown, "the line of the command in Prefect's log")
    assert str(project) not in line["message"], "it ran in a copy of its own"
    store.close()


def test_what_is_wrong_is_said_before_anything_is_sent(place, project):
    done = run(place, str(project))
    assert (done.returncode, "give alpha" in done.stderr) == (1, True), done.stderr
    done = run(place, str(project), "-e", "none")
    assert (done.returncode, "main, slow" in " ".join(done.stderr.split())) == (1, True), done.stderr


def test_a_cancelled_run_leaves_no_process(orchestrator, place, project, tmp_path):
    file = tmp_path / "pids"
    done = run(place, str(project), "-e", "slow", "-P", f"file={file}", "--no-wait")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    pids = [int(pid) for pid in until(lambda: file.exists() and file.read_text().split(), "the start", 120)]
    assert all(alive(pid) for pid in pids)
    cancelling = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
    orchestrator.api.post(f"/flow_runs/{told['flow_run']}/set_state", cancelling)
    until(lambda: not any(alive(pid) for pid in pids), "the end of all processes")
    path = f"/flow_runs/{told['flow_run']}"
    until(lambda: orchestrator.api.get(path)["state"]["type"] == "CANCELLED", "the cancelled flow run")
    store = open_store(f"sqlite:///{place['PREFECT_ML_HOME']}/store.db")
    until(lambda: store.get_run(told["run_id"]).status == "KILLED", "the end of the run")
    store.close()


def test_a_new_project_is_deployed_and_trained_and_asks_for_the_alias(orchestrator, place, tmp_path):
    folder = tmp_path / "fresh"
    subprocess.run([COMMAND, "init", "fresh", "--folder", folder, "--work-pool", POOL], env=place, check=True)
    subprocess.run([COMMAND, "policies", "save", folder / "policy.yaml"], env=place, check=True, timeout=60)
    done = subprocess.run(
        [PREFECT, "--no-prompt", "deploy", "--all"],
        cwd=folder, env=place, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    pools = {"work_pools": {"name": {"any_": [POOL]}}, "deployments": {"tags": {"all_": ["fresh"]}}}
    found = {each["name"]: each["id"] for each in orchestrator.api.post("/deployments/filter", pools)}
    assert sorted(found) == ["deploy", "promote", "serve", "train"]
    run = orchestrator.api.post(f"/deployments/{found['train']}/create_flow_run", {"parameters": {"alpha": 0.1}})
    path = f"/flow_runs/{run['id']}"
    until(lambda: orchestrator.api.get(path)["state"]["type"] == "COMPLETED", "the end of the training", 120)
    store = open_store(f"sqlite:///{place['PREFECT_ML_HOME']}/store.db")
    assert store.get_model_version("fresh", 1).run_id == run["id"].replace("-", "")
    [request] = until(lambda: store.list_requests(name="fresh"), "the request of the promotion", 120)
    assert (request.status, request.alias, [each.passed for each in request.evidence]) == (
        "PENDING", "champion", [True] * 3,
    )  # fmt: skip
    store.close()
    for deployment in found.values():
        orchestrator.api.client.delete(f"/deployments/{deployment}").raise_for_status()


@pytest.mark.long
def test_a_killed_worker_neither_stops_nor_repeats_what_runs(orchestrator, place, project, tmp_path):
    file = tmp_path / "pids"
    (project / "slow.py").write_text(
        dedent("""
            import sys, time
            from pathlib import Path
            import prefect_ml as ml
            with open(sys.argv[1], "a") as stream:
                stream.write("started\\n")
            time.sleep(15)
            ml.log_metric("done", 1)
        """)
    )
    told = json.loads(run(place, str(project), "-e", "slow", "-P", f"file={file}", "--no-wait").stdout)
    until(file.exists, "the start", 120)
    orchestrator.kill_worker(POOL)
    time.sleep(2)
    orchestrator.restart_worker(POOL)
    path = f"/flow_runs/{told['flow_run']}"
    until(lambda: orchestrator.api.get(path)["state"]["type"] == "COMPLETED", "the end of the flow run", 120)
    assert file.read_text() == "started\n"
    store = open_store(f"sqlite:///{place['PREFECT_ML_HOME']}/store.db")
    assert store.get_run(told["run_id"]).metrics == {"done": 1.0}
    store.close()


@pytest.mark.long
def test_two_at_once_share_an_environment_that_is_built_once(orchestrator, place, tmp_path):
    (tmp_path / "MLproject").write_text(
        "name: two\npython_env: python_env.yaml\n"
        "entry_points: {main: {parameters: {x: int}, command: python show.py}}\n"
    )
    # Of a version that nothing else asks for, so that it is not there yet.
    (tmp_path / "python_env.yaml").write_text("dependencies: [six==1.15.0]\n")
    (tmp_path / "show.py").write_text("import six, sys\nprint('in', sys.prefix, six.__version__)\n")
    command = [COMMAND, "run", tmp_path, "--work-pool", POOL, "--json"]
    both = [subprocess.Popen([*command, "-P", f"x={x}"], env=place, stdout=subprocess.PIPE, text=True) for x in (1, 2)]
    told = [json.loads(process.communicate(timeout=200)[0]) for process in both]
    assert [each["state"] for each in told] == ["Completed", "Completed"], orchestrator.logs()
    runs = {"logs": {"flow_run_id": {"any_": [each["flow_run"] for each in told]}}}

    def said(beginning):
        lines = [each["message"] for each in orchestrator.api.post("/logs/filter", runs)]
        return [line for line in lines if line.startswith(beginning)]

    shown = until(lambda: len(found := said("in /")) == 2 and found, "the lines of both in Prefect's log")
    assert (len(set(shown)), shown[0].endswith(" 1.15.0")) == (1, True)
    assert len(said("Building the environment")) == 1, "the other one waited for it"


@pytest.mark.long
def test_a_tracked_flow_is_had_again_on_a_pool_in_an_environment_of_its_own(orchestrator, place, tmp_path):
    (tmp_path / "train.py").write_text(
        dedent("""
            import prefect_ml as ml
            from prefect import flow
            @ml.track(experiment="pool")
            @flow
            def train(alpha: float):
                ml.log_text("made", "note.txt")
                return {"alpha": alpha}
            if __name__ == "__main__":
                train(0.5)
        """)
    )
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "train.py")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    (tmp_path / "train.py").write_text((tmp_path / "train.py").read_text().replace("alpha}", "alpha * 2}"))
    subprocess.run([sys.executable, "train.py"], cwd=tmp_path, env=place, check=True, timeout=120)
    store = open_store(f"sqlite:///{place['PREFECT_ML_HOME']}/store.db")
    [before] = store.search_runs([store.get_experiment_by_name("pool").experiment_id]).items
    (tmp_path / "train.py").unlink()
    done = subprocess.run(
        [COMMAND, "reproduce", before.run_id, "--work-pool", POOL, "--json"],
        env=place, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr + orchestrator.logs()
    told = json.loads(done.stdout)
    after = store.get_run(told["after"])
    command = store.get_run(after.tags["mlflow.parentRunId"])
    assert (told["equal"], dict(after.metrics), command.tags["mlflow.project.env"]) == (True, {"alpha": 1.0}, "uv")
    assert after.tags["prefect_ml.flow_run_id"] != command.tags["prefect_ml.flow_run_id"]
    store.close()


@pytest.mark.long
def test_a_repository_runs_there_at_the_commit_that_it_has_now(orchestrator, place, project):
    git(project, "init", "--quiet", "--initial-branch", "main")
    git(project, "add", ".")
    git(project, "commit", "--quiet", "--message", "one")
    commit = git(project, "rev-parse", "HEAD")
    (project / "train.py").write_text("raise SystemExit('not committed')\n")
    done = run(place, project.as_uri(), "-P", "alpha=0.25")
    assert done.returncode == 0, done.stdout + done.stderr + orchestrator.logs()
    told = json.loads(done.stdout)
    store = open_store(f"sqlite:///{place['PREFECT_ML_HOME']}/store.db")
    found = until(lambda: (each := store.get_run(told["run_id"])).status == "FINISHED" and each, "the end of the run")
    assert (found.tags["mlflow.source.git.commit"], dict(found.metrics)) == (commit, {"alpha": 0.25})
    store.close()
