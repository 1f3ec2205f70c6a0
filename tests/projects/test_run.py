"""Projects as people run them: from a git server, from a folder, with our tracking and MLflow's client in one run."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest

sys.path.append(str(Path(__file__).parent))
from git_server import GitServer, git

from prefect_ml.artifacts import open_artifacts
from prefect_ml.errors import CorruptArtifactError, InvalidInputError, NotFoundError
from prefect_ml.projects.environments import build
from prefect_ml.projects.git import checkout, commit_of
from prefect_ml.projects.process import run_command
from prefect_ml.projects.reproduce import compare, request_of, run_of
from prefect_ml.projects.request import Request
from prefect_ml.projects.run import ABOUT_FILE, LOCK_FILE, OUTPUT_FILE, ProjectFailedError, run_here
from prefect_ml.projects.uri import ProjectUri
from prefect_ml.server.beside import served_beside
from prefect_ml.settings import Settings
from prefect_ml.store import open_store
from prefect_ml.tracking.start import started

COMMAND = Path(sys.executable).with_name("prefect-ml")
SHOW = "import json, os, sys; print(json.dumps([sys.argv[1:], os.getcwd(), sys.prefix]))"


@pytest.fixture
def store():
    opened = open_store()
    yield opened
    opened.close()


@pytest.fixture
def write(tmp_path):
    def written(folder, **files):
        for name, text in files.items():
            path = tmp_path / folder / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text))
        return tmp_path / folder

    return written


@pytest.fixture
def ran(store):
    """Runs a project here; the run and the lines of its output."""

    def run(uri, entry_point="main", **asked):
        lines: list[str] = []
        request = Request(str(uri), entry_point, **asked)
        with started("projects", None, parent=None, tags=None, flow_run_id=None, own_code=False) as active:
            run_here(active, request, Settings(), tell=lines.append, serve=served_beside)
        return store.get_run(active.run_id), lines

    return run


@pytest.fixture
def repository(write, tmp_path):
    """A bare repository with two commits, a tag of the first, and a project in a subdirectory."""
    work = write("work", sub__main_dot_py=f"{SHOW}\n")
    (work / "sub" / "pyproject.toml").write_text('[tool.prefect-ml.entry-points]\nmain = "python main.py"\n')
    hook = work / ".git-hooks"
    git(tmp_path, "init", "--quiet", "--initial-branch", "main", "work")
    git(work, "add", ".")
    git(work, "commit", "--quiet", "--message", "one")
    first = git(work, "rev-parse", "HEAD")
    git(work, "tag", "--annotate", "v1", "--message", "v1")
    (work / "sub" / "two").touch()
    git(work, "add", ".")
    git(work, "commit", "--quiet", "--message", "two")
    assert not hook.exists()
    (tmp_path / "served").mkdir()
    git(tmp_path, "clone", "--quiet", "--bare", "work", "served/team.git")
    return tmp_path / "served", first, git(work, "rev-parse", "HEAD")


def test_a_repository_over_http_and_by_file_at_a_tag_a_branch_and_a_commit(repository, ran, store):
    root, first, second = repository
    with GitServer(root) as server:
        url = f"{server.url}/team.git"
        run, lines = ran(f"{url}@v1#sub")
        assert run.tags["mlflow.source.git.commit"] == first
        assert run.tags["prefect_ml.project.uri"] == f"{url}@{first}#sub"
        assert lines[0] == f"Fetching {url} at {first}."
        assert json.loads(lines[1])[1].endswith("/sub")
        run, _ = ran(f"{url}#sub", revision="main")
        assert run.tags["mlflow.source.git.commit"] == second
        uri = ProjectUri.parse(f"{url}@{second[:10]}")
        assert commit_of(uri) == second
        with pytest.raises(NotFoundError, match="'none'"):
            commit_of(ProjectUri.parse(f"{url}@none"))
        with pytest.raises(NotFoundError):
            checkout(uri, "0" * 40, Settings().cache_folder)
        with pytest.raises(NotFoundError, match="no folder 'elsewhere'"):
            ran(f"{url}#elsewhere")
    # The server is gone, and a whole commit was fetched before.
    assert ran(f"{url}@{first}#sub")[0].tags["mlflow.source.git.commit"] == first
    assert ran(f"{(root / 'team.git').as_uri()}#sub")[0].tags["mlflow.source.git.commit"] == second
    assert not list(Settings().cache_folder.rglob("*.partial"))


def test_a_repository_that_is_none_is_said_to_be(tmp_path, ran):
    with pytest.raises(InvalidInputError, match="git ls-remote failed"):
        ran(f"{tmp_path.as_uri()}@main")


def test_a_repository_that_never_answers_is_given_up_and_leaves_no_process(monkeypatch):
    monkeypatch.setattr("prefect_ml.projects.git._SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/team.git"
        with pytest.raises(InvalidInputError, match="took longer than 1 seconds"):
            commit_of(ProjectUri.parse(url))
        _eventually(lambda: not any(url in line for line in _command_lines()))


def test_our_tracking_and_mlflows_client_record_in_the_run_and_it_can_be_had_again(write, ran, store, monkeypatch):
    folder = write(
        "both",
        MLproject="""
            name: both
            entry_points:
              main:
                parameters: {alpha: float, data: {type: path, default: data.csv}}
                command: "python train.py {alpha} {data}"
        """,
        data_dot_csv="1,2",
        train_dot_py="""
            import os, sys
            import mlflow
            with mlflow.start_run():
                mlflow.log_metric("theirs", float(sys.argv[1]))
                mlflow.log_text("hello", "note.txt")
            import prefect_ml as ml
            ml.log_metric("ours", float(sys.argv[1]))
            with ml.start_run("elsewhere") as run:
                run.log_param("file", os.path.basename(sys.argv[2]))
            print("the password is", os.environ["PASSWORD"])
            print("the token is", os.environ["MLFLOW_TRACKING_TOKEN"])
        """,
    )
    for name, value in {"MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONWARNINGS": "ignore"}.items():
        monkeypatch.setenv(name, value)
    run, lines = ran(folder, parameters={"alpha": "0.5"}, secrets={"PASSWORD": "hunter2"})
    assert dict(run.metrics) == {"theirs": 0.5, "ours": 0.5}
    assert run.params == {"alpha": "0.5", "data": str(folder / "data.csv"), "file": "data.csv"}
    assert run.tags["mlflow.project.env"] == "local"
    assert {"the password is ********", "the token is ********"} <= set(lines)
    output = Path(run.artifact_uri, OUTPUT_FILE).read_text()
    assert "the password is ********" in output
    assert "hunter2" not in output
    assert run_of(store, run.run_id) == run.run_id
    again = request_of(store, run.run_id)
    assert again.uri == f"bundle:sha256:{run.tags['prefect_ml.project.bundle']}"
    with started("projects", None, parent=None, tags=None, flow_run_id=None, own_code=False) as active:
        request = Request(again.uri, parameters=again.parameters, environment="local", secrets={"PASSWORD": "other"})
        run_here(active, request, Settings(), tell=lines.append, serve=served_beside)
    report = compare(store, run.run_id, active.run_id)
    assert report.equal, report.different
    assert {(row.kind, row.name) for row in report.rows} >= {
        ("source", "source"), ("param", "alpha"), ("data", "data"), ("metric", "theirs"), ("metric", "ours"),
        ("artifact", "note.txt"),
    }  # fmt: skip
    (folder / "data.csv").write_text("3")
    other, _ = ran(folder, parameters={"alpha": "0.7"}, secrets={"PASSWORD": "x"})
    different = {(row.kind, row.name) for row in compare(store, run.run_id, other.run_id).different}
    assert different == {
        ("source", "source"), ("param", "alpha"), ("data", "data"), ("metric", "ours"), ("metric", "theirs")
    }  # fmt: skip
    assert compare(store, run.run_id, other.run_id, tolerance=0.5).different[-1].kind == "data"


def test_an_environment_is_locked_built_once_and_shared(write, ran, store):
    folder = write("own", MLproject="""
        name: own
        python_env: python_env.yaml
        entry_points: {main: {command: python show.py}}
    """)  # fmt: skip
    (folder / "python_env.yaml").write_text("dependencies: [six==1.17.0]")
    (folder / "show.py").write_text(f"import six\n{SHOW}")
    run, lines = ran(folder)
    prefix = Path(json.loads(lines[-1])[2])
    assert prefix.parent == Settings().cache_folder / "environments"
    lock = Path(run.artifact_uri, LOCK_FILE).read_text()
    assert lock.startswith("six==1.17.0")
    assert "--hash=sha256:" in lock
    made = (prefix / "complete").stat().st_ino
    assert lines[:-1] == ["Resolving what the project asks for.", "Building the environment by uv; packages: 1."]
    (folder / "show.py").write_text(f"{SHOW}")
    _, lines = ran(folder)
    assert (json.loads(lines[0])[2], len(lines)) == (str(prefix), 1), "what takes no time says nothing"
    assert (prefix / "complete").stat().st_ino == made
    again = request_of(store, run.run_id)
    assert (again.lock, again.environment) == (lock, "auto")
    # Whoever removed it was killed halfway.
    (prefix / "complete").unlink()
    assert json.loads(ran(folder)[1][-1])[2] == str(prefix)
    assert (prefix / "bin" / "python").exists()
    open_artifacts(run.artifact_uri).put(ABOUT_FILE, io.BytesIO(b"{}"))
    with pytest.raises(CorruptArtifactError, match="was changed since"):
        request_of(store, run.run_id)


def test_two_at_once_build_one_environment(write):
    folder = write("own", requirements_dot_txt="six==1.17.0")
    code = """
