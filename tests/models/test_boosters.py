"""XGBoost and LightGBM: what is saved here opens in MLflow, and what MLflow saved opens here."""

from __future__ import annotations

import json

import lightgbm
import mlflow
import numpy as np
import pandas as pd
import pytest
import xgboost
import yaml
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from prefect_ml.errors import ArtifactError, InvalidInputError, UntrustedModelError
from prefect_ml.models.folder import load_model, save_model

# MLflow's own warnings
pytestmark = pytest.mark.filterwarnings("ignore")

QUIET = {"verbose": -1, "num_leaves": 7}


@pytest.fixture(scope="module")
def models(cancer):
    x, y = cancer
    return {
        "xgboost booster": xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(x, y), 4),
        "xgboost classifier": xgboost.XGBClassifier(n_estimators=4).fit(x, y),
        "xgboost regressor": xgboost.XGBRegressor(n_estimators=4).fit(x, y),
        "xgboost forest": xgboost.XGBRFClassifier(n_estimators=4).fit(x, y),
        "lightgbm booster": lightgbm.train({"objective": "binary", **QUIET}, lightgbm.Dataset(x, y), 4),
        "lightgbm classifier": lightgbm.LGBMClassifier(n_estimators=4, **QUIET).fit(x, y),
        "lightgbm stopped": lightgbm.LGBMRegressor(n_estimators=20, early_stopping_round=1, **QUIET).fit(
            x[100:], y[100:], eval_X=x[:100], eval_y=y[:100]
        ),
    }


NAMES = [
    "xgboost booster", "xgboost classifier", "xgboost regressor", "xgboost forest", "lightgbm booster",
    "lightgbm classifier", "lightgbm stopped",
]  # fmt: skip


def predicted(model, x):
    return model.predict(xgboost.DMatrix(x) if isinstance(model, xgboost.Booster) else x)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_saved_here_loads_here_and_in_mlflow(tmp_path, cancer, models, name):
    model, (x, _) = models[name], cancer
    folder = tmp_path / "m"
    info = save_model(model, folder, input_example=x[:3])
    library = name.split()[0]
    assert list(info.flavors) == [library, "python_function"]
    expected = predicted(model, x)
    loaded = load_model(folder, origin="of a stranger")
    assert type(loaded.native) is type(model)
    assert np.array_equal(loaded.predict(x), expected)
    assert np.allclose(mlflow.pyfunc.load_model(str(folder)).predict(x), expected)
    native = getattr(mlflow, library).load_model(str(folder))
    assert type(native) is type(model)
    assert np.allclose(predicted(native, x), expected)
    assert f"{library}" in (folder / "requirements.txt").read_text()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "lightgbm stopped"])
def test_what_mlflow_saved_loads_here(tmp_path, cancer, models, name):
    model, (x, _) = models[name], cancer
    folder = tmp_path / "m"
    trusted = {}
    if name == "lightgbm classifier":
        types = ["collections.OrderedDict", "lightgbm.basic.Booster", "lightgbm.sklearn.LGBMClassifier"]
        trusted = {"skops_trusted_types": types, "serialization_format": "skops"}
    getattr(mlflow, name.split()[0]).save_model(model, str(folder), pip_requirements=[], **trusted)
    loaded = load_model(folder, origin="of a stranger")
    assert type(loaded.native) is type(model)
    assert np.array_equal(loaded.predict(x), predicted(model, x))


def test_estimators_of_lightgbm_that_mlflow_pickled_load_from_trusted_origins_alone(tmp_path, cancer, models):
    model, folder = models["lightgbm classifier"], tmp_path / "m"
    mlflow.lightgbm.save_model(model, str(folder), pip_requirements=[], serialization_format="cloudpickle")
    with pytest.raises(UntrustedModelError, match="PREFECT_ML_TRUSTED_ORIGINS"):
        load_model(folder, origin="of a stranger")
    trusted = load_model(folder, origin="ours", trusted_origins=["ours"])
    assert np.array_equal(trusted.predict(cancer[0]), model.predict(cancer[0]))


