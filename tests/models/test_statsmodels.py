"""statsmodels: parameters where they are all there is, pickle by choice for the rest."""

from __future__ import annotations

import json
import threading
from functools import partial

import mlflow
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from statsmodels.tsa.arima.model import ARIMA

from prefect_ml.errors import ArtifactError, InvalidInputError, UntrustedModelError
from prefect_ml.models.folder import load_model, save_model

# MLflow's and statsmodels' own warnings
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = pd.DataFrame(rng.normal(size=(80, 2)), columns=["a", "b"])
    x.insert(0, "const", 1.0)
    return x, (1 + x["a"] + 0.5 * x["b"] + rng.normal(size=80)).abs() + 0.1


def families():
    f, links = sm.families, sm.families.links
    return {
        "gaussian": f.Gaussian(),
        "gamma": f.Gamma(links.Log()),
        "inverse gaussian": f.InverseGaussian(links.Log()),
        "negative binomial": f.NegativeBinomial(alpha=0.7),
        "own link of negative binomial": f.NegativeBinomial(links.NegativeBinomial(alpha=0.4), alpha=0.4),
        "tweedie": f.Tweedie(var_power=1.5),
        "poisson by power": f.Poisson(links.Power(0.5), check_link=False),
        "poisson by root": f.Poisson(links.Sqrt()),
    }


def binary(model, x, y):
    return model((y > y.median()).astype(int), x)


MODELS = {
    "ols": lambda x, y: sm.OLS(y, x),
    "ols of arrays": lambda x, y: sm.OLS(y.to_numpy(), x.to_numpy()),
    "wls": lambda x, y: sm.WLS(y, x, weights=y),
    "gls": lambda x, y: sm.GLS(y, x, sigma=np.array(y)),
    "rlm": lambda x, y: sm.RLM(y, x),
    "quantile": lambda x, y: sm.QuantReg(y, x),
    "logit": partial(binary, sm.Logit),
    "probit": partial(binary, sm.Probit),
    "poisson": lambda x, y: sm.Poisson(y.round(), x, exposure=np.array(y)),
    "binomial": partial(binary, partial(sm.GLM, family=sm.families.Binomial(sm.families.links.CLogLog()))),
    **{
        f"glm {name}": (lambda x, y, family=family: sm.GLM(y.round() + 1, x, family=family))
        for name, family in families().items()
    },
}


@pytest.mark.parametrize("name", MODELS)
def test_linear_models_are_saved_without_pickle(tmp_path, data, name):
    x, y = data
    fit = MODELS[name](x, y)
    fitted = fit.fit(disp=0) if name in ("logit", "probit", "poisson") else fit.fit()
    expected = np.asarray(fitted.predict(x))
    info = save_model(fitted, tmp_path / "m", input_example=x[:3])
    assert list(info.flavors) == ["statsmodels", "python_function"]
    loaded = load_model(tmp_path / "m", origin="of a stranger")
    assert np.array_equal(loaded.predict(x), expected)
    assert np.array_equal(loaded.native.params, np.asarray(fitted.params))
    assert type(loaded.native.model) is type(fitted.model)
    assert np.array_equal(mlflow.pyfunc.load_model(str(tmp_path / "m")).predict(x), expected)
    assert "statsmodels==" in (tmp_path / "m/requirements.txt").read_text()
    assert not [path for path in (tmp_path / "m").rglob("*") if path.suffix in (".pkl", ".statsmodels")]


def test_what_is_left_does_not_pretend_to_know_the_training_data(tmp_path, data):
    x, y = data
    save_model(sm.OLS(y, x).fit(), tmp_path / "m")
    native = load_model(tmp_path / "m", origin="x").native
    assert list(native.params.index) == ["const", "a", "b"]
    for gone in ("rsquared", "bse", "nobs", "pvalues", "fittedvalues", "resid"):
        assert not hasattr(native, gone)
    with pytest.raises(NotImplementedError):
        native.summary()
    with pytest.raises(ValueError, match="training data"):
        native.predict()
    save_model(native, tmp_path / "again")
    assert np.array_equal(load_model(tmp_path / "again", origin="x").predict(x), native.predict(x))


