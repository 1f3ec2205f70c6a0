"""scikit-learn: what is recorded, and that the functions behave as they did."""

# ruff: noqa: N803, ARG002, S301 - estimators have the signatures of scikit-learn; what is unpickled was pickled here

from __future__ import annotations

import csv
import inspect
import io
import pickle
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
import sklearn.base
from scipy.sparse import csr_matrix
from sklearn import metrics
from sklearn.cluster import KMeans
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - makes the halving searches importable
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import prefect_ml as ml
from prefect_ml.artifacts import open_artifacts
from prefect_ml.tracking import autolog
from prefect_ml.tracking.autolog import contract
from prefect_ml.tracking.autolog.fit import TAG


@pytest.fixture(scope="module")
def cancer():
    data = load_breast_cancer(as_frame=True)
    return data.data.iloc[:200, :8], data.target[:200]


class Overwriting(sklearn.base.BaseEstimator):
    def fit(self, X, y=None):
        np.multiply(X, 0, out=X)
        return self

    def predict(self, X):
        return len(X)


class Unreadable(np.ndarray):
    @property
    def flat(self):
        raise OSError("no such cells")


def own_metrics(run):
    return {key.removeprefix("training_"): value for key, value in run.metrics.items() if key.startswith("training_")}


def test_a_classifier(begin, stored, cancer, caplog):
    x, y = cancer
    autolog.enable(["sklearn"])
    with begin() as run, caplog.at_level("INFO"):
        model = LogisticRegression(C=0.5, max_iter=3000).fit(x, y)
    found = stored(run)
    predicted, chances = model.predict(x), model.predict_proba(x)
    assert own_metrics(found) == pytest.approx(
        {
            "accuracy_score": metrics.accuracy_score(y, predicted),
            "precision_score": metrics.precision_score(y, predicted, average="weighted"),
            "recall_score": metrics.recall_score(y, predicted, average="weighted"),
            "f1_score": metrics.f1_score(y, predicted, average="weighted"),
            "log_loss": metrics.log_loss(y, chances),
            "roc_auc": metrics.roc_auc_score(y, chances[:, 1]),
        }
    )
    assert found.metrics["fit_seconds"] > 0
    assert found.params["C"] == "0.5"
    assert found.params["classes"] == "0, 1"
    assert set(found.params) == {*model.get_params(), "classes"}
    assert found.tags["estimator_name"] == "LogisticRegression"
    assert found.tags[TAG].startswith(f"sklearn: {len(found.params)} params, 7 metrics, ")
    assert "model" in found.tags[TAG]
    assert found.tags[TAG] in caplog.text
    loaded = ml.load_model(f"runs:/{run.run_id}/model")
    assert list(loaded.predict(x)) == list(predicted)
    assert loaded.input_example.equals(x[:5])


def test_the_training_data_is_an_input(begin, stored, cancer):
    x, y = cancer
    autolog.enable(["sklearn"])
    with begin() as run, begin() as other:
        LogisticRegression(max_iter=3000).fit(x, y)
        LogisticRegression(max_iter=3000).fit(x, y)
        LogisticRegression(max_iter=3000).fit(x.assign(more=1.0), y)
    same, changed = stored(other).inputs
    assert same.tags == changed.tags == {"mlflow.data.context": "training"}
    assert (same.dataset.name, same.dataset.digest == changed.dataset.digest) == ("training", False)
    assert x.columns[0] in same.dataset.schema
    assert not stored(run).inputs
    assert ", 7 metrics, 1 input, model" in stored(other).tags[TAG]


def test_data_that_evaluate_a_fit_are_inputs_too(begin, stored, inputs, cancer):
    x, y = cancer
    autolog.enable(["sklearn"])
    with begin() as run:
        HistGradientBoostingClassifier(max_iter=3, early_stopping=True).fit(
            x[50:], y[50:], X_val=x[:50], y_val=y[:50]
        )  # fmt: skip
    assert inputs(run) == {("training", "training", 150), ("validation", "evaluation", 50)}
    assert "2 inputs" in stored(run).tags[TAG]


def test_the_input_is_the_data_as_they_were_before_the_fit(begin, stored):
    x = np.random.default_rng(0).random((30, 3))
    autolog.enable(["sklearn"])
    with begin() as run:
        before = run.log_input(x.copy(), "before")
        Overwriting().fit(x)
    assert x.max() == 0
    assert [each.dataset.digest for each in stored(run).inputs] == [before.digest] * 2


