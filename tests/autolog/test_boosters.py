"""XGBoost and LightGBM: curves while they train, importances, models, and functions that behave as they did."""

from __future__ import annotations

import inspect
import json
import warnings

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn import metrics
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import prefect_ml as ml
from prefect_ml.artifacts import open_artifacts
from prefect_ml.tracking import autolog
from prefect_ml.tracking.autolog.fit import TAG

QUIET = {"verbose": -1, "num_leaves": 5}


@pytest.fixture(scope="module")
def cancer():
    data = load_breast_cancer(as_frame=True)
    return data.data.iloc[:300, :8], data.target[:300]


def curve(run, key):
    return [(point.step, point.value) for point in ml.get_metric_history(run.run_id, key)]


def importances(run):
    return json.loads(open_artifacts(run.artifact_uri).read("feature_importance.json"))


def test_xgboost_train(begin, stored, inputs, cancer):
    x, y = cancer
    data, test = xgboost.DMatrix(x[50:], y[50:]), xgboost.DMatrix(x[:50], y[:50])
    history, own = {}, xgboost.callback.EvaluationMonitor(show_stdv=False)
    params = {"objective": "binary:logistic", "eval_metric": ["logloss", "auc"], "max_depth": 2}
    autolog.enable(["xgboost"])
    with begin() as run:
        booster = xgboost.train(
            params, data, 30, evals=[(data, "train"), (test, "test")], early_stopping_rounds=3,
            evals_result=history, callbacks=[own], verbose_eval=False,
        )  # fmt: skip
    found = stored(run)
    for name in ("train-logloss", "train-auc", "test-logloss", "test-auc"):
        of, kind = name.split("-")
        assert curve(run, name) == list(enumerate(history[of][kind]))
    assert found.metrics["best_iteration"] == booster.best_iteration
    assert found.metrics["best_score"] == pytest.approx(booster.best_score)
    assert found.metrics["iterations"] == booster.num_boosted_rounds()
    assert (found.params["max_depth"], found.params["num_boost_round"]) == ("2", "30")
    assert found.params["early_stopping_rounds"] == "3"
    assert importances(found)["gain"] == pytest.approx(booster.get_score(importance_type="gain"))
    loaded = ml.load_model(f"runs:/{run.run_id}/model")
    assert np.array_equal(loaded.predict(x), booster.predict(xgboost.DMatrix(x)))
    assert inputs(run) == {("training", "training", 250), ("test", "evaluation", 50)}
    assert found.tags[TAG].startswith("xgboost: 5 params, 8 metrics, 2 inputs, ")
    assert found.tags[TAG].endswith("model")


def test_xgboost_estimators(begin, stored, inputs, cancer):
    x, y = cancer
    autolog.enable(["xgboost", "sklearn"])
    with begin() as run:
        model = xgboost.XGBClassifier(n_estimators=5, eval_metric="logloss")
        assert model.fit(x, y, eval_set=[(x, y), (x[:50], y[:50])], verbose=False) is model
    found = stored(run)
    assert curve(run, "validation_0-logloss") == list(enumerate(model.evals_result()["validation_0"]["logloss"]))
    assert found.metrics["training_accuracy_score"] == pytest.approx(metrics.accuracy_score(y, model.predict(x)))
    assert (found.params["n_estimators"], found.tags["estimator_name"]) == ("5", "XGBClassifier")
    assert "max_depth" not in found.params
    loaded = ml.load_model(f"runs:/{run.run_id}/model")
    assert np.array_equal(loaded.predict(x), model.predict(x))
    assert loaded.input_example.equals(x[:5])
    assert inputs(run) == {("training", "training", 300), ("validation_1", "evaluation", 50)}
    assert found.tags[TAG].count("xgboost:") == 1
    assert "sklearn" not in found.tags[TAG]


def test_lightgbm_train(begin, stored, inputs, cancer):
    x, y = cancer
    data = lightgbm.Dataset(x[50:], y[50:])
    test = data.create_valid(x[:50], y[:50])
    history = {}
    params = {"objective": "binary", "metric": ["auc", "binary_logloss"], "learning_rate": 0.9, **QUIET}
    autolog.enable(["lightgbm"])
    with begin() as run:
        booster = lightgbm.train(
            params, data, 60, [data, test], ["train", "test"],
            callbacks=[lightgbm.early_stopping(3, verbose=False), lightgbm.record_evaluation(history)],
        )  # fmt: skip
    found = stored(run)
    for of, kinds in history.items():
        for kind, values in kinds.items():
            assert curve(run, f"{of}-{kind}") == list(enumerate(values))
    assert 0 < booster.best_iteration < 60
    assert found.metrics["best_iteration"] == booster.best_iteration
    assert found.metrics["best-test-auc"] == pytest.approx(booster.best_score["test"]["auc"])
    assert (found.params["learning_rate"], found.params["num_boost_round"]) == ("0.9", "60")
    split = dict(zip(booster.feature_name(), booster.feature_importance("split").tolist(), strict=True))
    assert importances(found)["split"] == split
    assert inputs(run) == {("training", "training", 250), ("test", "evaluation", 50)}
    assert np.array_equal(ml.load_model(f"runs:/{run.run_id}/model").predict(x), booster.predict(x))


