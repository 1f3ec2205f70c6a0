"""CatBoost: what is saved here opens in MLflow, and what is damaged or made up is refused."""

from __future__ import annotations

import catboost
import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml

from prefect_ml.errors import ArtifactError, InvalidInputError
from prefect_ml.models.folder import load_model, save_model

# MLflow's own warnings
pytestmark = pytest.mark.filterwarnings("ignore")

QUIET = {"iterations": 4, "depth": 2, "verbose": False, "allow_writing_files": False, "thread_count": 1}


@pytest.fixture(scope="module")
def models(cancer):
    x, y = cancer
    groups = np.arange(len(x)) // 10
    return {
        "CatBoost": catboost.CatBoost({"loss_function": "Logloss", **QUIET}).fit(x, y),
        "CatBoostClassifier": catboost.CatBoostClassifier(**QUIET).fit(x, y.map({0: "benign", 1: "bad"})),
        "CatBoostRegressor": catboost.CatBoostRegressor(**QUIET).fit(x, y),
        "CatBoostRanker": catboost.CatBoostRanker(**QUIET).fit(catboost.Pool(x, y, group_id=groups)),
    }


@pytest.mark.parametrize("name", ["CatBoost", "CatBoostClassifier", "CatBoostRegressor", "CatBoostRanker"])
def test_what_is_saved_here_loads_here_and_in_mlflow(tmp_path, cancer, models, name):
    model, (x, _) = models[name], cancer
    folder = tmp_path / "m"
    info = save_model(model, folder, input_example=x[:3])
    assert list(info.flavors) == ["catboost", "python_function"]
    loaded = load_model(folder, origin="of a stranger")
    assert type(loaded.native) is type(model)
    assert np.array_equal(loaded.predict(x), model.predict(x))
    assert np.array_equal(mlflow.pyfunc.load_model(str(folder)).predict(x), model.predict(x))
    native = mlflow.catboost.load_model(str(folder))
    assert type(native) is type(model)
    assert np.array_equal(native.predict(x), model.predict(x))
    assert "catboost==" in (folder / "requirements.txt").read_text()


def test_categories_and_params_of_predict_are_taken(tmp_path):
    frame = pd.DataFrame({"c": ["a", "b", "c"] * 10, "n": np.arange(30.0)})
    model = catboost.CatBoostClassifier(cat_features=["c"], **QUIET).fit(frame, [0, 1, 1] * 10)
    save_model(model, tmp_path / "m", input_example=frame[:2])
    loaded = load_model(tmp_path / "m", origin="x")
    assert np.array_equal(loaded.predict(frame), model.predict(frame))
    chances = loaded.flavor.predict(loaded.native, frame, {"prediction_type": "Probability"})
    assert np.array_equal(chances, model.predict_proba(frame))


def test_a_model_that_was_not_fitted_is_said(tmp_path):
    with pytest.raises(InvalidInputError, match="fit it"):
        save_model(catboost.CatBoostClassifier(), tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 64, b"CBM1\xff\xff\xff\x7f", None], ids=["empty", "no", "long", "cut"]
)
def test_damaged_weights_are_said(tmp_path, models, content):
    save_model(models["CatBoostRegressor"], tmp_path / "m")
    weights = tmp_path / "m/model.cbm"
    weights.write_bytes(weights.read_bytes()[:300] if content is None else content)
    with pytest.raises(ArtifactError, match=r"cannot load 'model\.cbm'"):
        load_model(tmp_path / "m", origin="x")
    weights.unlink()
    with pytest.raises(ArtifactError, match="missing"):
        load_model(tmp_path / "m", origin="x")


@pytest.mark.parametrize(
    "change", [{"model_type": "EFstrType"}, {"save_format": "python"}, {"model_type": ["a"]}], ids=str
)
def test_only_catboosts_own_classes_and_formats_are_built(tmp_path, models, change):
    save_model(models["CatBoost"], tmp_path / "m")
    file = tmp_path / "m/MLmodel"
    content = yaml.safe_load(file.read_text())
    content["flavors"]["catboost"] |= change
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(ArtifactError, match="can be loaded"):
        load_model(tmp_path / "m", origin="x")
