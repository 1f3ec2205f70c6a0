"""Writes small model folders with the MLflow that runs it, below a folder named as its release.

Beside each folder stands `<name>.json`: what goes in, and what MLflow's own pyfunc predicted on it. They were made
from the root of the project, once for each release, by

    MODELS=tests/models/saved_by_mlflow/make.py
    CLASSIC="--with scikit-learn==1.9.1 --with xgboost-cpu==3.2.0 --with lightgbm==4.7.0 --with catboost==1.2.10
             --with onnx==1.23.2 --with onnxruntime==1.32.0 --with skl2onnx==1.20.0 --with statsmodels==0.15.0"
    RUN="uv run --no-project --isolated --python 3.11"
    $RUN --with mlflow==2.22.5 $CLASSIC python $MODELS classic
    $RUN --with mlflow==3.17.2 --with skops==0.16.0 $CLASSIC python $MODELS classic
    BINARY="--with xgboost==1.7.6 --with numpy<2 --with scikit-learn==1.4.2"
    $RUN --with mlflow==2.22.5 $BINARY python $MODELS binary
    OLD="--with torch==2.13.0 --with keras==3.6.0 --with transformers==4.48.3"
    NEW="--with torch==2.13.0 --with keras==3.15.1 --with transformers==5.24.0"
    $RUN --with mlflow==2.22.5 $OLD python $MODELS deep custom
    $RUN --with mlflow==3.17.2 $NEW python $MODELS deep custom

Arguments: the names of groups or of single models; MLflow 2 knows no skops, and CatBoost's JSON
is large and the same in both.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import numpy as np
import pandas as pd

RELEASE = mlflow.__version__
NEW = int(RELEASE.split(".", maxsplit=1)[0]) >= 3
MAKERS: dict[str, tuple[str, Callable[[str], Any]]] = {}
# Nothing is looked up and no environment inferred: the tests are about weights and sections.
PLAIN = {"pip_requirements": []}


def saved(group: str) -> Callable[[Callable[[str], Any]], Callable[[str], Any]]:
    """Registers a function that saves a model at a path and returns what to predict on."""

    def add(make: Callable[[str], Any]) -> Callable[[str], Any]:
        MAKERS[make.__name__] = (group, make)
        return make

    return add


def numbers() -> tuple[pd.DataFrame, np.ndarray]:
    """Sixty rows of three numbers, and two classes that depend on them."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 3)).round(2), columns=["a", "b", "c"])
    return frame, (frame["a"] + frame["b"] ** 2 > 0.5).to_numpy().astype(int)


def mixed() -> tuple[pd.DataFrame, list[int]]:
    frame = pd.DataFrame({"n": [1.0, 2.0, 3.0, 4.0] * 5, "c": ["x", "y"] * 10})
    return frame, [0, 1] * 10


def pipeline() -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = ColumnTransformer([("n", StandardScaler(), ["n"]), ("c", OneHotEncoder(), ["c"])])
    return make_pipeline(columns, LogisticRegression()).fit(*mixed())


@saved("classic")
def sklearn_cloudpickle(path: str) -> Any:
    frame, _ = mixed()
    example = {"input_example": frame.head(2)}
    mlflow.sklearn.save_model(pipeline(), path, serialization_format="cloudpickle", **example, **PLAIN)
    return frame


@saved("classic")
def sklearn_pickle(path: str) -> Any:
    mlflow.sklearn.save_model(pipeline(), path, serialization_format="pickle", **PLAIN)
    return mixed()[0]


DOUBLING = """\
from sklearn.preprocessing import StandardScaler


class Doubling(StandardScaler):
    def transform(self, data):
        return super().transform(data) * 2
"""


@saved("classic")
def sklearn_own_code(path: str) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    with TemporaryDirectory() as folder:
        file = Path(folder) / "kept_doubling.py"
        file.write_text(DOUBLING)
        sys.path.append(folder)
        module = importlib.import_module("kept_doubling")
        x, y = numbers()
        model = make_pipeline(module.Doubling(), LogisticRegression()).fit(x, y)
        format_ = {"serialization_format": "cloudpickle"}
        mlflow.sklearn.save_model(model, path, code_paths=[str(file)], **format_, **PLAIN)
    return x


if NEW:

    @saved("classic")
    def sklearn_skops(path: str) -> Any:
        from sklearn.linear_model import LogisticRegression

        x, y = numbers()
        model = LogisticRegression().fit(x, y)
        mlflow.sklearn.save_model(model, path, serialization_format="skops", skops_trusted_types=[], **PLAIN)
        return x


