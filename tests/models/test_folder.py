"""Model folders: written whole, opened here and by MLflow, with everything that a reader needs."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import StandardScaler

from prefect_ml.errors import (
    AlreadyExistsError,
    ArtifactError,
    InvalidInputError,
    SignatureError,
    UntrustedModelError,
)
from prefect_ml.models.folder import load_model, save_model
from prefect_ml.models.schema import Column, Tensor
from prefect_ml.models.signature import Signature


class AddConstant:
    """A model of the user's own."""

    def __init__(self, constant):
        self.constant = constant

    def predict(self, data, params=None):
        factor = (params or {}).get("factor", 1)
        return (data.sum(axis=1) + self.constant) * factor


def doubled(data):
    return data * 2


class OwnEstimator(ClassifierMixin, BaseEstimator):
    def fit(self, _features, target):
        self.classes_ = np.unique(target)
        return self

    def predict(self, data):
        return np.full(len(data), self.classes_[0])


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("kind", ["frame", "array"])
def test_a_scikit_learn_model_goes_round(tmp_path, cancer, fitted, kind):
    features, target = cancer
    data = features if kind == "frame" else features.to_numpy()
    model = fitted if kind == "frame" else LinearRegression().fit(data, target)
    info = save_model(model, tmp_path / "m", input_example=data[:3], metadata={"team": "ml"}, run_id="r1")
    loaded = load_model(tmp_path / "m", origin="anywhere")
    assert np.array_equal(loaded.predict(data), model.predict(data))
    assert type(loaded.native) is type(model)
    assert loaded.info == info
    assert info.metadata == {"team": "ml"}
    assert info.run_id == "r1"
    assert loaded.signature.inputs == (
        tuple(Column("double", name) for name in features) if kind == "frame" else (Tensor("float64", (-1, 10)),)
    )
    assert loaded.signature.outputs == (Tensor("int64" if kind == "frame" else "float64", (-1,)),)
    assert np.array_equal(loaded.input_example, data[:3])
    assert type(loaded.input_example) is type(data)
    assert leftovers(tmp_path) == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["frame", "array"])
def test_mlflow_opens_it_and_predicts_the_same(tmp_path, cancer, fitted, kind):
    import mlflow

    features, target = cancer
    data = features if kind == "frame" else features.to_numpy()
    model = fitted if kind == "frame" else LinearRegression().fit(data, target)
    save_model(model, tmp_path / "m", input_example=data[:3])
    theirs = mlflow.pyfunc.load_model(str(tmp_path / "m"))
    assert np.array_equal(theirs.predict(data), model.predict(data))
    assert np.array_equal(theirs.input_example, data[:3])
    assert theirs.metadata.signature == mlflow.models.infer_signature(data[:3], model.predict(data[:3]))
    assert np.array_equal(mlflow.sklearn.load_model(str(tmp_path / "m")).predict(data), model.predict(data))
    with pytest.raises(mlflow.exceptions.MlflowException, match=r"missing inputs|shape"):
        theirs.predict(data[["mean radius"]] if kind == "frame" else data[:, :2])


@pytest.mark.filterwarnings("ignore")
def test_mlflow_opens_a_forest_whose_types_our_list_trusts(tmp_path, cancer):
    import mlflow
    from sklearn.ensemble import RandomForestClassifier

    features, target = cancer
    model = RandomForestClassifier(n_estimators=5).fit(features, target)
    save_model(model, tmp_path / "m", input_example=features[:3])
    assert np.array_equal(mlflow.pyfunc.load_model(str(tmp_path / "m")).predict(features), model.predict(features))