import sys
from pathlib import Path
from prefect_ml.projects.environments import build
from prefect_ml.projects.reading import read_project
print(build(read_project(Path(sys.argv[1]), "x.py").environment, Path(sys.argv[1]), Path(sys.argv[2])).new)
"""
    (folder / "x.py").touch()
    command = [sys.executable, "-c", code, folder, Settings().cache_folder]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=200)[0].strip() for process in both]
    assert sorted(told) == ["False", "True"]
    assert len(list((Settings().cache_folder / "environments").glob("*/complete"))) == 1


def test_what_cannot_be_resolved_is_said_and_leaves_nothing(write):
    from prefect_ml.errors import ArtifactError
    from prefect_ml.projects.definition import PythonEnvironment

    cache = Settings().cache_folder
    with pytest.raises(ArtifactError, match="no-such-distribution-of-anybody"):
        build(PythonEnvironment(None, ("no-such-distribution-of-anybody==1",)), write("x", a=""), cache)
    assert not list(cache.rglob("*.partial"))
    assert not list(cache.glob("environments/*/complete"))


@pytest.mark.parametrize(("end", "status", "said"), [
    ("sys.exit(3)", "FAILED", "exit code 3"),
    ("os.kill(os.getpid(), 9)", "FAILED", "SIGKILL"),
    ("os.kill(os.getpid(), 15)", "KILLED", "signal 15"),
])  # fmt: skip
def test_exit_codes_and_signals_are_the_status_of_the_run(write, store, end, status, said):
    folder = write("end", main_dot_py=f"import os, sys\nprint('before', flush=True)\n{end}\n")
    done = subprocess.run(
        [COMMAND, "run", folder, "-e", "main.py", "--experiment", "ends"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "before\n" in done.stdout
    assert said in " ".join(done.stderr.split())
    [run] = store.search_runs([store.get_experiment_by_name("ends").experiment_id]).items
    assert run.status == status
    assert done.returncode != 0


def test_an_interrupted_command_leaves_no_process(write, store, tmp_path):
    write("slow", main_dot_py=f"""
        import os, subprocess, sys, time
        other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        with open({str(tmp_path / "pids")!r}, "w") as stream:
            stream.write(f"{{os.getpid()}} {{other.pid}}")
        time.sleep(600)
    """)  # fmt: skip
    for number, status in ((signal.SIGINT, "KILLED"), (signal.SIGTERM, "KILLED"), (signal.SIGKILL, None)):
        experiment = f"ended by {number}"
        process = subprocess.Popen([COMMAND, "run", tmp_path / "slow", "-e", "main.py", "--experiment", experiment])
        pids = [int(pid) for pid in _eventually(lambda: (tmp_path / "pids").read_text().split())]
        process.send_signal(number)
        process.wait(60)
        _eventually(lambda pids=pids: not any(_alive(pid) for pid in pids))
        (tmp_path / "pids").unlink()
        if status is not None:
            [run] = store.search_runs([store.get_experiment_by_name(experiment).experiment_id]).items
            assert run.status == status


def test_what_a_command_starts_and_leaves_is_reaped_while_it_runs(tmp_path):
    code = """
