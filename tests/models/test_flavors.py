"""Flavors: which is chosen, which estimators are safe, what is imported, and how another one is added."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.base
from scipy.stats import uniform
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import DistanceMetric, get_scorer, get_scorer_names
from sklearn.model_selection import (
    GridSearchCV,
    RandomizedSearchCV,
    RepeatedStratifiedKFold,
    StratifiedKFold,
    TunedThresholdClassifierCV,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from prefect_ml.errors import ArtifactError, InvalidInputError, UntrustedModelError
from prefect_ml.models import flavors
from prefect_ml.models.flavors.sklearn_types import TRUSTED_TYPES
from prefect_ml.models.flavors.skops_types import import_skops
from prefect_ml.models.flavors.table import flavor_for
from prefect_ml.models.folder import load_model, save_model

LOGISTIC = LogisticRegression(max_iter=300)
ESTIMATORS = [
    RandomForestClassifier(n_estimators=5),
    GradientBoostingClassifier(n_estimators=3),
    HistGradientBoostingClassifier(max_iter=3),
    IsolationForest(n_estimators=5),
    KNeighborsClassifier(algorithm="kd_tree"),
    KNeighborsClassifier(algorithm="ball_tree", metric="manhattan"),
    SVC(),
    GaussianNB(),
    SGDClassifier(loss="log_loss"),
    MLPClassifier(hidden_layer_sizes=(3,), max_iter=500, tol=0.1),
    CalibratedClassifierCV(LOGISTIC, cv=2),
    GaussianProcessClassifier(RBF() + WhiteKernel()),
    StackingClassifier([("a", LOGISTIC), ("b", GaussianNB())], cv=2),
    VotingClassifier([("a", LOGISTIC), ("b", GaussianNB())]),
    GridSearchCV(LOGISTIC, {"C": [1, 2]}, cv=StratifiedKFold(2)),
    GridSearchCV(LOGISTIC, {"C": [1, 2]}, cv=2, scoring=["f1", "roc_auc"], refit="f1"),
    RandomizedSearchCV(LOGISTIC, {"C": [1, 2]}, n_iter=1, cv=RepeatedStratifiedKFold(n_splits=2, n_repeats=1)),
    TunedThresholdClassifierCV(LOGISTIC, cv=2),
    make_pipeline(SimpleImputer(), StandardScaler(), SelectKBest(k=3), LOGISTIC),
    make_pipeline(FunctionTransformer(np.log1p), LOGISTIC),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: str(e).replace("\n", "")[:40])
def test_common_estimators_are_saved_in_the_safe_format(tmp_path, cancer, estimator):
    features, target = (part[:120] for part in cancer)
    model = sklearn.base.clone(estimator).fit(features, target)
    save_model(model, tmp_path / "m", input_example=features[:3])
    loaded = load_model(tmp_path / "m", origin="of a stranger")
    assert np.array_equal(loaded.predict(features), model.predict(features))


def test_columns_of_mixed_types_are_saved_in_the_safe_format(tmp_path):
    frame = pd.DataFrame({"n": [1.0, 2, 3, 4] * 5, "c": ["x", "y"] * 10, "t": ["red", "blue sky", "blue", "sky"] * 5})
    columns = ColumnTransformer(
        [("n", StandardScaler(), ["n"]), ("c", OneHotEncoder(), ["c"]), ("t", TfidfVectorizer(), "t")]
    )
    model = make_pipeline(columns, LOGISTIC).fit(frame, [0, 1] * 10)
    save_model(model, tmp_path / "m", input_example=frame[:2])
    assert np.array_equal(load_model(tmp_path / "m", origin="x").predict(frame), model.predict(frame))


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(FunctionTransformer(print), LogisticRegression()),
        RandomizedSearchCV(LOGISTIC, {"C": uniform(0.1, 1)}),
        KNeighborsClassifier(metric=DistanceMetric.get_metric("pyfunc", func=max)),
    ],
    ids=["function", "scipy distribution", "metric by function"],
)
def test_what_can_carry_code_is_not_called_safe(tmp_path, model):
    with pytest.raises(InvalidInputError, match="allow_pickle=True"):
        save_model(model, tmp_path / "m")


def test_our_list_names_types_of_numpy_scipy_sklearn_and_the_boosters_alone():
    known = {"collections", "lightgbm", "numpy", "scipy", "sklearn", "xgboost"}
    assert {name.split(".")[0] for name in TRUSTED_TYPES} == known
    assert not [name for name in TRUSTED_TYPES if "PyFunc" in name or name.startswith("scipy.stats")]


def test_each_scorer_of_a_search_is_known_to_be_safe():
    skops_io = import_skops()
    types = {
        t for name in get_scorer_names() for t in skops_io.get_untrusted_types(data=skops_io.dumps(get_scorer(name)))
    }
    assert "sklearn.metrics._scorer._Scorer" in types
    assert types <= TRUSTED_TYPES


class Doubling(StandardScaler):
    """An estimator of one's own: a class is code."""

    def transform(self, data):
        return super().transform(data) * 2


