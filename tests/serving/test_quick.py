"""The short way of a small request: a matrix instead of a table, and no thread where none is needed."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from prefect_ml.models.flavors.skops_types import estimators_among
from prefect_ml.models.folder import save_model
from prefect_ml.registry.resolve import ResolvedModel
from prefect_ml.serving.pace import Pace
from prefect_ml.serving.replica import load_replica
from prefect_ml.settings import Settings

NAMES = ["a", "b", "c"]
TABLE = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3)), columns=NAMES)
TARGET = (TABLE["a"] > 0).map({True: "yes", False: "no"})
MODELS = {
    "pipeline": make_pipeline(StandardScaler(), LogisticRegression()).fit(TABLE, TARGET),
    "nested": make_pipeline(make_pipeline("passthrough", StandardScaler()), LogisticRegression()).fit(TABLE, TARGET),
    "line": LinearRegression().fit(TABLE, TABLE["a"]),
    "forest": RandomForestClassifier(5, random_state=0).fit(TABLE, TARGET),
}
NUMBERS = st.one_of(st.floats(-1e6, 1e6), st.integers(-1000, 1000))


def loaded(folder, model, example):
    save_model(model, folder, input_example=example)
    return load_replica(ResolvedModel(uri=str(folder), source=str(folder)), Settings())


@pytest.fixture(scope="module")
def replicas(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {name: loaded(folder / name, model, TABLE.iloc[:4]) for name, model in MODELS.items()}


@given(st.sampled_from(sorted(MODELS)), st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_a_matrix_predicts_what_a_table_does(replicas, name, rows):
    replica = replicas[name]
    assert replica.matrix is not None
    body = json.dumps({"dataframe_split": {"columns": NAMES, "data": rows}}).encode()
    assert isinstance(replica.decoder.decode("application/json", body).data, np.ndarray)
    wanted = MODELS[name].predict(pd.DataFrame(rows, columns=NAMES, dtype="float64")).tolist()
    found = json.loads(replica.answer("application/json", body))["predictions"]
    # a table lies otherwise in memory, and sums are of another order then
    assert found == (pytest.approx(wanted, rel=1e-9, abs=1e-6) if name == "line" else wanted)


def test_columns_in_another_order_and_text_go_the_long_way(replicas):
    replica = replicas["line"]
    body = json.dumps({"dataframe_split": {"columns": ["c", "b", "a"], "data": [[3.0, 2.0, 1.0]]}}).encode()
    assert json.loads(replica.answer("application/json", body))["predictions"] == [pytest.approx(1.0)]
    body = json.dumps({"dataframe_split": {"columns": NAMES, "data": [[1.0, "two", 3.0]]}}).encode()
    with pytest.raises(Exception, match="'b'"):
        replica.answer("application/json", body)


def test_a_model_that_needs_names_is_asked_by_tables(tmp_path):
    by_name = ColumnTransformer([("scaled", StandardScaler(), ["a", "c"])])
    replica = loaded(tmp_path / "named", make_pipeline(by_name, LogisticRegression()).fit(TABLE, TARGET), TABLE[:4])
    assert replica.matrix is None
    body = json.dumps({"dataframe_records": TABLE[:2].to_dict(orient="records")}).encode()
    assert json.loads(replica.answer("application/json", body))["predictions"] == TARGET[:2].tolist()


class Clock:
    """Seconds that pass only when they are told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def taking(self, seconds):
        def call():
            self.now += seconds

        return call


@pytest.mark.parametrize(
    ("flavor", "seconds", "size", "quick"),
    [
        ("sklearn", 0.0005, 500, True),
        ("sklearn", 0.01, 500, False),
        ("sklearn", 0.0005, 1 << 20, False),
        ("python", 0.0005, 500, False),
    ],
)
def test_only_what_is_surely_quick_is_answered_on_the_loop(flavor, seconds, size, quick):
    clock = Clock()
    assert Pace(flavor, clock.taking(seconds), clock).quick(size) is quick
    assert not Pace(flavor, None, clock).quick(size)


def test_after_a_slow_answer_threads_answer_for_a_while_and_longer_each_time():
    clock = Clock()
    pace = Pace("sklearn", clock.taking(0.0005), clock)
    pauses = []
    for _ in range(3):
        pace.took(1.0)
        began = clock.now
        while not pace.quick(500):
            clock.now += 1
        pauses.append(clock.now - began)
    assert pauses == [5, 10, 20]


LEAN = """
import sys
from prefect_ml.models.flavors.skops_types import be_lean
from prefect_ml.models.folder import load_model
be_lean()
model = load_model(sys.argv[1], origin=sys.argv[1])
assert "sklearn.gaussian_process" not in sys.modules, "all of scikit-learn is loaded"
print(model.predict([{"a": 1.0, "b": 0.0, "c": 0.0}])[0])
"""


def test_a_serving_process_loads_no_more_of_scikit_learn_than_its_model_needs(tmp_path):
    save_model(MODELS["pipeline"], tmp_path / "model", input_example=TABLE[:4])
    command = [sys.executable, "-c", LEAN, str(tmp_path / "model")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "yes"), done.stderr


LISTED = """
import json, sys
from prefect_ml.models.flavors.skops_types import import_skops
import_skops()
from skops.io import _trusted_types
loaded = sorted({"torch", "dask"} & set(sys.modules))
from sklearn.utils import all_estimators
wanted = sorted(f"{kind.__module__}.{kind.__qualname__}" for _, kind in all_estimators())
print(json.dumps([loaded, sorted(_trusted_types.SKLEARN_ESTIMATOR_TYPE_NAMES), wanted]))
"""


def test_a_process_that_trains_loads_no_other_library_for_the_list_of_estimators():
    done = subprocess.run([sys.executable, "-c", LISTED], capture_output=True, text=True, timeout=120, check=True)
    loaded, listed, wanted = json.loads(done.stdout)
    assert loaded == []
    assert listed == wanted


def test_what_counts_as_an_estimator_without_skops_own_list_is_what_is_on_it():
    import skops.io  # noqa: F401  makes the list
    from skops.io import _trusted_types

    listed = set(_trusted_types.SKLEARN_ESTIMATOR_TYPE_NAMES)
    others = {
        "sklearn.base.BaseEstimator",
        "sklearn.utils.Bunch",
        "sklearn.tree._tree.Tree",
        "sklearn.linear_model._base.LinearModel",
        "sklearn.externals.joblib.Memory",
        "sklearn.nowhere.Nothing",
        "os.system",
    }
    assert estimators_among(listed | others) == listed
