"""The commands, as a user runs them; and the flows, as Prefect does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prefect_ml.artifacts import open_artifacts
from prefect_ml.entities import Metric
from prefect_ml.errors import InvalidInputError
from prefect_ml.moving.opening import mlflow_origin
from prefect_ml.moving.retention import plan, remove
from prefect_ml.moving.transfer import take_over
from prefect_ml.store import open_store
from served import TrackingServer

COMMAND = Path(sys.executable).with_name("prefect-ml")


def command(*arguments: str, code: int = 0, **environment: str) -> str:
    done = subprocess.run(
        [COMMAND, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def fill(store):
    run = store.create_run(store.create_experiment("churn"), run_id="a" * 32, name="first")
    store.log_batch(run.run_id, metrics=[Metric("loss", 0.5, 10, 1)])
    open_artifacts(run.artifact_uri).put("model/MLmodel", b"flavors: {}\n")
    store.create_registered_model("churn")
    for _ in range(2):
        store.create_model_version("churn", f"{run.artifact_uri}/model", run_id=run.run_id)
    store.set_alias("churn", "champion", 2)


def test_export_import_and_retention(new_store, tmp_path):
    there = new_store("there")
    fill(there)
    environment = {"PREFECT_ML_STORE_URL": there.url}
    told = json.loads(command("export", str(tmp_path / "export"), "--json", **environment))
    assert told["counts"]["runs"]["copied"] == 1
    here = new_store("here")
    environment = {"PREFECT_ML_STORE_URL": here.url}
    told = command("import", "folder", "--from", str(tmp_path / "export"), **environment)
    assert "Everything that can be moved is here as it is there." in " ".join(told.split())
    assert here.get_alias("churn", "champion").version == 2
    here.delete_experiment(here.get_experiment_by_name("churn").experiment_id)
    told = command("retention", "--older-than", "0s", **environment)
    assert "model versions need them" in told
    assert "Run it with --yes" in told
    told = json.loads(command("retention", "--older-than", "0s", "--yes", "--held", "--json", **environment))
    assert [each["what"]["kind"] for each in told["gone"]] == ["run", "experiment"]
    told = command("import", "folder", "--from", str(tmp_path), code=1, **environment)
    assert "no whole export" in told


def test_a_model_is_copied_to_a_server_comes_back_by_rest_and_is_swept_there(store, new_store, tmp_path):
    fill(store)
    with TrackingServer(tmp_path / "server") as server:
        copied = command("models", "copy", "models:/churn@champion", "--to", server.url, PREFECT_ML_STORE_URL=store.url)
        assert "Everything that can be moved" in " ".join(copied.split())
        other = open_store(server.url)
        model = other.get_moved_model("churn")
        assert [version.version for version in model.versions] == [2]
        assert model.model.aliases == {}
        version = model.versions[0]
        assert (version.run_id, version.source[:18]) == ("a" * 32, "mlflow-artifacts:/")
        assert other.get_run("a" * 32).metrics == {"loss": 0.5}
        back = new_store("back")
        origin = mlflow_origin(server.url)
        report = take_over(origin, back)
        origin.close()
        assert (report.conflicts, report.failures, report.files) == ([], [], 1)
        assert [*back.get_moved_run("a" * 32).points] == [*other.get_moved_run("a" * 32).points]
        assert back.get_model_version("churn", 2).run_id == "a" * 32
        other.delete_run("a" * 32)
        assert [each.held_by for each in plan(other, 0).kept] == [("models:/churn/2",)]
        assert remove(other, 0, held=True).bytes == 12
        assert list((server.artifacts / "1").glob("a*")) == []
        other.close()
        again = json.loads(
            command("models", "copy", "models:/churn", "--to", server.url, "--json", PREFECT_ML_STORE_URL=store.url)
        )
        assert (again["complete"], again["counts"]["model versions"]["copied"], again["files"]) == (True, 1, 1)
    told = command(
        "models", "copy", "models:/churn/1", "--to", "sqlite:///x.db", code=1, PREFECT_ML_STORE_URL=store.url
    )
    assert "prefect-ml export" in told


def test_the_flow_imports_and_leaves_its_report(prefect_api, world, store, monkeypatch):
    from prefect.artifacts import Artifact

    from prefect_ml.flows.import_mlflow import import_mlflow

    monkeypatch.setenv("PREFECT_ML_STORE_URL", store.url)
    report = import_mlflow(world.url)
    assert report["complete"]
    assert report["counts"]["runs"] == {"found": 2, "copied": 2, "present": 0, "refused": 0}
    artifact = Artifact.get("import-mlflow")
    assert "| runs | 2 | 2 | 0 | 0 |" in artifact.data
    store.set_experiment_tag(store.get_experiment_by_name("churn").experiment_id, "team", "other")
    state = import_mlflow(world.url, return_state=True)
    assert (state.type, state.name) == ("COMPLETED", "Incomplete")
    with pytest.raises(InvalidInputError, match="MLFLOW_TRACKING_USERNAME"):
        import_mlflow("http://ann:secret@127.0.0.1:9")


def test_the_flow_removes_only_when_it_is_told_to(prefect_api, store, monkeypatch):
    from prefect_ml.flows.retention import remove_deleted

    monkeypatch.setenv("PREFECT_ML_STORE_URL", store.url)
    run = store.create_run("0")
    store.delete_run(run.run_id)
    assert remove_deleted("0s")["done"] is False
    assert store.get_run(run.run_id).run_id == run.run_id
    assert remove_deleted("0s", dry_run=False) == {"done": True, "gone": {"run": 1}, "files": 0, "bytes": 0, "kept": 0}