def xgboost_model(path: str, *, booster: bool, format_: str) -> Any:
    import xgboost

    x, y = numbers()
    if booster:
        model = xgboost.train({"objective": "binary:logistic", "max_depth": 2}, xgboost.DMatrix(x, y), 3)
    else:
        model = xgboost.XGBClassifier(n_estimators=3, max_depth=2).fit(x, y)
    mlflow.xgboost.save_model(model, path, model_format=format_, **PLAIN)
    return x


@saved("classic")
def xgboost_booster(path: str) -> Any:
    return xgboost_model(path, booster=True, format_="ubj" if NEW else "xgb")


@saved("classic")
def xgboost_classifier(path: str) -> Any:
    return xgboost_model(path, booster=False, format_="json")


@saved("binary")
def xgboost_binary_booster(path: str) -> Any:
    return xgboost_model(path, booster=True, format_="xgb")


@saved("binary")
def xgboost_binary_classifier(path: str) -> Any:
    return xgboost_model(path, booster=False, format_="xgb")


def lightgbm_model(path: str, *, booster: bool) -> Any:
    import lightgbm

    x, y = numbers()
    params = {"objective": "binary", "num_leaves": 3, "min_data_in_leaf": 5, "verbose": -1}
    if booster:
        model = lightgbm.train(params, lightgbm.Dataset(x, y), 3)
    else:
        model = lightgbm.LGBMClassifier(n_estimators=3, **params).fit(x, y)
    pickled = {"serialization_format": "cloudpickle"} if NEW and not booster else {}
    mlflow.lightgbm.save_model(model, path, **pickled, **PLAIN)
    return x


@saved("classic")
def lightgbm_booster(path: str) -> Any:
    return lightgbm_model(path, booster=True)


@saved("classic")
def lightgbm_classifier(path: str) -> Any:
    return lightgbm_model(path, booster=False)


def catboost_model(path: str, class_: str, **format_: str) -> Any:
    import catboost

    x, y = numbers()
    model = getattr(catboost, class_)(iterations=2, depth=2, border_count=8, verbose=False, allow_writing_files=False)
    mlflow.catboost.save_model(model.fit(x, y), path, **format_, **PLAIN)
    return x


@saved("classic")
def catboost_classifier(path: str) -> Any:
    return catboost_model(path, "CatBoostClassifier")


if not NEW:

    @saved("classic")
    def catboost_regressor_json(path: str) -> Any:
        return catboost_model(path, "CatBoostRegressor", format="json")


def onnx_graph(width: int) -> Any:
    """A layer of `width` units, whose weights are past ONNX's limit for a file apart when it is 90."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(1).normal(size=(3, width)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, width])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


@saved("classic")
def onnx_one_file(path: str) -> Any:
    mlflow.onnx.save_model(onnx_graph(1), path, save_as_external_data=False, **PLAIN)
    return numbers()[0]


@saved("classic")
def onnx_external_data(path: str) -> Any:
    mlflow.onnx.save_model(onnx_graph(90), path, **PLAIN)
    return numbers()[0].to_numpy().astype(np.float32)[:1]


@saved("classic")
def statsmodels_ols(path: str) -> Any:
    import statsmodels.api as sm

    x, y = numbers()
    mlflow.statsmodels.save_model(sm.OLS(y, x.to_numpy()).fit(), path, remove_data=True, **PLAIN)
    return x


@saved("classic")
def statsmodels_glm(path: str) -> Any:
    import statsmodels.api as sm

    x, y = numbers()
    result = sm.GLM(y, x.to_numpy(), family=sm.families.Binomial()).fit()
    mlflow.statsmodels.save_model(result, path, remove_data=True, **PLAIN)
    return x


def network() -> Any:
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)).eval()


@saved("deep")
def pytorch_module(path: str) -> Any:
    pickled = {"serialization_format": "pickle"} if NEW else {}
    mlflow.pytorch.save_model(network(), path, **pickled, **PLAIN)
    return numbers()[0].to_numpy().astype(np.float32)


@saved("deep")
def pytorch_script(path: str) -> Any:
    import torch

    pickled = {"serialization_format": "pickle"} if NEW else {}
    traced = torch.jit.trace(network(), torch.zeros(1, 3))
    mlflow.pytorch.save_model(traced, path, **pickled, **PLAIN)
    return numbers()[0].to_numpy().astype(np.float32)


if NEW:

    @saved("deep")
    def pytorch_graph(path: str) -> Any:
        rows = numbers()[0].to_numpy().astype(np.float32)
        mlflow.pytorch.save_model(network(), path, serialization_format="pt2", input_example=rows[:2], **PLAIN)
        for name in ("input_example.json", "serving_input_example.json"):
            (Path(path) / name).unlink()
        return rows


@saved("deep")
def keras_sequential(path: str) -> Any:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(2)])
    mlflow.keras.save_model(model, path, **PLAIN)
    return numbers()[0].to_numpy().astype(np.float32)


@saved("deep")
def transformers_classification(path: str) -> Any:
    import tokenizers
    import torch
    import transformers

    words = ["[PAD]", "[UNK]", "a", "bad", "day", "good", "it", "was"]
    level = tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]")  # noqa: S106
    made = tokenizers.Tokenizer(level)
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "model_max_length": 8}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=made, **special)
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = transformers.BertConfig(vocab_size=len(words), max_position_embeddings=8, **sizes)
    model = transformers.BertForSequenceClassification(config).eval()
    pipeline = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer)
    mlflow.transformers.save_model(pipeline, path, **PLAIN)
    for name in ("LICENSE.txt", "README.md", "model_card_data.yaml"):
        (Path(path) / name).unlink(missing_ok=True)
    return ["it was a good day", "bad"]


class Scaled(mlflow.pyfunc.PythonModel):
    """Multiplies by what an artifact says."""

    def load_context(self, context: Any) -> None:
        self.factor = float(Path(context.artifacts["factor"]).read_text())

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:  # noqa: ARG002
        return model_input["a"] * self.factor + (params or {}).get("plus", 0)


@saved("custom")
def python_function_class(path: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "factor.txt").write_text("2.5")
        artifacts = {"factor": f"{folder}/factor.txt"}
        mlflow.pyfunc.save_model(path, python_model=Scaled(), artifacts=artifacts, **PLAIN)
    return numbers()[0]


def doubled(model_input):
    return model_input * 2


@saved("custom")
def python_function_function(path: str) -> Any:
    mlflow.pyfunc.save_model(path, python_model=doubled, input_example=numbers()[0].head(2), **PLAIN)
    return numbers()[0]


SCRIPT = """import mlflow
from near_by import FACTOR


