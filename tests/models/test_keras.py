"""Keras 3: its archive loads from anywhere when nothing in it runs, lambdas only where that is trusted."""

from __future__ import annotations

import json
import os
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest

from deep import need_later
from prefect_ml.errors import ArtifactError, InvalidInputError, UntrustedModelError
from prefect_ml.models.folder import load_model, save_model

os.environ["KERAS_BACKEND"] = "torch"
need_later("torch")
keras = need_later("keras")
# Keras warns of numpy, and of torch.
pytestmark = pytest.mark.filterwarnings("ignore")

ROWS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(2)])
    made.compile("sgd", "mse")
    return made


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras") / "m"
    save_model(model, folder, input_example=ROWS[:2])
    return folder


def test_the_archive_loads_from_anywhere(model, saved):
    loaded = load_model(saved, origin="of a stranger")
    assert loaded.flavor.name == "keras"
    assert np.allclose(loaded.predict(ROWS), model.predict(ROWS, verbose=0), atol=1e-6)


def test_frames_in_and_out(model, tmp_path):
    frame = pd.DataFrame(ROWS, columns=list("abc"), index=list("vwxyz"))
    save_model(model, tmp_path / "m", input_example=frame)
    found = load_model(tmp_path / "m", origin="x").predict(frame)
    assert list(found.index) == list("vwxyz")
    assert np.allclose(found.to_numpy(), model.predict(ROWS, verbose=0), atol=1e-6)


def test_several_inputs_by_name(tmp_path):
    left, right = keras.Input((3,), name="left"), keras.Input((3,), name="right")
    both = keras.Model({"left": left, "right": right}, keras.layers.Subtract()([left, right]))
    pair = {"left": ROWS, "right": ROWS * 3}
    save_model(both, tmp_path / "m", input_example=pair)
    assert np.allclose(load_model(tmp_path / "m", origin="x").predict(pair), ROWS * -2, atol=1e-6)


def test_a_lambda_is_saved_and_loaded_only_by_choice(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x * 2)])
    with pytest.raises(InvalidInputError, match="a Lambda"):
        save_model(model, tmp_path / "m", input_example=ROWS)
    save_model(model, tmp_path / "m", input_example=ROWS, allow_pickle=True)
    with pytest.raises(UntrustedModelError, match="a Lambda"):
        load_model(tmp_path / "m", origin="x")
    assert np.allclose(load_model(tmp_path / "m", origin="x", trusted_origins=["x"]).predict(ROWS), ROWS * 2)


LAYERS = """
import keras

@keras.saving.register_keras_serializable("tests")
class Twice(keras.layers.Layer):
    def call(self, x):
        return x * 2
"""


def test_layers_of_ones_own_come_from_the_process_or_from_a_trusted_models_module(tmp_path, monkeypatch):
    (tmp_path / "layers_of_mine.py").write_text(LAYERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    import layers_of_mine

    save_model(keras.Sequential([keras.Input((3,)), layers_of_mine.Twice()]), tmp_path / "m", input_example=ROWS)
    assert np.allclose(load_model(tmp_path / "m", origin="x").predict(ROWS), ROWS * 2)
    keras.saving.get_custom_objects().clear()
    monkeypatch.delitem(sys.modules, "layers_of_mine")
    with pytest.raises(UntrustedModelError, match="layers_of_mine"):
        load_model(tmp_path / "m", origin="x")
    assert "layers_of_mine" not in sys.modules
    found = load_model(tmp_path / "m", origin="x", trusted_origins=["x"]).predict(ROWS)
    assert np.allclose(found, ROWS * 2)


def layer(class_name, **config):
    return {"module": "keras.layers", "class_name": class_name, "config": {"name": "evil", **config}}


ATTACKS = {
    "a lambda": {"class_name": "__lambda__", "config": {"value": ["4wAA", None, None]}},
    "a Lambda layer": layer("Lambda", function="x"),
    "a module of torch": layer("TorchModuleWrapper", module={"class_name": "x"}),
    "a module to import": {"module": "evil_module", "class_name": "run", "config": {}, "registered_name": "run"},
    "a function to import": {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"},
    "a file to read": layer("StringLookup", vocabulary="/etc/passwd"),
    "a saved model of another library": layer("TFSMLayer", filepath="/tmp/x"),  # noqa: S108 - never opened
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_runs_or_reads_other_files_needs_trust(saved, tmp_path, attack, monkeypatch):
    (tmp_path / "evil_module.py").write_text(f"open({str(tmp_path / 'exploded')!r}, 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "m/data").mkdir(parents=True)
    (tmp_path / "m/MLmodel").write_bytes((saved / "MLmodel").read_bytes())
    with (
        zipfile.ZipFile(saved / "data/model.keras") as old,
        zipfile.ZipFile(tmp_path / "m/data/model.keras", "w") as new,
    ):
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                config = json.loads(data)
                config["config"]["layers"].append(ATTACKS[attack])
                data = json.dumps(config).encode()
            new.writestr(name, data)
    with pytest.raises(UntrustedModelError):
        load_model(tmp_path / "m", origin="x", trusted_origins=["y"])
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_archive_of_keras_is_an_error_of_ours(saved, tmp_path, content):
    (tmp_path / "m/data").mkdir(parents=True)
    (tmp_path / "m/MLmodel").write_bytes((saved / "MLmodel").read_bytes())
    (tmp_path / "m/data/model.keras").write_bytes(content)
    with pytest.raises(ArtifactError):
        load_model(tmp_path / "m", origin="x", trusted_origins=["*"])
