"""skops by default, cloudpickle by choice."""

from __future__ import annotations

import lightgbm
import mlflow
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import prefect_ml as ml
from prefect_ml.errors import InvalidInputError, UntrustedModelError
from prefect_ml.models.folder import load_model, save_model

# MLflow's own warnings
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _no_index_is_asked(monkeypatch):
    monkeypatch.setenv("UV_OFFLINE", "1")


@pytest.fixture(scope="module")
def models(cancer):
    x, y = cancer
    return {
        "sklearn": LogisticRegression(max_iter=5000).fit(x, y),
        "lightgbm": lightgbm.LGBMClassifier(n_estimators=2, num_leaves=3, verbose=-1).fit(x, y),
    }


@pytest.mark.parametrize("name", ["sklearn", "lightgbm"])
def test_cloudpickle_is_taken_where_it_is_chosen_though_skops_holds_the_model(
    tmp_path, cancer, models, name, monkeypatch
):
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    model, x, folder = models[name], cancer[0], tmp_path / "m"
    info = save_model(model, folder, input_example=x[:2], serialization_format="cloudpickle")
    assert info.flavors[name]["serialization_format"] == "cloudpickle"
    assert sorted(path.suffix for path in folder.iterdir() if path.suffix in (".pkl", ".skops")) == [".pkl"]
    assert "cloudpickle==" in (folder / "requirements.txt").read_text()
    with pytest.raises(UntrustedModelError):
        load_model(folder, origin="of a stranger")
    loaded = load_model(folder, origin="ours", trusted_origins=["ours"])
    assert np.array_equal(loaded.predict(x), model.predict(x))
    assert np.array_equal(mlflow.pyfunc.load_model(str(folder)).predict(x), model.predict(x))


def test_skops_stays_the_default_also_where_a_pickle_is_allowed(tmp_path, models):
    for number, chosen in enumerate(({}, {"allow_pickle": True}, {"serialization_format": "skops"})):
        info = save_model(models["sklearn"], tmp_path / str(number), **chosen)
        assert info.flavors["sklearn"]["serialization_format"] == "skops"


class Doubling(LogisticRegression):
    """A class that skops does not know."""


def test_skops_that_is_chosen_is_never_replaced(tmp_path, cancer):
    model = Doubling(max_iter=5000).fit(*cancer)
    with pytest.raises(InvalidInputError, match="cannot be saved in the safe format"):
        save_model(model, tmp_path / "m", serialization_format="skops", allow_pickle=True)


def test_a_format_that_a_flavor_does_not_have_is_refused(tmp_path, cancer, models):
    with pytest.raises(InvalidInputError, match="skops, cloudpickle"):
        save_model(models["sklearn"], tmp_path / "m", serialization_format="pickle")
    booster = models["lightgbm"].booster_
    for model, flavor in ((booster, None), (len, "python")):
        with pytest.raises(InvalidInputError, match="serialization_format"):
            save_model(model, tmp_path / "m", flavor=flavor, serialization_format="cloudpickle")


def test_a_run_takes_the_choice(tmp_path, models, monkeypatch):
    monkeypatch.setenv("PREFECT_ML_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_ML_STORE_URL", f"sqlite:///{tmp_path}/ml.db")
    with ml.start_run():
        logged = ml.log_model(models["sklearn"], serialization_format="cloudpickle")
    assert logged.info.flavors["sklearn"]["serialization_format"] == "cloudpickle"