def test_classes_of_ones_own_are_pickled_by_choice_and_loaded_with_trust(tmp_path, cancer):
    model = make_pipeline(Doubling(), LOGISTIC).fit(*cancer)
    with pytest.raises(InvalidInputError, match=r"Doubling.*allow_pickle=True.*PREFECT_ML_TRUSTED_ORIGINS"):
        save_model(model, tmp_path / "m")
    info = save_model(model, tmp_path / "m", input_example=cancer[0][:2], allow_pickle=True)
    assert info.flavors["sklearn"]["serialization_format"] == "cloudpickle"
    with pytest.raises(UntrustedModelError, match="PREFECT_ML_TRUSTED_ORIGINS"):
        load_model(tmp_path / "m", origin="of a stranger")
    loaded = load_model(tmp_path / "m", origin="ours", trusted_origins=["ours"])
    assert np.array_equal(loaded.predict(cancer[0]), model.predict(cancer[0]))


@pytest.mark.filterwarnings("ignore")
def test_the_method_that_mlflow_was_told_to_predict_with_is_called(tmp_path, cancer):
    import mlflow

    x, y = cancer
    model = make_pipeline(StandardScaler(), LOGISTIC).fit(x, y)
    mlflow.sklearn.save_model(
        model,
        str(tmp_path / "m"),
        pyfunc_predict_fn="predict_proba",
        serialization_format="cloudpickle",
        pip_requirements=[],
    )
    loaded = load_model(tmp_path / "m", origin="ours", trusted_origins=["ours"])
    assert np.array_equal(loaded.predict(x), mlflow.pyfunc.load_model(str(tmp_path / "m")).predict(x))
    assert loaded.predict(x[:3]).shape == (3, 2)
    file = tmp_path / "m/MLmodel"
    file.write_text(file.read_text().replace("predict_fn: predict_proba", "predict_fn: __reduce__"))
    with pytest.raises(ArtifactError, match="'__reduce__'"):
        load_model(tmp_path / "m", origin="ours", trusted_origins=["ours"])


class WithPredict:
    def predict(self, data):
        return data


@pytest.mark.parametrize(
    ("model", "name"),
    [(LOGISTIC, "sklearn"), (make_pipeline(LOGISTIC), "sklearn"), (WithPredict(), "python"), (len, "python")],
    ids=lambda value: str(value)[:20],
)
def test_the_flavor_is_chosen_by_the_object(model, name):
    assert flavor_for(model).name == name
    assert flavor_for(model, "python").name == "python"


@pytest.mark.parametrize("model", [42, None, WithPredict, "text"], ids=str)
def test_what_is_no_model_is_said(model):
    with pytest.raises(InvalidInputError, match="no model"):
        flavor_for(model)


def test_choosing_a_flavor_imports_no_library():
    script = """
        import sys
        from prefect_ml.models.flavors.table import flavor_for
        from prefect_ml.models.signature import Signature
        assert flavor_for(len).name == "python"
        assert Signature.infer({"a": 1}).inputs
        print([name for name in ("sklearn", "skops", "pandas", "numpy", "cloudpickle") if name in
        sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


PLUGIN = '''
import json


class Table:
    """A model of another library, which also matches as a Python object."""

    def __init__(self, rows):
        self.rows = rows

    def predict(self, data):
        return [self.rows[key] for key in data]


class TableFlavor:
    name = "table"

    def matches(self, model):
        return type(model).__name__ == "Table"

    def save(self, model, folder, *, allow_pickle):
        from prefect_ml.models.flavors.contract import FlavorInfo

        (folder / "table.json").write_text(json.dumps(model.rows))
        return FlavorInfo({"file": "table.json"}, None, {"yaml"})

    def load(self, folder, conf, trust):
        return Table(json.loads((folder / conf["file"]).read_text()))

    def predict(self, native, data, params):
        return native.predict(data)


FLAVOR = TableFlavor()
'''


@pytest.mark.parametrize("name", ["skops_loader", "statsmodels_loader"])
def test_loaders_that_go_along_with_a_model_need_nothing_of_ours(name):
    source = Path(flavors.__file__).with_name(f"{name}.py").read_text()
    nodes = list(ast.walk(ast.parse(source)))
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    assert imported
    assert not [module for module in imported if module.startswith("prefect_ml")]


def distribution(path, name, entries, **modules):
    """A distribution on a path, as an installer leaves it there."""
    info = path / f"{name}-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
    lines = [f"{flavor} = {where}" for flavor, where in entries.items()]
    (info / "entry_points.txt").write_text("\n".join(["[prefect_ml.flavors]", *lines]))
    for module, text in modules.items():
        (path / f"{module}.py").write_text(text)


def run(folder, script):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_another_package_adds_a_flavor(tmp_path):
    distribution(tmp_path, "tables", {"table": "tables:FLAVOR"}, tables=PLUGIN)
    script = """
        import json, sys
        from pathlib import Path
        from prefect_ml.models.flavors.added import added_flavors
        assert list(added_flavors()) == ["table"] and "tables" not in sys.modules
        from tables import Table
        from prefect_ml.models.folder import load_model, save_model
        info = save_model(Table({"a": 1}), Path("m"), input_example=["a"])
        print(json.dumps([list(info.flavors), load_model(Path("m"), origin="x").predict(["a", "a"])]))
    """
    assert run(tmp_path, script) == [["table"], [1, 1]]


BROKEN = """
import operator


