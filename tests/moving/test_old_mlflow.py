"""A database that MLflow 2.0 wrote, whose tables are those of 2022, comes over like a new one."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prefect_ml.artifacts import open_artifacts
from prefect_ml.entities import Stage
from prefect_ml.moving.opening import mlflow_origin
from prefect_ml.moving.transfer import take_over

UV = Path(sys.executable).with_name("uv")
# MLflow 2.0 imports pkg_resources, which setuptools no longer has, and knows no SQLAlchemy 2.
RELEASE = ("mlflow-skinny==2.0.1", "setuptools<70", "sqlalchemy<2", "alembic")


@pytest.fixture(scope="module")
def old_world(tmp_path_factory):
    """The URL of the database, and the id of its run; uv keeps the packages, so only the first run downloads them."""
    folder = tmp_path_factory.mktemp("old")
    url = f"sqlite:///{folder / 'mlflow.db'}"
    command = [UV, "run", "--quiet", "--no-project", "--isolated", "--python", sys.executable]
    for requirement in RELEASE:
        command += ["--with", requirement]
    done = subprocess.run(
        [*command, "python", Path(__file__).with_name("old_mlflow_world.py"), url, str(folder)],
        env={**os.environ, "UV_EXCLUDE_NEWER": "2026-11-24T00:00:00Z"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return url, json.loads(done.stdout.splitlines()[-1])["run"]


def test_an_old_database_comes_over(old_world, store):
    url, run_id = old_world
    origin = mlflow_origin(url)
    report = take_over(origin, store)
    origin.close()
    assert (report.conflicts, report.failures, report.left_behind) == ([], [], [])
    moved = store.get_moved_run(run_id)
    assert (moved.run.name, moved.run.params) == ("ancient", {"a": "1"})
    assert [(point.step, math.isnan(point.value)) for point in moved.points] == [(1, False), (3, True)]
    assert open_artifacts(moved.run.artifact_uri).read("notes/a.txt") == b"hello"
    model = store.get_moved_model("m")
    assert [(version.version, version.stage) for version in model.versions] == [(2, Stage.STAGING)]
    assert store.create_model_version("m", "s3://elsewhere/model").version == 3
