"""Model folders that MLflow 2 and 3 saved open here without MLflow, and ours open in MLflow 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import catboost
import lightgbm
import numpy as np
import pytest
import statsmodels.api as sm
import xgboost
import yaml
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from prefect_ml.models.folder import save_model

HERE = Path(__file__).parent
KEPT = HERE / "saved_by_mlflow"
SECTIONS = {"catboost", "lightgbm", "onnx", "sklearn", "statsmodels", "xgboost"}
FOLDERS = [
    file.parent
    for file in sorted(KEPT.glob("*/*/MLmodel"))
    if SECTIONS & yaml.safe_load(file.read_text())["flavors"].keys()
    and not file.parent.name.startswith("xgboost_binary")  # see test_xgboost_binary.py
]
PICKLED = {
    "lightgbm_classifier", "sklearn_cloudpickle", "sklearn_own_code", "sklearn_pickle", "statsmodels_glm",
    "statsmodels_ols",
}  # fmt: skip


@pytest.fixture(scope="module")
def opened():
    command = [sys.executable, "-B", str(HERE / "without_mlflow.py"), *map(str, FOLDERS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads(done.stdout)
    assert answer["mlflow"] == []
    return answer["answers"]


def test_models_of_two_major_releases_are_kept():
    majors = {path.parent.name.split(".")[0] for path in FOLDERS}
    assert majors == {"2", "3"}
    for major in majors:
        mine = [path for path in FOLDERS if path.parent.name.startswith(f"{major}.")]
        assert {name for path in mine for name in SECTIONS if path.name.startswith(name)} == SECTIONS


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_mlflow_saved_predicts_the_same_without_mlflow(opened, folder):
    answer = opened[str(folder)]
    assert "error" not in answer, answer
    assert answer["same"], answer
    assert answer["flavor"] == folder.name.split("_")[0]
    assert answer["refused"] is (folder.name in PICKLED)


ALONE = """
import json, sys
from pathlib import Path
for name in sys.argv[1].split(","):
    sys.modules[name] = None
from prefect_ml.errors import ArtifactError
from prefect_ml.models.folder import load_model
said = {}
for folder in sys.argv[2:]:
    try:
        load_model(Path(folder), origin="theirs", trusted_origins=["theirs"])
    except ArtifactError as error:
        said[Path(folder).name] = str(error)
print(json.dumps(said))
"""


@pytest.mark.parametrize(
    ("missing", "hints"),
    [
        (
            "catboost,lightgbm,onnxruntime,sklearn,skops,statsmodels,xgboost",
            {
                "catboost_classifier": "prefect-ml[catboost]",
                "lightgbm_booster": "prefect-ml[lightgbm]",
                "onnx_one_file": "needs onnxruntime; pip install 'prefect-ml[onnx]'",
                "sklearn_pickle": "ModuleNotFoundError(\"No module named 'sklearn",
                "sklearn_skops": "needs skops; pip install 'prefect-ml[sklearn]'",
                "statsmodels_glm": "prefect-ml[statsmodels]",
                "xgboost_booster": "prefect-ml[xgboost]",
            },
        ),
        ("sklearn", {"xgboost_classifier": "needs scikit-learn", "lightgbm_classifier": "sklearn"}),
    ],
    ids=["all", "scikit-learn"],
)
def test_a_library_that_is_missing_is_named_with_what_installs_it(missing, hints):
    folders = [str(KEPT / "3.17.2" / name) for name in hints]
    command = [sys.executable, "-B", "-c", ALONE, missing, *folders]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    assert said.keys() == hints.keys()
    assert {name: hints[name] for name in hints if hints[name] not in said[name]} == {}, said


def ours(cancer):
    """Models of each kind, in the formats in which they are saved here."""
    x, y = cancer
    quiet = {"verbose": False, "allow_writing_files": False, "iterations": 3}
    return {
        "sklearn": RandomForestClassifier(n_estimators=3).fit(x, y),
        "xgboost": xgboost.XGBClassifier(n_estimators=3).fit(x, y),
        "lightgbm": lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(x, y),
        "lightgbm_booster": lightgbm.train({"verbose": -1}, lightgbm.Dataset(x, y), 3),
        "catboost": catboost.CatBoostClassifier(**quiet).fit(x, y),
        "statsmodels": sm.OLS(y, x).fit(),
        "statsmodels_pickle": sm.OLS(y, x).fit(),
        "onnx": convert_sklearn(scaled(x, y), initial_types=[("x", FloatTensorType([None, 10]))], target_opset=17),
    }


def scaled(x, y):
    return make_pipeline(StandardScaler(), LinearRegression()).fit(x, y)


OPEN = """
import json, sys
import mlflow, numpy as np, pandas as pd
frame = pd.read_json(sys.argv[1], orient="split")
answers = {"version": mlflow.__version__, "native": {}}
for folder in sys.argv[2:]:
    answers[folder] = np.asarray(mlflow.pyfunc.load_model(folder).predict(frame)).reshape(-1).tolist()
    name = folder.rsplit("/", 1)[1]
    try:
        native = getattr(mlflow, name.split("_")[0]).load_model(folder)
        answers["native"][name] = type(native).__name__
    except Exception as error:
        answers["native"][name] = type(error).__name__
print(json.dumps(answers))
"""
RELEASE = (
    "mlflow==2.22.5", "scikit-learn==1.9.1", "xgboost-cpu==3.2.0", "lightgbm==4.7.0", "catboost==1.2.10",
    "statsmodels==0.15.0", "skops==0.16.0", "onnx==1.23.2", "onnxruntime==1.32.0",
)  # fmt: skip


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_ours_open_in_mlflow_2(tmp_path, cancer):
    x, y = cancer
    x[:20].to_json(tmp_path / "rows.json", orient="split")
    expected = {}
    for name, model in ours(cancer).items():
        save_model(model, tmp_path / name, input_example=x[:2], allow_pickle=name.endswith("pickle"))
        predicting = scaled(x, y) if name == "onnx" else model
        expected[str(tmp_path / name)] = predicting.predict(x[:20])
    uv = Path(sys.executable).with_name("uv")
    command = [uv, "run", "--quiet", "--no-project", "--isolated", "--python", sys.executable]
    for requirement in RELEASE:
        command += ["--with", requirement]
    done = subprocess.run(
        [*command, "python", "-c", OPEN, str(tmp_path / "rows.json"), *expected],
        env={**os.environ, "UV_EXCLUDE_NEWER": "2026-11-24T00:00:00Z"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answers = json.loads(done.stdout.splitlines()[-1])
    assert answers.pop("version") == "2.22.5"
    # It does not know skops, nor parameters of statsmodels as JSON; its pyfunc opens these.
    assert answers.pop("native") == {
        "sklearn": "MlflowException",
        "xgboost": "XGBClassifier",
        "lightgbm": "UnpicklingError",
        "lightgbm_booster": "Booster",
        "catboost": "CatBoostClassifier",
        "statsmodels": "UnpicklingError",
        "statsmodels_pickle": "RegressionResultsWrapper",
        "onnx": "ModelProto",
    }
    assert answers.keys() == expected.keys()
    for folder, predictions in expected.items():
        assert np.allclose(answers[folder], predictions, atol=1e-4), folder