@pytest.mark.parametrize("of", [np.ndarray.tolist, csr_matrix])
def test_what_is_no_container_of_data_is_no_input(begin, stored, caplog, of):
    x, y = load_iris(return_X_y=True)
    autolog.enable(["sklearn"])
    with begin() as run:
        LogisticRegression(max_iter=3000).fit(of(x), y)
    assert not stored(run).inputs
    assert "input" not in stored(run).tags[TAG]
    assert "could not record" not in caplog.text


def test_data_that_cannot_be_read_do_not_disturb_the_fit(begin, stored, caplog):
    x = np.random.default_rng(0).random((30, 3)).view(Unreadable)
    autolog.enable(["sklearn"])
    with begin() as run:
        assert Overwriting().fit(x).predict(x) == 30
    assert [each.dataset.name for each in stored(run).inputs] == ["training"]
    assert "recorded without its content" in caplog.text


def test_weights_of_rows_weigh_the_metrics(begin, stored, cancer):
    x, y = cancer
    weights = np.linspace(0.1, 3, len(x))
    autolog.enable(["sklearn"])
    with begin() as run:
        pipeline = make_pipeline(StandardScaler(), LogisticRegression())
        pipeline.fit(x, y, logisticregression__sample_weight=weights)
    found, chances = own_metrics(stored(run)), pipeline.predict_proba(x)
    assert found["log_loss"] == pytest.approx(metrics.log_loss(y, chances, sample_weight=weights))
    assert found["accuracy_score"] == pytest.approx(
        metrics.accuracy_score(y, pipeline.predict(x), sample_weight=weights)
    )


def test_several_classes_and_arrays(begin, stored):
    x, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    autolog.enable(["sklearn"])
    with begin() as run:
        model = LogisticRegression(max_iter=1000).fit(x, names)
    found = stored(run)
    area = metrics.roc_auc_score(names, model.predict_proba(x), multi_class="ovr", average="weighted")
    assert own_metrics(found)["roc_auc"] == pytest.approx(area)
    assert found.params["classes"] == "setosa, versicolor, virginica"


def test_a_regressor(begin, stored):
    x, y = load_diabetes(return_X_y=True)
    autolog.enable(["sklearn"])
    with begin() as run:
        model = Ridge().fit(x, y)
    predicted = model.predict(x)
    assert own_metrics(stored(run)) == pytest.approx(
        {
            "mean_squared_error": metrics.mean_squared_error(y, predicted),
            "root_mean_squared_error": metrics.root_mean_squared_error(y, predicted),
            "mean_absolute_error": metrics.mean_absolute_error(y, predicted),
            "r2_score": metrics.r2_score(y, predicted),
        }
    )


def test_metrics_of_many_rows_are_those_of_some(begin, stored, monkeypatch, cancer):
    x, y = cancer
    monkeypatch.setattr("prefect_ml.tracking.autolog.sklearn_metrics.MOST_METRIC_ROWS", 70)
    autolog.enable(["sklearn"])
    with begin() as run:
        model = RandomForestClassifier(n_estimators=3, max_depth=2).fit(x, y)
    found = stored(run)
    some = slice(None, None, 3)
    assert own_metrics(found)["accuracy_score"] == pytest.approx(
        metrics.accuracy_score(y[some], model.predict(x[some]))
    )
    assert "metrics on 67 of 200 rows" in found.tags[TAG]


def test_fits_inside_a_fit_are_not_recorded(begin, stored, cancer):
    x, y = cancer
    autolog.enable(["sklearn"])
    with begin() as run:
        make_pipeline(StandardScaler(), RandomForestClassifier(n_estimators=3)).fit(x, y)
        cross_val_score(LogisticRegression(max_iter=3000), x, y, cv=3)
        metrics.log_loss(y, np.full((len(y), 2), 0.5))
    found = stored(run)
    assert found.params["randomforestclassifier__n_estimators"] == "3"
    assert not [name for name in found.params if name.startswith("fit-2")]
    assert found.tags[TAG].count("sklearn:") == 1