def trained_on_categories(name, frame, target):
    if name == "xgboost classifier":
        return xgboost.XGBClassifier(n_estimators=2, enable_categorical=True).fit(frame, target)
    if name == "xgboost booster":
        return xgboost.train({}, xgboost.DMatrix(frame, target, enable_categorical=True), 2)
    if name == "lightgbm classifier":
        return lightgbm.LGBMClassifier(n_estimators=2, min_child_samples=2, **QUIET).fit(frame, target)
    return lightgbm.train({"min_data_in_leaf": 2, **QUIET}, lightgbm.Dataset(frame, target), 2)


@pytest.mark.parametrize("name", ["xgboost classifier", "xgboost booster", "lightgbm classifier", "lightgbm booster"])
def test_categories_are_predicted_with(tmp_path, name):
    """A signature has no categories, so that they come as texts and numbers, in any order."""
    columns = {"c": pd.Categorical(["b", "a", "c"] * 10), "n": np.arange(30.0), "i": pd.Categorical([7, 5, 9] * 10)}
    frame = pd.DataFrame(columns)
    model = trained_on_categories(name, frame, [0, 1, 1] * 10)
    expected = model.predict(xgboost.DMatrix(frame, enable_categorical=True) if name == "xgboost booster" else frame)
    save_model(model, tmp_path / "free")
    assert np.array_equal(load_model(tmp_path / "free", origin="x").predict(frame), expected)
    save_model(model, tmp_path / "m", input_example=frame[:3])
    loaded = load_model(tmp_path / "m", origin="x")
    assert [column.type for column in loaded.signature.inputs] == ["string", "double", "long"]
    plain = frame.astype({"c": str, "i": "int64"})[::-1]
    assert np.array_equal(loaded.predict(plain)[::-1], expected)
    assert np.array_equal(loaded.predict(plain[:1]), expected[-1:])


def test_an_estimator_that_was_not_fitted_is_said(tmp_path):
    with pytest.raises(InvalidInputError, match="fit it"):
        save_model(xgboost.XGBClassifier(), tmp_path / "m")


@pytest.mark.parametrize("booster", [xgboost.XGBClassifier, lightgbm.LGBMClassifier])
def test_a_booster_in_a_pipeline_is_saved_in_the_safe_format(tmp_path, cancer, booster):
    x, y = cancer
    quiet = {"verbose": -1} if booster is lightgbm.LGBMClassifier else {}
    pipeline = make_pipeline(StandardScaler().set_output(transform="pandas"), booster(n_estimators=3, **quiet))
    model = pipeline.fit(x, y)
    info = save_model(model, tmp_path / "m", input_example=x[:3])
    assert "sklearn" in info.flavors
    assert np.array_equal(load_model(tmp_path / "m", origin="x").predict(x), model.predict(x))


def test_a_class_of_ones_own_is_saved_as_the_estimator_that_it_extends(tmp_path, cancer):
    class Mine(xgboost.XGBClassifier):
        pass

    x, y = cancer
    model = Mine(n_estimators=2).fit(x, y)
    save_model(model, tmp_path / "m")
    native = load_model(tmp_path / "m", origin="x").native
    assert type(native) is xgboost.XGBClassifier
    assert np.array_equal(native.predict(x), model.predict(x))


@pytest.mark.parametrize("name", ["xgboost classifier", "lightgbm booster"])
def test_damaged_weights_are_said(tmp_path, models, name):
    save_model(models[name], tmp_path / "m")
    [weights] = [path for path in (tmp_path / "m").iterdir() if path.name in ("model.ubj", "model.lgb")]
    weights.write_bytes(weights.read_bytes()[:40])
    with pytest.raises(ArtifactError, match="cannot load"):
        load_model(tmp_path / "m", origin="x")


def test_no_class_is_built_that_the_file_makes_up(tmp_path, models):
    save_model(models["xgboost booster"], tmp_path / "m")
    file = tmp_path / "m/MLmodel"
    content = yaml.safe_load(file.read_text())
    content["flavors"]["xgboost"]["model_class"] = "subprocess.Popen"
    file.write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=r"subprocess\.Popen"):
        load_model(tmp_path / "m", origin="x")