def test_lightgbm_estimators(begin, stored, inputs, cancer):
    x, y = cancer
    autolog.enable()
    with begin() as run:
        model = lightgbm.LGBMRegressor(n_estimators=6, **QUIET)
        model.fit(x, y, eval_X=x[:50], eval_y=y[:50], eval_metric="l1", callbacks=[lightgbm.log_evaluation(0)])
    found = stored(run)
    assert curve(run, "valid_0-l1") == list(enumerate(model.evals_result_["valid_0"]["l1"]))
    assert found.metrics["training_r2_score"] == pytest.approx(metrics.r2_score(y, model.predict(x)))
    assert found.params["n_estimators"] == "6"
    assert np.array_equal(ml.load_model(f"runs:/{run.run_id}/model").predict(x), model.predict(x))
    assert inputs(run) == {("training", "training", 300), ("valid_0", "evaluation", 50)}
    assert found.tags[TAG].count("lightgbm:") == 1


@pytest.mark.parametrize("given", ["eval_set", "several", "named"])
def test_lightgbm_names_what_it_evaluates_on(begin, inputs, cancer, given):
    x, y = cancer
    evaluated = {
        "eval_set": {"eval_set": (x[:50], y[:50])},
        "several": {"eval_X": (x[:50], x[:60]), "eval_y": (y[:50], y[:60])},
        "named": {"eval_X": x[:50], "eval_y": y[:50], "eval_names": ["held out"]},
    }[given]
    expected = {
        "eval_set": {("valid_0", "evaluation", 50)},
        "several": {("valid_0", "evaluation", 50), ("valid_1", "evaluation", 60)},
        "named": {("held out", "evaluation", 50)},
    }[given]
    autolog.enable(["lightgbm"])
    with begin() as run, warnings.catch_warnings(category=lightgbm.basic.LGBMDeprecationWarning, action="ignore"):
        lightgbm.LGBMClassifier(n_estimators=2, **QUIET).fit(x, y, **evaluated)
    assert inputs(run) == expected | {("training", "training", 300)}


def test_data_that_a_library_has_read_and_freed_are_no_input(begin, stored, cancer, caplog):
    data = lightgbm.Dataset(*cancer)
    autolog.enable(["lightgbm"])
    with begin() as first:
        lightgbm.train(QUIET, data, 2)
    with begin() as second:
        lightgbm.train(QUIET, data, 2, [data])
    assert len(stored(first).inputs) == 1
    assert not stored(second).inputs
    assert "could not record" not in caplog.text


def test_evaluation_sets_of_a_step_of_a_pipeline_are_inputs_and_odd_ones_are_the_librarys_business(
    begin, inputs, cancer, caplog
):
    x, y = (data.to_numpy() for data in cancer)
    pipeline = make_pipeline(StandardScaler(), xgboost.XGBClassifier(n_estimators=1))
    autolog.enable()
    with begin() as run:
        pipeline.fit(x, y, xgbclassifier__eval_set=[(x[:50], y[:50])], xgbclassifier__verbose=False)
    assert inputs(run) == {("training", "training", 300), ("validation_0", "evaluation", 50)}
    with begin() as run, pytest.raises(ValueError, match="unpack"):
        pipeline.fit(x, y, xgbclassifier__eval_set=[(x, y, x)])
    assert inputs(run) == {("training", "training", 300)}
    assert "could not record the evaluation data" in caplog.text


def test_evaluation_sets_are_bounded(begin, stored, inputs, cancer, monkeypatch):
    monkeypatch.setattr("prefect_ml.tracking.autolog.fit.MOST_EVALUATIONS", 2)
    x, y = cancer
    autolog.enable(["xgboost"])
    with begin() as run:
        sets = [(x[:rows], y[:rows]) for rows in (50, 60, 70)]
        xgboost.XGBClassifier(n_estimators=1).fit(x, y, eval_set=sets, verbose=False)
    assert len(inputs(run)) == 3
    assert "3 inputs, " in stored(run).tags[TAG]
    assert "2 of 3 evaluation sets" in stored(run).tags[TAG]


def test_names_that_a_run_cannot_hold_are_changed(begin, stored):
    generator = np.random.default_rng(0)
    x, y = generator.random((60, 3)), generator.integers(0, 3, 60)
    data = lightgbm.Dataset(x, y, group=[20, 20, 20])
    autolog.enable()
    with begin() as run:
        lightgbm.train({"objective": "lambdarank", "metric": "ndcg", "eval_at": [2], **QUIET}, data, 2, [data])
    assert "training-ndcg_at_2" in stored(run).metrics