def test_each_further_fit_has_names_of_its_own(begin, stored, cancer):
    x, y = cancer
    autolog.enable(["sklearn"])
    with begin() as run:
        scaled = StandardScaler().fit_transform(x)
        LogisticRegression(C=1).fit(scaled, y)
        LogisticRegression(C=2).fit(scaled, y)
        KMeans(2, n_init=1).fit_predict(scaled)
    found = stored(run)
    assert {key: found.params[key] for key in ("StandardScaler/with_mean", "C", "fit-2/C", "fit-3/n_clusters")} == {
        "StandardScaler/with_mean": "True",
        "C": "1",
        "fit-2/C": "2",
        "fit-3/n_clusters": "2",
    }
    assert ml.load_model(f"runs:/{run.run_id}/fit-2/model").native.C == 2
    assert [part.split()[0] for part in found.tags[TAG].split("; ")] == [
        "StandardScaler:", "sklearn:", "fit-2:", "fit-3:",
    ]  # fmt: skip


def test_a_run_records_a_bounded_number_of_fits(begin, stored, caplog):
    autolog.enable(["sklearn"])
    with begin() as run:
        for _ in range(contract.MOST_FITS + 3):
            PCA(1).fit(np.eye(3))
    assert stored(run).tags[TAG].count("sklearn:") == contract.MOST_FITS
    assert caplog.text.count("and no more of them") == 1


@pytest.mark.parametrize("kind", ["grid", "random", "halving", "several scores"])
def test_searches(begin, stored, cancer, kind):
    x, y = cancer
    forest, grid = RandomForestClassifier(random_state=0), {"n_estimators": [2, 3], "max_depth": [1, 2, None]}
    search = {
        "grid": lambda: GridSearchCV(forest, grid, cv=2),
        "random": lambda: RandomizedSearchCV(forest, grid, n_iter=3, cv=2, random_state=0),
        "halving": lambda: HalvingGridSearchCV(forest, {"max_depth": [1, 2, 3, 4]}, cv=2, random_state=0),
        "several scores": lambda: GridSearchCV(forest, grid, cv=2, scoring=["roc_auc", "f1"], refit="roc_auc"),
    }[kind]()
    autolog.enable(["sklearn"])
    with begin() as run:
        search.fit(x, y)
    found = stored(run)
    best = {f"best_{name}": str(value) for name, value in search.best_params_.items()}
    assert best.items() <= found.params.items()
    assert found.metrics["best_cv_score"] == pytest.approx(search.best_score_)
    table = open_artifacts(found.artifact_uri).read("cv_results.csv").decode()
    rows = list(csv.DictReader(io.StringIO(table)))
    assert len(rows) == len(search.cv_results_["params"])
    children = [child for child in ml.search_runs("autolog") if child.tags.get("mlflow.parentRunId") == run.run_id]
    assert len(children) == len({str(params) for params in search.cv_results_["params"]})
    assert {child.status for child in children} == {"FINISHED"}
    best_child = next(child for child in children if child.name == "candidate-1")
    assert best_child.params == {name: str(value) for name, value in search.best_params_.items()}
    assert open_artifacts(best_child.artifact_uri).list() == []
    assert open_artifacts(found.artifact_uri).list("environment")
    score = "mean_test_roc_auc" if kind == "several scores" else "mean_test_score"
    assert best_child.metrics[score] == pytest.approx(search.best_score_)
    loaded = ml.load_model(f"runs:/{run.run_id}/model")
    assert list(loaded.predict(x)) == list(search.predict(x))


def test_a_search_has_a_bounded_number_of_children_the_best(begin, stored, monkeypatch, cancer):
    x, y = cancer
    monkeypatch.setattr("prefect_ml.tracking.autolog.sklearn_search.MOST_CHILDREN", 3)
    autolog.enable(["sklearn"])
    with begin() as run:
        search = GridSearchCV(LogisticRegression(max_iter=3000), {"C": [1e-6, 1e-4, 1e-2, 1]}, cv=2).fit(x, y)
    assert "the best 3 of 4 candidates are child runs" in stored(run).tags[TAG]
    scores = [child.metrics["mean_test_score"] for child in ml.search_runs("autolog") if child.run_id != run.run_id]
    assert sorted(scores, reverse=True) == pytest.approx(sorted(search.cv_results_["mean_test_score"])[:0:-1])


class Many(sklearn.base.BaseEstimator):
    """An estimator with 10,000 params, one of them huge."""

    def __init__(self, **params):
        self.all = params

    @classmethod
    def _get_param_names(cls):
        return []

    def get_params(self, deep=True):
        return {f"p{number:05}": "x" * 10_000 for number in range(10_000)}

    def fit(self, X, y=None):
        return self

    def predict(self, X):
        return X


