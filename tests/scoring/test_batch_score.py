"""Scoring of whole data sets, as flows on a real Prefect API."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from prefect.client.orchestration import get_client

import prefect_ml as ml
from prefect_ml.entities import RunStatus
from prefect_ml.flows.batch_score import batch_score

sys.path.append(str(Path(__file__).parent))
from customers import ROWS, expected, rows_of

pytestmark = pytest.mark.usefixtures("prefect_api")


def scores_at(folder):
    """What a reader of Parquet folders finds."""
    return pq.read_table(folder).to_pandas()


def written(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("part-*.parquet")}


def test_a_folder_of_parquet_is_scored_once_in_order_and_recorded(model_folder, parquet_folder, tmp_path):
    output = tmp_path / "scores"
    manifest = batch_score(str(model_folder), str(parquet_folder), str(output), rows_per_chunk=200, keep=["id"])
    frame = rows_of(ROWS)
    found = scores_at(output)
    assert list(found.columns) == ["id", "prediction"]
    assert found["id"].tolist() == frame["id"].tolist()
    np.testing.assert_allclose(found["prediction"], expected(frame))
    assert json.loads((output / "_manifest.json").read_bytes()) == manifest
    assert manifest["rows"] == ROWS
    assert manifest["quarantined"] == 0
    assert [each["rows"] for each in manifest["inputs"]] == [600, 400]
    assert all(each["digest"].startswith("sha256:") for each in manifest["inputs"])
    assert sum(part["rows"] for part in manifest["parts"]) == ROWS
    assert max(part["rows"] for part in manifest["parts"]) <= 200

    run = ml.get_run(manifest["run_id"])
    assert run.status is RunStatus.FINISHED
    assert run.metrics["rows"] == ROWS
    assert run.metrics["seconds"] > 0
    [used] = run.inputs
    assert json.loads(used.dataset.source) == {"uri": str(parquet_folder)}
    assert used.tags["mlflow.data.context"] == "scoring"
    [noted] = [value for key, value in run.tags.items() if key.startswith("prefect_ml.model_input.")]
    assert json.loads(noted)["uri"] == str(model_folder)
    with get_client(sync_client=True) as client:
        query = {"artifacts": {"flow_run_id": {"any_": [run.tags["prefect_ml.flow_run_id"]]}}}
        artifacts = client.request("POST", "/artifacts/filter", json=query).json()
    shown = {each["key"]: each for each in artifacts}
    assert shown["batch-score-progress"]["data"] == 100.0
    assert manifest["model"]["digest"] in shown["batch-score"]["data"]
    assert len(json.loads(shown["batch-score-parts"]["data"])) == len(manifest["parts"])
