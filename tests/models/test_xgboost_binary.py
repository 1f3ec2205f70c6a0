"""Models that MLflow 2 saved with XGBoost 1.7 in its binary format, which XGBoost reads no more."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from prefect_ml.errors import ArtifactError
from prefect_ml.models.folder import load_model

KEPT = Path(__file__).parent / "saved_by_mlflow" / "2.22.5"
NAMES = ["xgboost_binary_booster", "xgboost_binary_classifier"]


def convert(source, folder, home):
    """How the command ended that the error names."""
    command = [str(Path(sys.executable).with_name("prefect-ml")), "models", "convert", str(source), str(folder)]
    env = {**os.environ, "PREFECT_ML_HOME": str(home), "PREFECT_ML_STORE_URL": f"sqlite:///{home}/ml.db"}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=280, check=False)


@pytest.mark.parametrize("name", NAMES)
def test_the_error_names_the_command_that_converts_it(name):
    with pytest.raises(ArtifactError, match=r"`prefect-ml models convert 'models:/old model/3' NEW_FOLDER`"):
        load_model(KEPT / name, origin="models:/old model/3")


def test_other_models_are_not_converted(tmp_path):
    done = convert(KEPT / "xgboost_classifier", tmp_path / "new", tmp_path)
    assert done.returncode != 0
    assert "no model in XGBoost's old binary format" in done.stderr


@pytest.mark.long
def test_what_is_converted_predicts_what_mlflow_did(tmp_path):
    """An environment with XGBoost 2.1 comes from the index, once."""
    for name in NAMES:
        done = convert(KEPT / name, tmp_path / name, tmp_path)
        assert done.returncode == 0, done.stderr
        record = json.loads((KEPT / f"{name}.json").read_text())
        model = load_model(tmp_path / name, origin="x")
        assert type(model.native).__name__ == {"booster": "Booster", "classifier": "XGBClassifier"}[name.split("_")[-1]]
        predicted = model.predict(pd.DataFrame(record["input"]["columns"]))
        assert np.allclose(predicted, record["output"]["array"], rtol=1e-6)
        again = convert(KEPT / name, tmp_path / name, tmp_path)
        assert again.returncode != 0
        assert "exists already" in again.stderr


@pytest.mark.long
def test_damaged_weights_are_said_by_the_release_that_reads_them(tmp_path):
    shutil.copytree(KEPT / NAMES[0], tmp_path / "m")
    weights = tmp_path / "m/model.xgb"
    weights.write_bytes(weights.read_bytes()[:200])
    done = convert(tmp_path / "m", tmp_path / "new", tmp_path)
    assert done.returncode != 0
    assert "XGBoost 2.1.4 cannot read 'model.xgb'" in done.stderr
    assert not (tmp_path / "new").exists()