def test_it_loads_where_mlflow_is_not_installed(tmp_path, fitted, cancer):
    save_model(fitted, tmp_path / "m", input_example=cancer[0][:3])
    script = (
        "import sys; sys.modules['mlflow'] = None\n"
        "from pathlib import Path; from prefect_ml.models.folder import load_model\n"
        "m = load_model(Path(sys.argv[1]), origin='x'); print(m.predict(m.input_example).tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "m")], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == fitted.predict(cancer[0][:3]).tolist()


def test_the_folder_holds_what_mlflow_writes(tmp_path, fitted, cancer):
    save_model(fitted, tmp_path / "m", input_example=cancer[0][:2])
    assert files(tmp_path / "m") == {
        "MLmodel",
        "model.skops",
        "code/prefect_ml_skops_loader.py",
        "pylock.toml",
        "requirements.txt",
        "python_env.yaml",
        "conda.yaml",
        "input_example.json",
        "output_example.json",
        "serving_input_example.json",
    }
    request = json.loads((tmp_path / "m/serving_input_example.json").read_text())
    assert request["dataframe_split"]["columns"] == list(cancer[0])
    mlmodel = yaml.safe_load((tmp_path / "m/MLmodel").read_text())
    assert set(mlmodel["flavors"]) == {"sklearn", "python_function"}


def test_the_environment_has_exact_versions_of_what_the_model_uses(tmp_path, fitted, cancer):
    save_model(fitted, tmp_path / "m", input_example=cancer[0][:2])
    direct, further = (tmp_path / "m/requirements.txt").read_text().split("# required by these\n")
    names = ["numpy", "pandas", "scikit-learn", "scipy", "skops"]
    assert direct.splitlines() == ["# imported by the model", *(f"{name}=={version(name)}" for name in names)]
    assert {f"{name}=={version(name)}" for name in ("joblib", "python-dateutil", "six")} <= set(further.split())
    pins = sorted([*direct.splitlines()[1:], *further.split()])
    python = ".".join(map(str, sys.version_info[:3]))
    assert yaml.safe_load((tmp_path / "m/python_env.yaml").read_text())["python"] == python
    conda = yaml.safe_load((tmp_path / "m/conda.yaml").read_text())
    assert conda["dependencies"] == [f"python={python}", "pip", {"pip": pins}]


def uses_yaml(data):
    import yaml as needed

    return needed.safe_dump(list(data))


def test_a_function_is_scanned_for_its_imports(tmp_path):
    save_model(uses_yaml, tmp_path / "m")
    pins = (tmp_path / "m/requirements.txt").read_text()
    assert f"PyYAML=={version('pyyaml')}" in pins
    assert "cloudpickle==" in pins
    assert "pandas" not in pins


@pytest.mark.parametrize(
    "model", [AddConstant(3), doubled, lambda data: data * 3], ids=["object", "function", "lambda"]
)
def test_any_python_object_goes_round_when_its_origin_is_trusted(tmp_path, model):
    data = np.array([[1.0, 2.0], [3.0, 4.0]])
    save_model(model, tmp_path / "m", input_example=data)
    with pytest.raises(UntrustedModelError, match=r"PREFECT_ML_TRUSTED_ORIGINS=models:/m/1"):
        load_model(tmp_path / "m", origin="models:/m/1")
    loaded = load_model(tmp_path / "m", origin="models:/m/1", trusted_origins=["models:/m/*"])
    expected = model.predict(data) if hasattr(model, "predict") else model(data)
    assert np.array_equal(loaded.predict(data), expected)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", [AddConstant(3), lambda data: data * 3], ids=["object", "lambda"])
def test_mlflow_opens_python_objects_where_neither_our_package_nor_the_class_is(tmp_path, model):
    data = np.array([[1.0, 2.0]])
    save_model(model, tmp_path / "m", input_example=data)
    script = (
        "import sys; sys.modules['prefect_ml'] = None\nimport warnings; warnings.simplefilter('ignore')\n"
        "import mlflow, numpy as np; m = mlflow.pyfunc.load_model(sys.argv[1])\n"
        "print(m.predict(np.array([[1.0, 2.0]])).tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "m")], capture_output=True, text=True, check=True
    )
    expected = model.predict(data) if hasattr(model, "predict") else model(data)
    assert json.loads(done.stdout.splitlines()[-1]) == expected.tolist()


def test_a_model_that_was_shown_lists_gets_lists(tmp_path):
    model = LinearRegression().fit([[1.0, 2.0], [3.0, 5.0]], [1.0, 2.0])
    save_model(model, tmp_path / "m", input_example=[[1.0, 2.0]])
    assert np.allclose(load_model(tmp_path / "m", origin="x").predict([[3.0, 5.0]]), [2.0])


def test_params_reach_a_model_that_takes_them(tmp_path):
    data = np.array([[1.0, 2.0]])
    signature = Signature.infer(data, params={"factor": 1.0})
    save_model(AddConstant(0), tmp_path / "m", input_example=data, signature=signature)
    loaded = load_model(tmp_path / "m", origin="x", trusted_origins=["*"])
    assert loaded.predict(data).tolist() == [3.0]
    assert loaded.predict(data, {"factor": 2}).tolist() == [6.0]
    with pytest.raises(SignatureError, match="factor"):
        loaded.predict(data, {"factor": "much"})


def test_a_model_without_an_example_enforces_nothing(tmp_path, fitted, cancer):
    save_model(fitted, tmp_path / "m")
    loaded = load_model(tmp_path / "m", origin="x")
    assert loaded.signature is None
    assert loaded.input_example is None
    assert np.array_equal(loaded.predict(cancer[0]), fitted.predict(cancer[0]))


def test_an_estimator_that_is_not_known_to_be_safe_is_named(tmp_path, cancer):
    model = OwnEstimator().fit(*cancer)
    with pytest.raises(InvalidInputError, match=r"OwnEstimator.*allow_pickle=True"):
        save_model(model, tmp_path / "m", input_example=cancer[0][:2])
    assert list(tmp_path.iterdir()) == []
    save_model(model, tmp_path / "m", input_example=cancer[0][:2], allow_pickle=True)
    with pytest.raises(UntrustedModelError):
        load_model(tmp_path / "m", origin="x")
    loaded = load_model(tmp_path / "m", origin="x", trusted_origins=["x"])
    assert np.array_equal(loaded.predict(cancer[0]), model.predict(cancer[0]))


def test_a_safe_estimator_stays_safe_when_pickles_are_allowed(tmp_path, fitted, cancer):
    save_model(fitted, tmp_path / "m", input_example=cancer[0][:2], allow_pickle=True)
    assert load_model(tmp_path / "m", origin="x").native is not None


def test_a_transformer_is_kept_and_says_that_it_cannot_predict(tmp_path, cancer):
    info = save_model(StandardScaler().fit(cancer[0]), tmp_path / "m")
    assert set(info.flavors) == {"sklearn"}
    loaded = load_model(tmp_path / "m", origin="x")
    assert loaded.native.transform(cancer[0]).shape == cancer[0].shape
    with pytest.raises(InvalidInputError, match="StandardScaler has no `predict`"):
        loaded.predict(cancer[0])


class Failing:
    def predict(self, _data):
        raise RuntimeError("out of order")


@pytest.mark.parametrize(
    ("model", "example", "error", "part"),
    [
        (Failing(), [[1.0]], InvalidInputError, "out of order"),
        (doubled, object(), SignatureError, "object"),
        (doubled, pd.DataFrame({"a": [None]}), SignatureError, "column 'a'"),
        (lambda _: object(), [1.0], SignatureError, "object"),
        (42, None, InvalidInputError, "int is no model"),
        (AddConstant, None, InvalidInputError, "no model"),
        ((x for x in ()), None, InvalidInputError, "no model"),
    ],
    ids=["fails", "no example", "no type", "no output type", "number", "class", "generator"],
)
def test_a_failure_leaves_nothing_behind(tmp_path, model, example, error, part):
    with pytest.raises(error, match=part):
        save_model(model, tmp_path / "m", input_example=example)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_pickled_is_named(tmp_path):
    model = AddConstant(x for x in ())
    with pytest.raises(InvalidInputError, match="cannot be pickled"):
        save_model(model, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_an_example_that_breaks_the_given_signature_is_named(tmp_path, fitted, cancer):
    signature = Signature(inputs=(Column("double", "height"),))
    with pytest.raises(SignatureError, match="height"):
        save_model(fitted, tmp_path / "m", input_example=cancer[0][:2], signature=signature)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path, fitted):
    (tmp_path / "m").mkdir()
    save_model(fitted, tmp_path / "m")
    before = (tmp_path / "m/MLmodel").read_bytes()
    with pytest.raises(AlreadyExistsError):
        save_model(fitted, tmp_path / "m")
    (tmp_path / "f").write_text("x")
    with pytest.raises(AlreadyExistsError):
        save_model(fitted, tmp_path / "f")
    assert (tmp_path / "m/MLmodel").read_bytes() == before
    assert leftovers(tmp_path) == []


def test_an_unknown_flavor_is_named(tmp_path, fitted):
    with pytest.raises(InvalidInputError, match=r"known are xgboost, lightgbm, catboost, .*python"):
        save_model(fitted, tmp_path / "m", flavor="fortran")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (None, "no readable MLmodel"),
        ("", "lists no flavors"),
        ("[1, 2]", "lists no flavors"),
        ("flavors: 3", "lists no flavors"),
        ("flavors: {sklearn: 3}", "lists no flavors"),
        ("flavors: {}", "only the flavors"),
        ("flavors: {fortran: {}}", "only the flavors fortran"),
        ("flavors: {sklearn: {}}", "names no weights"),
        ("flavors: {python: {}}", "names no file"),
        ("flavors: {sklearn: {pickled_model: model.skops, serialization_format: skops}}", "are missing"),
        ("a: [", "no plain YAML"),
        ("a: !!python/object/apply:os.system [touch exploded]", "no plain YAML"),
        ("\x00", "no plain YAML"),
    ],
)
def test_a_broken_mlmodel_file_says_what_is_wrong(tmp_path, text, part):
    if text is not None:
        (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(ArtifactError, match=part):
        load_model(tmp_path, origin="x", trusted_origins=["*"])


@pytest.mark.parametrize(
    "example",
    [
        pd.DataFrame({"d": pd.to_datetime(["2020-01-01"]), "n": [np.nan], "b": [b"xx"], "s": ["é"], "i": [2**53 + 1]}),
        pd.DataFrame([[1, 2.0]]),
        np.zeros((2, 3, 4), dtype="float32"),
        {"a": np.zeros((2, 2)), "b": np.zeros(2, dtype="int64")},
        [[1, 2], [3, 4]],
        {"a": 1, "b": "x"},
        [{"a": 1.0}, {"a": 2.0}],
        "text",
    ],
    ids=lambda e: f"{type(e).__name__}",
)
def test_each_kind_of_example_comes_back_as_the_model_takes_it(tmp_path, example):
    save_model(lambda _: 1.0, tmp_path / "m", input_example=example)
    loaded = load_model(tmp_path / "m", origin="x", trusted_origins=["*"])
    if isinstance(example, pd.DataFrame):
        pd.testing.assert_frame_equal(loaded.input_example, example, check_dtype=False)
    elif isinstance(example, np.ndarray):
        assert loaded.input_example.dtype == example.dtype
        assert np.array_equal(loaded.input_example, example)
    else:
        assert str(loaded.input_example) == str(loaded.signature.enforce(example))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format_", ["skops", "cloudpickle", "pickle"])
def test_what_mlflow_saved_opens_here(tmp_path, fitted, cancer, format_):
    import mlflow

    features, _ = cancer
    mlflow.sklearn.save_model(
        fitted,
        str(tmp_path / "m"),
        serialization_format=format_,
        input_example=features[:2],
        signature=mlflow.models.infer_signature(features, fitted.predict(features)),
        pip_requirements=["scikit-learn"],
    )
    trusted = [] if format_ == "skops" else ["models:/theirs/*"]
    if trusted:
        with pytest.raises(UntrustedModelError, match=r"model\.pkl"):
            load_model(tmp_path / "m", origin="models:/theirs/1")
    loaded = load_model(tmp_path / "m", origin="models:/theirs/1", trusted_origins=trusted)
    assert np.array_equal(loaded.predict(features), fitted.predict(features))
    assert loaded.input_example.equals(features[:2])


@pytest.mark.filterwarnings("ignore")
def test_a_python_model_of_mlflow_opens_here_from_a_trusted_origin(tmp_path):
    import mlflow

    class Theirs(mlflow.pyfunc.PythonModel):
        def predict(self, model_input: list[str]) -> list[str]:
            return [text.upper() for text in model_input]

    mlflow.pyfunc.save_model(str(tmp_path / "m"), python_model=Theirs(), input_example=["a"], pip_requirements=[])
    with pytest.raises(UntrustedModelError, match=r"mlflow\.pyfunc\.model"):
        load_model(tmp_path / "m", origin="x")
    loaded = load_model(tmp_path / "m", origin="x", trusted_origins=["x"])
    assert list(loaded.predict(["b", "c"])) == ["B", "C"]