@pytest.mark.parametrize("booster", [xgboost.XGBClassifier, lightgbm.LGBMClassifier])
def test_a_booster_inside_scikit_learn_is_recorded_by_it_once(begin, stored, cancer, booster):
    x, y = cancer
    quiet = QUIET if booster is lightgbm.LGBMClassifier else {}
    autolog.enable()
    with begin() as run:
        step = make_pipeline(StandardScaler().set_output(transform="pandas"), booster(n_estimators=2, **quiet))
        GridSearchCV(step, {f"{booster.__name__.lower()}__n_estimators": [1, 2]}, cv=2).fit(x, y)
    found = stored(run)
    assert found.tags[TAG].startswith("sklearn: ")
    assert "2 child runs, model" in found.tags[TAG]
    assert "fit-2" not in found.tags[TAG]


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_boosters_inside_scikit_learn_stay_silent_when_it_is_off(begin, stored, cancer, library):
    x, y = cancer
    model = {"xgboost": xgboost.XGBClassifier(n_estimators=2), "lightgbm": lightgbm.LGBMClassifier(**QUIET)}[library]
    autolog.enable([library])
    with begin() as run:
        GridSearchCV(model, {"n_estimators": [1, 2]}, cv=2).fit(x, y)
    assert TAG not in stored(run).tags


def test_a_plot_is_kept_where_matplotlib_is_in_use(begin, stored, cancer):
    import matplotlib as mpl

    assert mpl
    x, y = cancer
    autolog.enable()
    with begin() as run:
        xgboost.train({}, xgboost.DMatrix(x, y), 2)
    assert open_artifacts(stored(run).artifact_uri).read("feature_importance_gain.png").startswith(b"\x89PNG")


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_errors_and_interrupts_come_out_as_they_are(begin, stored, cancer, library):
    x, y = cancer

    class StopError(Exception):
        pass

    def stop(*_):
        raise StopError

    def train():
        if library == "xgboost":
            return xgboost.train({}, xgboost.DMatrix(x, y), 2, obj=stop)
        return lightgbm.train({**QUIET}, lightgbm.Dataset(x, y), 2, callbacks=[stop])

    autolog.enable()
    with begin() as run, pytest.raises(StopError):
        train()
    assert "the fit raised StopError" in stored(run).tags[TAG]
    with begin(), pytest.raises(TypeError, match="missing"):
        {"xgboost": xgboost, "lightgbm": lightgbm}[library].train()


def test_a_callback_that_cannot_record_stops_nothing(begin, cancer, monkeypatch, caplog):
    x, y = cancer

    def broken(*_, **__):
        raise OSError("full")

    monkeypatch.setattr("prefect_ml.tracking.run.ActiveRun.log_metrics", broken)
    data = xgboost.DMatrix(x, y)
    autolog.enable()
    with begin():
        booster = xgboost.train({}, data, 5, evals=[(data, "train")], verbose_eval=False)
    assert booster.num_boosted_rounds() == 5
    assert caplog.text.count("could not record metrics") == 1


def test_curves_are_bounded(begin, stored, cancer, monkeypatch):
    x, y = cancer
    monkeypatch.setattr("prefect_ml.tracking.autolog.fit.MOST_POINTS", 4)
    data = xgboost.DMatrix(x, y)
    autolog.enable()
    with begin() as run:
        xgboost.train({}, data, 7, evals=[(data, "train")], verbose_eval=False)
    assert len(curve(run, "train-rmse")) == 4
    assert "curves end after 4 points" in stored(run).tags[TAG]


def test_functions_look_as_the_originals_and_come_back():
    functions = [
        (xgboost, "train"), (xgboost.training, "train"), (xgboost.sklearn, "train"), (xgboost.XGBModel, "fit"),
        (xgboost.XGBClassifier, "fit"), (lightgbm, "train"), (lightgbm.engine, "train"), (lightgbm.sklearn, "train"),
        (lightgbm.LGBMModel, "fit"), (lightgbm.LGBMClassifier, "fit"), (lightgbm.LGBMRegressor, "fit"),
    ]  # fmt: skip
    originals = [vars(owner)[name] for owner, name in functions]
    autolog.enable()
    for (owner, name), original in zip(functions, originals, strict=True):
        patched = vars(owner)[name]
        assert patched is not original
        assert inspect.signature(patched) == inspect.signature(original)
        assert (patched.__doc__, patched.__qualname__) == (original.__doc__, original.__qualname__)
    autolog.disable()
    assert [vars(owner)[name] for owner, name in functions] == originals