class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input["a"] * FACTOR


mlflow.models.set_model(Model())
"""


@saved("custom")
def python_function_code(path: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "near_by.py").write_text("FACTOR = 4\n")
        (Path(folder) / "script.py").write_text(SCRIPT)
        script, near = f"{folder}/script.py", f"{folder}/near_by.py"
        sys.path.insert(0, folder)
        mlflow.pyfunc.save_model(path, python_model=script, code_paths=[near], **PLAIN)
        sys.path.remove(folder)
    return numbers()[0]


@saved("custom")
def python_function_code_paths(path: str) -> Any:
    """A pickle that refers to a module of the code folder by its name."""
    with tempfile.TemporaryDirectory() as folder:
        text = "import mlflow\nclass Model(mlflow.pyfunc.PythonModel):\n    def predict(self, context, model_input):\n"
        (Path(folder) / "own_model.py").write_text(f"{text}        return model_input * 3\n")
        sys.path.insert(0, folder)
        import own_model

        mlflow.pyfunc.save_model(path, python_model=own_model.Model(), code_paths=[f"{folder}/own_model.py"], **PLAIN)
        sys.path.remove(folder)
    return numbers()[0]


def plain(value: Any) -> Any:
    """Frames as columns, arrays as lists."""
    if isinstance(value, pd.DataFrame):
        return {"columns": {str(name): value[name].tolist() for name in value.columns}}
    if isinstance(value, dict):
        return {"dict": {key: plain(item) for key, item in value.items()}}
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "dtype": str(value.dtype)}
    return value.tolist() if hasattr(value, "tolist") else value


def main(wanted: list[str]) -> None:
    """Make the models of these groups or names; what stood in their place is replaced."""
    warnings.simplefilter("ignore")
    # MLflow 3 opens its own pickles only then.
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "true"
    here = Path(__file__).parent / RELEASE
    here.mkdir(exist_ok=True)
    for name, (group, make) in MAKERS.items():
        if group not in wanted and name not in wanted:
            continue
        folder = here / name
        shutil.rmtree(folder, ignore_errors=True)
        data = make(str(folder))[:6]
        outputs = mlflow.pyfunc.load_model(str(folder)).predict(data)
        record = {"input": plain(data), "output": plain(outputs)}
        (here / f"{name}.json").write_text(json.dumps(record) + "\n")
        # For people and pip alone, and some MB of lines in all.
        for file in ("conda.yaml", "python_env.yaml", "requirements.txt", "registered_model_meta"):
            (folder / file).unlink(missing_ok=True)


if __name__ == "__main__":
    main(sys.argv[1:])
