"""Deep models and custom ones that MLflow 2 and 3 saved open here without MLflow, and MLflow opens ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deep import need_later
from prefect_ml.models.folder import load_model, save_model

os.environ["KERAS_BACKEND"] = "torch"
os.environ["HF_HUB_OFFLINE"] = "1"
torch = need_later("torch")
keras = need_later("keras")
need_later("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")

HERE = Path(__file__).parent
FLAVORS = ("pytorch", "keras", "transformers", "python_function")
FOLDERS = [
    file.parent
    for file in sorted(HERE.glob("saved_by_mlflow/*/*/MLmodel"))
    if file.parent.name.startswith(tuple(f"{flavor}_" for flavor in FLAVORS))
]
# The rest loads from anywhere.
TRUSTED_ALONE = ("pytorch_module", "pytorch_script", "python_function")
ROWS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def opened():
    command = [sys.executable, str(HERE / "without_mlflow.py"), *map(str, FOLDERS)]
    # Keras takes the backend that the model was saved with.
    env = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads(done.stdout)
    assert answer["mlflow"] == []
    return answer["answers"]


def test_each_flavor_of_two_major_releases_is_kept():
    for major in ("2", "3"):
        names = {path.name for path in FOLDERS if path.parent.name.startswith(f"{major}.")}
        assert {flavor for flavor in FLAVORS for name in names if name.startswith(flavor)} == set(FLAVORS)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_mlflow_saved_predicts_the_same_without_mlflow(opened, folder):
    answer = opened[str(folder)]
    assert "error" not in answer, answer
    assert answer["same"], answer
    assert answer["flavor"] == next(flavor for flavor in FLAVORS if folder.name.startswith(flavor))
    assert answer["refused"] is folder.name.startswith(TRUSTED_ALONE)
    assert not list(folder.rglob("*.pyc"))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)).eval()


@pytest.mark.parametrize("pickled", [False, True], ids=["graph", "pickle"])
def test_mlflow_opens_our_modules_of_pytorch(network, tmp_path, pickled, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", str(pickled).lower())
    if pickled:
        save_model(network, tmp_path / "m", allow_pickle=True)
    else:
        save_model(network, tmp_path / "m", input_example=ROWS)
    found = load_model(tmp_path / "m", origin="x", trusted_origins=["x"] * pickled).predict(ROWS)
    assert np.allclose(mlflow.pyfunc.load_model(str(tmp_path / "m")).predict(ROWS), found)
    theirs = mlflow.pytorch.load_model(str(tmp_path / "m"), **({"weights_only": False} if pickled else {}))
    assert np.allclose(theirs(torch.from_numpy(ROWS)).detach().numpy(), found)


def test_mlflow_opens_our_models_of_keras(tmp_path):
    import mlflow

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    save_model(model, tmp_path / "m", input_example=ROWS)
    found = load_model(tmp_path / "m", origin="x").predict(ROWS)
    assert np.allclose(mlflow.pyfunc.load_model(str(tmp_path / "m")).predict(ROWS), found)
    assert np.allclose(mlflow.keras.load_model(str(tmp_path / "m")).predict(ROWS, verbose=0), found)
