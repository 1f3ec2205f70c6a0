"""Projects with conda packages: a real conda over a channel on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

sys.path.append(str(Path(__file__).parent))
from conda_channel import conda_in, make_channel

from prefect_ml.errors import ArtifactError, InvalidInputError
from prefect_ml.projects.conda_build import create_again
from prefect_ml.projects.definition import CondaEnvironment
from prefect_ml.projects.environments import build
from prefect_ml.settings import Settings
from prefect_ml.store import open_store

COMMAND = Path(sys.executable).with_name("prefect-ml")
SHOW = """
    import json, os, sys
    from pathlib import Path
    import six
    said = Path(os.environ["CONDA_PREFIX"], "share", "greeting.txt").read_text()
    print(json.dumps([sys.prefix, six.__version__, said, sys.version.split()[0]]))
"""


@pytest.fixture(scope="module")
def conda(tmp_path_factory):
    """A conda's folder and the URL of a channel."""
    folder = tmp_path_factory.mktemp("conda")
    found = conda_in(folder / "own")
    if found is None:
        if os.environ.get("PREFECT_ML_REQUIRE_ALL"):
            pytest.fail("There is no conda, and no Python 3.6 to run the one of PyPI.")
        pytest.skip("There is no conda, and no Python 3.6 to run the one of PyPI.")
    return found, make_channel(folder / "channel")


@pytest.fixture
def on_path(conda, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", f"{conda[0]}{os.pathsep}{os.environ['PATH']}")
    # Packages are unpacked here, not at home.
    monkeypatch.setenv("CONDA_PKGS_DIRS", str(tmp_path / "packages"))
    return conda[1]


def run(what, folder, *more):
    done = subprocess.run(
        [COMMAND, what, folder, *more, "--json"], capture_output=True, text=True, timeout=300, check=False
    )
    return done, json.loads(done.stdout) if done.stdout else {}


@pytest.mark.long  # conda is installed, and a Python is packed and unpacked
def test_conda_builds_once_what_a_project_asks_for_and_builds_it_again_from_the_lock(on_path, tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    (project / "MLproject").write_text(
        "name: c\nconda_env: conda.yaml\nentry_points: {main: {command: python show.py}}\n"
    )
    asked = f"""
        name: c
        channels: ["{on_path}", nodefaults]
        dependencies:
        - python={sys.version_info[0]}.{sys.version_info[1]}
        - greeting=1.0
        - pip
        - pip: [six==1.17.0]
    """
    (project / "conda.yaml").write_text(dedent(asked))
    (project / "show.py").write_text(dedent(SHOW))
    done, told = run("run", project)
    assert done.returncode == 0, done.stderr
    store = open_store()
    before = store.get_run(told["run_id"])
    assert before.tags["mlflow.project.env"] == "conda"
    prefix, six, said, version = json.loads(done.stderr.strip().splitlines()[-1])
    assert (six, said) == ("1.17.0", "hello 1.0")
    assert version == ".".join(map(str, sys.version_info[:3]))
    assert Path(prefix).parent == Settings().cache_folder / "environments"
    lock = Path(before.artifact_uri, "project", "lock.txt").read_text().splitlines()
    assert lock[0] == "@EXPLICIT"
    assert [line.split("/")[-1].split("#")[0] for line in lock[1:-2]] == [
        f"python-{version}-0.tar.bz2", "greeting-1.0-0.tar.bz2", "pip-1.0-0.tar.bz2",
    ]  # fmt: skip
    assert lock[-2:] == ["# by pip", "six==1.17.0"]
    made = Path(prefix, "complete").stat().st_ino
    done, _ = run("run", project)
    assert json.loads(done.stderr.strip().splitlines()[-1])[0] == prefix
    assert Path(prefix, "complete").stat().st_ino == made
    # Its lock is built, whatever the file would get by now.
    done, report = run("reproduce", before.run_id, "--no-flow")
    assert (done.returncode, report.get("equal")) == (0, True), done.stdout + done.stderr
    assert ("lock", "project/lock.txt", True) in {(row["kind"], row["name"], row["equal"]) for row in report["rows"]}
    again, *rest = json.loads(done.stderr.strip().splitlines()[-1])
    assert (again != prefix, rest) == (True, [six, said, version])
    store.close()


@pytest.mark.long
def test_what_conda_cannot_find_or_is_not_what_the_lock_says_is_refused_in_its_words_and_leaves_nothing(on_path):
    asked = CondaEnvironment(f"channels: ['{on_path}', nodefaults]\ndependencies: [no-such-package-of-anybody]\n")
    cache = Settings().cache_folder
    with pytest.raises(ArtifactError, match="no-such-package-of-anybody"):
        build(asked, Path.cwd(), cache)
    changed = f"@EXPLICIT\n{on_path}/noarch/greeting-1.0-0.tar.bz2#{'0' * 32}\n"
    with pytest.raises(ArtifactError, match=r"greeting-1\.0-0\.tar\.bz2' is not the one"):
        build(asked, Path.cwd(), cache, kept=changed)
    assert not [path for path in (cache / "environments").iterdir() if not path.name.endswith(".lock")]


@pytest.mark.parametrize("lock", [
    "six==1.17.0\n",
    "@EXPLICIT\nhttps://x.org/a.exe\n",
    "@EXPLICIT\n--file\n",
    f"@EXPLICIT\nhttps://ann:secret@x.org/a.conda#{'0' * 32}\n",
    "@EXPLICIT\n# by pip\n--index-url https://x.org\n",
])  # fmt: skip
def test_a_lock_of_condas_that_was_changed_since_is_refused(tmp_path, lock):
    with pytest.raises(InvalidInputError, match="lock that was kept"):
        create_again("/none", lock, tmp_path / "made")
    assert not list(tmp_path.iterdir())