class OwnLink(sm.families.links.Log):
    def inverse(self, z):
        return np.exp(z) + 1


class OwnModel(sm.OLS):
    def predict(self, params, exog=None):
        return super().predict(params, exog) * 2


def other_models(x, y):
    frame = x.assign(y=y)
    return {
        "formula": smf.ols("y ~ np.log(abs(a)) + b", frame).fit(),
        "own link": sm.GLM(y, x, family=sm.families.Gaussian(OwnLink())).fit(),
        "own class": OwnModel(y, x).fit(),
        "several classes": sm.MNLogit(np.arange(80) % 3, x).fit(disp=0),
        "time series": ARIMA(y.to_numpy(), order=(1, 0, 0)).fit(),
        "data removed": removed(sm.OLS(y, x).fit()),
    }


def removed(results):
    results.remove_data()
    return results


OTHERS = ["formula", "own link", "own class", "several classes", "time series", "data removed"]


@pytest.fixture(scope="module")
def others(data):
    return other_models(*data)


@pytest.mark.parametrize("name", OTHERS)
def test_what_has_more_than_parameters_says_how_to_pickle_it(tmp_path, others, name):
    with pytest.raises(InvalidInputError, match=r"no safe format.*allow_pickle=True.*PREFECT_ML_TRUSTED_ORIGINS"):
        save_model(others[name], tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("name", OTHERS)
def test_pickles_open_from_trusted_origins_and_in_mlflow(tmp_path, data, others, name, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    model, x = others[name], data[0]
    rows = pd.DataFrame({"start": [78], "end": [83]}) if name == "time series" else x
    expected = model.predict(start=78, end=83) if name == "time series" else model.predict(x)
    folder = tmp_path / "m"
    save_model(model, folder, input_example=rows[:3], allow_pickle=True)
    with pytest.raises(UntrustedModelError, match="PREFECT_ML_TRUSTED_ORIGINS"):
        load_model(folder, origin="of a stranger")
    loaded = load_model(folder, origin="ours", trusted_origins=["ours"])
    assert np.array_equal(loaded.predict(rows), expected)
    assert type(loaded.native).__name__ == type(model).__name__
    assert np.array_equal(mlflow.pyfunc.load_model(str(folder)).predict(rows), expected)
    assert type(mlflow.statsmodels.load_model(str(folder))) is type(model)


def test_a_time_series_says_what_it_takes(tmp_path, data, others):
    save_model(others["time series"], tmp_path / "m", allow_pickle=True)
    loaded = load_model(tmp_path / "m", origin="ours", trusted_origins=["ours"])
    with pytest.raises(InvalidInputError, match="'start' and 'end'"):
        loaded.predict(data[0])


def test_what_cannot_be_pickled_is_said(tmp_path, data):
    x, y = data
    fitted = sm.OLS(y, x).fit()
    fitted.model.lock = threading.Lock()
    with pytest.raises(InvalidInputError, match="cannot be pickled"):
        save_model(fitted, tmp_path / "m", allow_pickle=True)
    with pytest.raises(InvalidInputError, match="what `fit` gave"):
        save_model(sm.OLS(y, x), tmp_path / "m", flavor="statsmodels")


@pytest.mark.parametrize(
    "change",
    [
        {"class": "DataFrame"},
        {"params": ["a", "b", "c"]},
        {"params": [1.0]},
        {"names": 3},
        {"family": {"class": "Family"}},
        {"link": {"class": "__init__"}},
        {"link": {"class": "Power", "power": "x"}},
        {"link": None},
        None,
    ],
    ids=str,
)
def test_damaged_parameters_are_said(tmp_path, data, change):
    x, y = data
    save_model(sm.GLM(y, x).fit(), tmp_path / "m")
    file = tmp_path / "m/model.json"
    file.write_text("[1]" if change is None else json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ArtifactError, match="damaged"):
        load_model(tmp_path / "m", origin="x")
    file.unlink()
    with pytest.raises(ArtifactError, match="missing"):
        load_model(tmp_path / "m", origin="x")
