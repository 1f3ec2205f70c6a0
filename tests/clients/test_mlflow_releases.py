"""The oldest release of MLflow 2 and the newest one without its server, each in an interpreter of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("core_calls.py")
UV = Path(sys.executable).with_name("uv")
# MLflow 2.0 imports pkg_resources, which setuptools no longer has.
RELEASES = {"2.0.0": ["mlflow-skinny==2.0.0", "setuptools<81"], "3.17.2": ["mlflow-skinny==3.17.2"]}


@pytest.mark.parametrize("release", RELEASES)
def test_the_core_calls_of_a_release_work(server, client_environment, release):
    name = f"release {release} {uuid.uuid4().hex}"
    found = read(release, client_environment, server.url, name)
    assert found["version"] == release
    assert found["tracked"] == {
        "params": {"depth": "3", "rate": "0.1", "p": "1"},
        "metrics": {"auc": 0.5, "m": 499.0},
        "team": "growth",
        "name": "outer",
        "status": "FINISHED",
        "history": [[0, 0.0], [1, 0.25], [2, 0.5]],
        "points": 500,
        "nan": "nan",
        "parent": True,
        "searched": True,
        "frame": 1,
    }
    assert found["stored"] == {
        "got": "hello",
        "listed": {"words": [True, None], "config.json": [False, 12]},
        "inside": ["words/a b.txt"],
    }
    assert found["deleted"] == {"run": True, "stage": "deleted", "listed": [{"a": "1", "b": "2"}]}
    assert found["registered"] == {
        "description": "who leaves",
        "tags": {"team": "growth"},
        "versions": [1, 2],
        "latest": {"Production": 1, "None": 2},
        "aliased": None if release == "2.0.0" else 2,
        "searched": True,
        "uri": "s3://models/churn",
        "first": "first",
    }
    assert found["refused"] == ["RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_PARAMETER_VALUE"]


def read(release: str, environment: dict[str, str], url: str, name: str) -> dict[str, object]:
    """What the script read with a release; uv keeps the packages, so that only the first run downloads them."""
    command = [UV, "run", "--quiet", "--no-project", "--isolated", "--python", sys.executable]
    for requirement in RELEASES[release]:
        command += ["--with", requirement]
    done = subprocess.run(
        [*command, "python", SCRIPT, url, name],
        env={**environment, "UV_EXCLUDE_NEWER": "2026-11-24T00:00:00Z"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found