def test_params_are_bounded(begin, stored):
    autolog.enable(["sklearn"])
    with begin() as run:
        Many().fit([[1]])
    found = stored(run)
    assert len(found.params) == contract.MOST_PARAMS
    assert {len(value) for value in found.params.values()} == {contract.LONGEST_VALUE}
    assert f"{contract.MOST_PARAMS} params" in found.tags[TAG]
    assert "9800 more params not recorded" in found.tags[TAG]


def test_a_model_that_cannot_be_kept_is_said(begin, stored, cancer):
    x, y = cancer
    autolog.enable(["sklearn"])
    with begin() as run:
        pipeline = make_pipeline(FunctionTransformer(lambda frame: frame), LogisticRegression(max_iter=3000))
        assert pipeline.fit(x, y) is pipeline
    found = stored(run)
    assert "training_accuracy_score" in found.metrics
    assert "model not kept: " in found.tags[TAG]
    assert "safe format" in found.tags[TAG]
    assert not open_artifacts(found.artifact_uri).list("model")


def test_a_model_whose_example_fails_is_kept_without(begin, cancer):
    x, _ = cancer
    autolog.enable(["sklearn"])
    with begin() as run:
        PCA(2).fit(x)
    assert ml.load_model(f"runs:/{run.run_id}/PCA/model").input_example is None


def test_a_fit_that_raises_raises_the_same(begin, stored, cancer):
    x, y = cancer
    autolog.enable(["sklearn"])
    with begin() as run, pytest.raises(ValueError, match="inconsistent numbers of samples"):
        LogisticRegression(C=7).fit(x, y[:10])
    found = stored(run)
    assert found.params["C"] == "7"
    assert "the fit raised ValueError" in found.tags[TAG]
    assert "fit_seconds" not in found.metrics


def test_wrong_calls_raise_the_same(begin):
    autolog.enable(["sklearn"])
    with begin(), pytest.raises(TypeError, match=r"LogisticRegression\.fit\(\) got an unexpected keyword argument"):
        LogisticRegression().fit([[1]], [1], wrong=1)


def test_a_failure_in_recording_is_one_warning(begin, cancer, caplog, monkeypatch):
    x, y = cancer

    def broken(*_, **__):
        raise OSError("the disk is on fire")

    monkeypatch.setattr("prefect_ml.tracking.run.ActiveRun.log_model", broken)
    autolog.enable(["sklearn"])
    with begin():
        LogisticRegression(max_iter=3000).fit(x, y)
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == 1
    assert "Autolog of sklearn could not record the model" in warned[0]
    assert "the disk is on fire" in warned[0]


def test_params_that_the_user_set_stay(begin, stored, cancer):
    x, y = cancer
    autolog.enable(["sklearn"])
    with begin() as run:
        run.log_param("C", "mine")
        LogisticRegression(max_iter=3000).fit(x, y)
    found = stored(run)
    assert (found.params["C"], found.params["max_iter"]) == ("mine", "3000")
    assert "the param C keeps its earlier value" in found.tags[TAG]


def test_threads_record_each_in_its_run(begin, stored, cancer):
    x, y = cancer
    autolog.enable(["sklearn"])
    runs, together = {}, threading.Barrier(4)

    def train(c):
        with begin(f"c-{c}") as run:
            together.wait(20)
            LogisticRegression(C=c, max_iter=3000).fit(x, y)
        runs[c] = run

    threads = [threading.Thread(target=train, args=(c,)) for c in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for c, run in runs.items():
        found = stored(run)
        assert found.params["C"] == str(c)
        assert found.tags[TAG].count("sklearn:") == 1
        assert c == ml.load_model(f"runs:/{run.run_id}/model").native.C


def test_fits_in_threads_and_forks_of_joblib_are_not_recorded(begin, stored, cancer):
    from joblib import Parallel, delayed

    x, y = cancer
    autolog.enable(["sklearn"])
    with begin() as run:
        for backend in ("threading", "multiprocessing"):
            found = Parallel(2, backend=backend)(delayed(LinearRegression().fit)(x, y) for _ in range(2))
            assert [model.n_features_in_ for model in found] == [8, 8]
    assert TAG not in stored(run).tags


def test_text_and_lists(begin, stored):
    texts, labels = ["red apple", "blue sky", "red rose", "blue sea"] * 3, ["r", "b"] * 6
    autolog.enable(["sklearn"])
    with begin() as run:
        model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, labels)
    assert stored(run).metrics["training_accuracy_score"] == 1
    assert list(ml.load_model(f"runs:/{run.run_id}/model").native.predict(texts)) == list(model.predict(texts))