import os, subprocess, time
for _ in range(20):
    subprocess.run(["/bin/sh", "-c", "sleep 0 &"], check=True)
def dead():
    pids = [name for name in os.listdir("/proc") if name.isdigit()]
    stats = (open(f"/proc/{pid}/stat").read().rpartition(")")[2].split() for pid in pids)
    return sum(fields[0] == "Z" and int(fields[1]) == os.getppid() for fields in stats)
until = time.monotonic() + 30
while True:
    try:
        left = dead()
    except OSError:
        continue
    if not left or time.monotonic() > until:
        break
    time.sleep(0.05)
print(left)
"""
    lines: list[str] = []
    run_command([sys.executable, "-c", code], folder=tmp_path, environment=dict(os.environ), tell=lines.append)
    assert lines == ["0"]


def test_lines_come_as_they_are_written_and_the_end_is_known(tmp_path):
    lines: list[tuple[float, str]] = []
    code = "import sys, time; print('a'); time.sleep(0.5); sys.stderr.write('b\\rc\\n'); print('x' * 40000, end='')"
    ended = run_command(
        [sys.executable, "-uc", code], folder=tmp_path, environment=dict(os.environ),
        tell=lambda line: lines.append((time.monotonic(), line)),
    )  # fmt: skip
    assert ended.code == 0
    assert [line for _, line in lines[:3]] == ["a", "b", "c"]
    assert "".join(line for _, line in lines[3:]) == "x" * 40000
    assert lines[1][0] - lines[0][0] > 0.2
    assert run_command(["/no/such/program"], folder=tmp_path, environment={}, tell=lambda _: None).code == 127


def test_hostile_values_arrive_as_they_are(write, ran):
    folder = write("show", pyproject_dot_toml="""
        [tool.prefect-ml.entry-points.main]
        command = "python show.py {value}"
        parameters = { value = "string" }
    """)  # fmt: skip
    (folder / "show.py").write_text(SHOW)
    for value in ("$(touch x); `y` && z", "--help", "a\nb", "' \" \\", "x" * 5_000):
        _, lines = ran(folder, parameters={"value": value, "more": value})
        assert json.loads(lines[-1])[0] == [value, *([f"--more={value}"] if value[0] == "-" else ["--more", value])]
    assert sorted(path.name for path in folder.iterdir()) == ["pyproject.toml", "show.py"]


def test_a_failed_command_is_an_error_that_can_be_pickled():
    import pickle

    from prefect_ml.projects.process import Ended

    error = ProjectFailedError("main", Ended(3))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - made here


def _command_lines() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _eventually(look):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if found := look():
                return found
        time.sleep(0.1)
    raise AssertionError("it did not happen within 60 s")