class Named:
    name = "another"

    def matches(self, model):
        return False

    save = load = predict = matches


class Raising(Named):
    name = "raising"

    def matches(self, model):
        return model.no_such_attribute


NAMED, RAISING, NUMBER = Named(), Raising(), 42
"""


def test_a_broken_flavor_is_told_to_who_asks_for_it_with_the_name_of_its_package(tmp_path):
    entries = {
        "absent": "no_such_module:FLAVOR",
        "attribute": "broken:NOTHING",
        "number": "broken:NUMBER",
        "kind": "broken:Named",
        "named": "broken:NAMED",
        "raising": "broken:RAISING",
        "table": "tables:FLAVOR",
    }
    distribution(tmp_path, "broken", entries, broken=BROKEN)
    distribution(tmp_path, "tables", {"table": "tables:FLAVOR"}, tables=PLUGIN)
    script = f"""
        import json
        from pathlib import Path
        from prefect_ml.errors import PrefectMLError
        from prefect_ml.models.flavors.table import flavor_for
        from prefect_ml.models.folder import load_model, save_model
        said = {{}}
        for name in {sorted(entries)}:
            try:
                flavor_for(len, name)
                said[name] = ["no error"]
            except PrefectMLError as error:
                said[name] = [type(error).__name__, str(error)]
        said["not asked"] = [flavor_for(len).name]
        save_model(abs, Path("m"), allow_pickle=True)
        said["folder"] = [load_model(Path("m"), origin="x", trusted_origins=["x"]).predict(-1)]
        text = Path("m/MLmodel").read_text().replace("  python:", "  absent:")
        Path("m/MLmodel").write_text(text)
        try:
            load_model(Path("m"), origin="x")
        except PrefectMLError as error:
            said["asked by a folder"] = [type(error).__name__, str(error)]
        try:
            flavor_for(len, "fortran")
        except PrefectMLError as error:
            said["unknown"] = [type(error).__name__, str(error)]
        print(json.dumps(said))
    """
    said = run(tmp_path, script)
    assert said.pop("not asked") == ["python"]
    assert said.pop("folder") == [1]
    assert said.pop("raising") == ["no error"]
    assert said.pop("unknown")[1].startswith("There is no flavor 'fortran'; known are absent, attribute, kind,")
    parts = {
        "absent": "No module named 'no_such_module'",
        "asked by a folder": "No module named 'no_such_module'",
        "attribute": "has no attribute 'NOTHING'",
        "number": "is no flavor but 42",
        "kind": "is no flavor but <class 'broken.Named'>",
        "named": "calls itself 'another'",
        "table": "added more than once, by broken 1.5 and tables 1.5",
    }
    assert said.keys() == parts.keys()
    for name, part in parts.items():
        kind, message = said[name]
        assert kind == "ArtifactError"
        assert part in message
        assert "broken 1.5" in message


def test_a_users_own_modules_travel_with_the_model(tmp_path):
    """A class of one local module that uses a function of another: both are gone where it is loaded."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/__init__.py").write_text("")
    (tmp_path / "mine/scale.py").write_text(
        "import yaml\n\ndef scale(x):\n    return [v * 10 for v in yaml.safe_load(str(x))]\n"
    )
    (tmp_path / "shape.py").write_text(
        "from mine.scale import scale\n\nclass Shape:\n    def predict(self, x):\n        return scale(x)\n"
    )
    save = (
        "from pathlib import Path\nfrom shape import Shape\nfrom prefect_ml.models.folder import save_model\n"
        "save_model(Shape(), Path('m'), input_example=[1, 2])"
    )
    load = (
        "from pathlib import Path\nfrom prefect_ml.models.folder import load_model\n"
        "print(load_model(Path('m'), origin='x', trusted_origins=['x']).predict([1, 2]))"
    )
    subprocess.run([sys.executable, "-c", save], cwd=tmp_path, check=True, capture_output=True)
    for name in ("shape.py", "mine/scale.py", "mine/__init__.py"):
        (tmp_path / name).unlink()
    done = subprocess.run([sys.executable, "-c", load], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.stdout.strip() == "[10, 20]", done.stderr
    pins = (tmp_path / "m/requirements.txt").read_text()
    assert "PyYAML==" in pins
    assert "mine" not in pins