def test_functions_look_and_pickle_as_the_originals(cancer):
    x, y = cancer
    before = inspect.signature(LogisticRegression.fit), LogisticRegression.fit.__doc__
    autolog.enable(["sklearn"])
    assert (inspect.signature(LogisticRegression.fit), LogisticRegression.fit.__doc__) == before
    assert LogisticRegression.fit.__qualname__ == "LogisticRegression.fit"
    assert pickle.loads(pickle.dumps(LogisticRegression.fit)) is LogisticRegression.fit
    model = LogisticRegression(max_iter=3000).fit(x, y)
    again = pickle.loads(pickle.dumps(sklearn.base.clone(model).fit(x, y)))
    assert list(again.predict(x)) == list(model.predict(x))
    assert sklearn.utils.validation.has_fit_parameter(model, "sample_weight")
    unavailable = make_pipeline(StandardScaler(), LogisticRegression())
    assert not hasattr(unavailable, "fit_predict")
    assert hasattr(make_pipeline(StandardScaler(), KMeans(2)), "fit_predict")


def test_disable_restores_every_function():
    def functions():
        classes = [sklearn.base.BaseEstimator, *below(sklearn.base.BaseEstimator)]
        classes += [sklearn.base.TransformerMixin, sklearn.base.ClusterMixin, sklearn.base.OutlierMixin]
        names = ("fit", "fit_transform", "fit_predict", "__init_subclass__")
        found = {(c, n): vars(c).get(n) for c in classes for n in names}
        return {key: (value, getattr(value, "fn", None)) for key, value in found.items()}

    def below(class_):
        return [c for sub in class_.__subclasses__() for c in (sub, *below(sub))]

    before = functions()
    autolog.enable(["sklearn"])
    changed = [key for key, value in functions().items() if before.get(key) != value]
    assert (LogisticRegression, "fit") in changed
    assert len(changed) > 100
    autolog.disable()
    assert functions() == before


def test_classes_that_come_later_are_recorded_and_restored(begin, stored):
    autolog.enable(["sklearn"])

    class Later(sklearn.base.RegressorMixin, sklearn.base.BaseEstimator):
        def __init__(self, shift=1):
            self.shift = shift

        def fit(self, X, y):
            self.mean_ = np.mean(y)
            return self

        def predict(self, X):
            return np.full(len(X), self.mean_)

    class Scaler(sklearn.base.TransformerMixin, sklearn.base.BaseEstimator):
        def fit(self, X, y=None):
            self.n_features_in_ = 1
            return self

        def transform(self, X):
            return X

        def fit_transform(self, X, y=None):
            return self.fit(X).transform(X)

    with begin() as run:
        Later(shift=3).fit([[1], [2]], [1, 3])
        assert Scaler().fit_transform([[1]]) == [[1]]
    found = stored(run)
    assert (found.params["shift"], found.metrics["training_mean_squared_error"]) == ("3", 1)
    assert found.tags["Scaler/estimator_name"] == "Scaler"
    autolog.disable()
    assert not hasattr(Later.fit, "_prefect_ml_observed")
    with begin() as silent:
        Later().fit([[1]], [1])
        Scaler().fit_transform([[1]])
    assert TAG not in stored(silent).tags


def test_a_class_of_a_script_is_searched_in_processes_of_joblib():
    script = """
        import numpy as np, sklearn.base
        from joblib import Parallel, delayed
        from sklearn.model_selection import GridSearchCV
        from prefect_ml.tracking import autolog
        from prefect_ml.tracking.start import started
        autolog.enable()

        class Own(sklearn.base.RegressorMixin, sklearn.base.BaseEstimator):
            def __init__(self, shift=1):
                self.shift = shift
            def fit(self, X, y):
                self.mean_ = np.mean(y) + self.shift
                return self
            def predict(self, X):
                return np.full(len(X), self.mean_)

        with started("script", "n", parent=None, tags=None, flow_run_id=None) as run:
            x, y = np.arange(20.0).reshape(-1, 1), np.arange(20.0)
            search = GridSearchCV(Own(), {"shift": [0, 5, 9]}, cv=2, n_jobs=2).fit(x, y)
            Parallel(2)(delayed(Own(shift).fit)(x, y) for shift in (1, 2))
        import prefect_ml as ml
        found = run.get()
        assert found.params["best_shift"] == str(search.best_params_["shift"])
        print(len(ml.search_runs("script")), [key for key in found.params if key.startswith("fit-")])
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["4", "[]"], done.stderr
