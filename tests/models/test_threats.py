"""A bomb in every file that any flavor may open, and the list of all calls that could set one off."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import pickle
import zipfile
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
import yaml

import prefect_ml
from prefect_ml.errors import ArtifactError, PrefectMLError, UntrustedModelError
from prefect_ml.models.flavors import table
from prefect_ml.models.folder import load_model

os.environ["KERAS_BACKEND"] = "torch"
os.environ["HF_HUB_OFFLINE"] = "1"
# What the libraries say of damaged files.
pytestmark = pytest.mark.filterwarnings("ignore")

ROOM = Path(prefect_ml.__file__).parent / "models"
BUILT_IN = [flavor.name for flavor in (*table._BUILT_IN, table._FOREIGN)]


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def objects(bomb):
    buffer = io.BytesIO()
    np.save(buffer, np.array([bomb], dtype=object), allow_pickle=True)
    return buffer.getvalue()


# What is put into every file, whatever its name says.
CONTENTS = {
    "pickle": pickle.dumps,
    "old pickle": lambda bomb: pickle.dumps(bomb, protocol=0),
    "cloudpickle": cloudpickle.dumps,
    "array of objects": objects,
    "archive of torch": lambda bomb: zipped(**{"m/data.pkl": pickle.dumps(bomb), "m/version": b"3"}),
    "archive of a graph": lambda bomb: zipped(
        **{"m/archive_format": b"pt2", "m/archive_version": b"0", "m/data/weights/model.pt": pickle.dumps(bomb)}
    ),
    "archive of keras": lambda bomb: zipped(
        **{"config.json": b"{}", "metadata.json": b"{}", "model.weights.npz": zipped(**{"w.npy": objects(bomb)})}
    ),
    "archive of skops": lambda bomb: zipped(**{"schema.json": b"{}", "0.npy": objects(bomb)}),
    "nothing": lambda _: b"",
    "noise": lambda _: bytes(range(256)) * 8,
}
FILES = (
    "bomb", "model.pkl", "model.skops", "model.ubj", "model.xgb", "model.json", "model.lgb", "model.txt", "model.cbm",
    "model.cb", "model.onnx", "model.onnx.data", "model.statsmodels", "data/model.pth", "data/model.pt2",
    "data/model.safetensors", "data/model.keras", "data/state_dict.pth", "data/pickle_module_info.txt",
    "model/pytorch_model.bin", "model/model.safetensors", "model/config.json", "model/generation_config.json",
    "components/tokenizer/tokenizer.json", "components/tokenizer/tokenizer_config.json",
    "components/tokenizer/vocab.pkl", "preprocessor.pkl", "input_example.json", "input_example.npy",
    "serving_input_example.json", "output_example.json", "requirements.txt", "conda.yaml", "python_env.yaml",
    "artifacts/weights.npy",
)  # fmt: skip
BERT = {
    "task": "text-classification", "pipeline_model_type": "BertForSequenceClassification", "model_binary": "model",
    "components": ["tokenizer"], "tokenizer_type": "PreTrainedTokenizerFast",
}  # fmt: skip
PICKLED = ({"serialization_format": "pickle"}, {"serialization_format": "cloudpickle"}, {})
# For each flavor, sections that lead it to every kind of file that it knows.
SECTIONS = {
    "sklearn": [{"pickled_model": "bomb", **format_} for format_ in (*PICKLED, {"serialization_format": "skops"})],
    "xgboost": [{"data": name, "model_class": "xgboost.core.Booster"} for name in ("bomb", "model.ubj", "model.json")],
    "lightgbm": [
        {"data": "bomb"},
        *({"data": "bomb", "model_class": "lightgbm.sklearn.LGBMClassifier", **format_} for format_ in PICKLED),
        {"data": "bomb", "model_class": "lightgbm.sklearn.LGBMClassifier", "serialization_format": "skops"},
    ],
    "catboost": [
        {"data": name, "model_type": "CatBoost", "save_format": kind}
        for name, kind in (("model.cb", "cbm"), ("bomb", "json"), ("bomb", "onnx"), ("bomb", "coreml"))
    ],
    "onnx": [{"data": "model.onnx"}, {"data": "bomb", "onnx_session_options": {"execution_mode": "parallel"}}],
    "statsmodels": [{"data": "bomb"}, {"data": "model.statsmodels", "serialization_format": "json"}],
    "pytorch": [{"model_data": "data"}, {"model_data": "."}, {"model_data": "data", "state": {"build": "os:getcwd"}}],
    "keras": [{"data": "data"}],
    "transformers": [BERT, {**BERT, "pipeline_model_type": "PreTrainedModel"}],
    "python": [{"pickled_model": "bomb"}, {"pickled_model": "model.pkl", "serialization_format": "skops"}],
    "python_code": [{"entry": "code/evil.py"}, {"entry": "code/model.py"}],
    "python_function": [
        {"loader_module": "mlflow.pyfunc.model", "python_model": "bomb"},
        {"loader_module": "mlflow.pyfunc.model", "model_code_path": "/elsewhere/evil.py"},
        {"loader_module": "mlflow.sklearn", "model_path": "bomb"},
        {"loader_module": "mlflow.pytorch", "data": "data"},
        {"loader_module": "evil", "code": "code"},
        {"loader_module": "evil", "code": "code", "data": "bomb"},
        {"loader_module": "antigravity"},
    ],
}


def test_no_flavor_is_forgotten():
    assert sorted(SECTIONS) == sorted(BUILT_IN)


def planted(folder, content, trace):
    for name in FILES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    evil = f"from pathlib import Path\nPath({str(trace)!r}).touch()\ndef predict(data):\n    return data\n"
    for name in ("code/evil.py", "code/model.py", "evil.py", "model/evil.py", "code/sitecustomize.py"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(evil)


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("flavor", SECTIONS)
def test_a_bomb_in_every_file_does_not_fire(tmp_path, bomb, flavor, content):
    folder, trace = tmp_path / "m", tmp_path / "exploded"
    planted(folder, CONTENTS[content](bomb), trace)
    claims = {"trusted_origins": ["*"], "trusted_signers": ["*"], "skops_trusted_types": ["*"], "allow_pickle": True}
    for section in SECTIONS[flavor]:
        example = {"artifact_path": "input_example.npy", "type": "ndarray", **claims}
        mlmodel = {"flavors": {flavor: {**claims, **section}}, "saved_input_example_info": example, **claims}
        (folder / "MLmodel").write_text(yaml.safe_dump(mlmodel))
        with pytest.raises(PrefectMLError):
            load_model(folder, origin="models:/evil/1", trusted_origins=["models:/good/*"])
        assert not trace.exists(), section


@pytest.mark.parametrize("content", ["array of objects", "pickle", "noise", "nothing"])
@pytest.mark.parametrize("flavor", ["xgboost", "lightgbm", "catboost", "onnx", "keras", "transformers"])
def test_formats_without_code_run_none_of_trusted_origins_either(tmp_path, bomb, flavor, content):
    folder, trace = tmp_path / "m", tmp_path / "exploded"
    planted(folder, CONTENTS[content](bomb), trace)
    section = SECTIONS[flavor][0]
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": {flavor: section}}))
    with pytest.raises(PrefectMLError):
        load_model(folder, origin="x", trusted_origins=["*"])
    assert not trace.exists()


@pytest.mark.parametrize("flavor", ["python", "python_code", "python_function", "sklearn", "pytorch"])
def test_the_bombs_are_live(tmp_path, bomb, flavor):
    """With trust they go off: the test above would see it."""
    folder, trace = tmp_path / "m", tmp_path / "exploded"
    planted(folder, cloudpickle.dumps(bomb), trace)
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": {flavor: SECTIONS[flavor][0]}}))
    with contextlib.suppress(ArtifactError, AttributeError):
        load_model(folder, origin="x", trusted_origins=["x"])
    assert trace.exists()


@pytest.mark.parametrize("place", ["../outside.bin", "/etc/passwd", "link.bin"])
def test_weights_of_onnx_outside_of_the_folder_are_refused(tmp_path, place):
    from onnx import TensorProto, helper

    (tmp_path / "outside.bin").write_bytes(b"\0" * 4000)
    (tmp_path / "m").mkdir()
    (tmp_path / "m/link.bin").symlink_to(tmp_path / "outside.bin")
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[10, 10], data_location=TensorProto.EXTERNAL)
    weights.external_data.add(key="location", value=place)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 10])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 10])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (tmp_path / "m/model.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "m/MLmodel").write_text(yaml.safe_dump({"flavors": {"onnx": {"data": "model.onnx"}}}))
    with pytest.raises(PrefectMLError):
        load_model(tmp_path / "m", origin="x", trusted_origins=["*"])


WATCHED = frozenset({
    "load", "loads", "load_model", "load_file", "from_pretrained", "import_module", "exec_module", "Unpickler",
    "spec_from_file_location", "Booster", "InferenceSession", "_load_pyfunc", "exec", "eval", "compile", "__import__",
    "read_pickle", "run_path", "run_module", "memmap", "fromfile",
})  # fmt: skip
OF_DATA = ("json.", "orjson.", "tomllib.", "re.", "flavor.", "self.", "modules.", "entry.")
# Every call below `models` that reads a model or runs something, and why it may.
CALLS = {
    # the gate itself
    ("trust.py", "_Unpickler(opened(stream), find).load"),
    ("trust.py", "torch.load"),
    ("trust.py", "keras.saving.load_model"),
    # code, behind `trust.require` in the constructor
    ("private_modules.py", "loader.exec_module"),
    ("private_modules.py", "importlib.util.spec_from_file_location"),
    ("private_modules.py", "builtins.__import__"),
    ("private_modules.py", "importlib.import_module"),
    ("own_importlib.py", "importlib.import_module"),
    ("own_importlib.py", "load"),
    # installed modules that the folder names, behind `trust.require`
    ("flavors/keras.py", "importlib.import_module"),
    ("flavors/pyfunc.py", "importlib.import_module"),
    ("flavors/pyfunc.py", "loader._load_pyfunc"),
    ("flavors/torch_state.py", "importlib.import_module"),
    # installed modules, named by us, or of scikit-learn
    ("flavors/skops_types.py", "importlib.import_module"),
    ("answering.py", "importlib.import_module"),
    ("uv.py", "importlib.import_module"),
    # formats of numbers alone
    ("flavors/catboost.py", "model.load_model"),
    ("flavors/lightgbm.py", "lightgbm.Booster"),
    ("flavors/xgboost.py", "model.load_model"),
    ("flavors/onnx.py", "onnx.load"),
    ("flavors/onnx.py", "onnxruntime.InferenceSession"),
    ("flavors/onnx_files.py", "onnx.load_model"),
    ("flavors/torch_state.py", "safetensors.torch.load_file"),
    # what was looked through before, and needs trust when something in it could run
    ("flavors/sklearn.py", "skops_io.load"),
    ("flavors/torch.py", "torch.export.load"),
    ("flavors/transformers.py", "model_class.from_pretrained"),
    ("flavors/transformers.py", "class_.from_pretrained"),
    # a model folder, which begins at the gate
    ("replay.py", "load_model"),
    ("trial.py", "load_model"),
    # copied into model folders for MLflow, and never run here
    ("flavors/python_loader.py", "cloudpickle.load"),
    ("flavors/python_loader.py", "importlib.util.spec_from_file_location"),
    ("flavors/python_loader.py", "spec.loader.exec_module"),
    ("flavors/skops_loader.py", "skops.io.load"),
}


def test_every_call_that_could_run_a_model_is_known_and_behind_the_gate():
    found = set()
    for path in ROOM.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if name.rpartition(".")[2] in WATCHED and not name.startswith(OF_DATA) and not name.endswith(".eval"):
                    found.add((path.relative_to(ROOM).as_posix(), name))
    assert found - CALLS == set()


def test_what_stands_in_a_folder_is_no_trust(tmp_path, bomb):
    """Settings beside a model are files like others."""
    (tmp_path / "m").mkdir()
    for name in (".env", "prefect_ml.toml", ".prefect-ml.env"):
        (tmp_path / "m" / name).write_text("PREFECT_ML_TRUSTED_ORIGINS=*\n")
    (tmp_path / "m/bomb").write_bytes(pickle.dumps(bomb))
    (tmp_path / "m/MLmodel").write_text(yaml.safe_dump({"flavors": {"python": {"pickled_model": "bomb"}}}))
    with pytest.raises(UntrustedModelError):
        load_model(tmp_path / "m", origin="x")
    assert not (tmp_path / "exploded").exists()
