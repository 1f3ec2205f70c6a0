"""ONNX: graphs in one file and in several, frames and arrays in, and files that point elsewhere."""

from __future__ import annotations

import mlflow
import numpy as np
import onnx
import pandas as pd
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from prefect_ml.errors import ArtifactError, InvalidInputError, UntrustedModelError
from prefect_ml.models.flavors import onnx as onnx_flavor
from prefect_ml.models.folder import load_model, save_model

# MLflow's and the converter's own warnings
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def regression(cancer):
    x, y = cancer
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(x, y)
    return convert_sklearn(model, initial_types=[("x", FloatTensorType([None, 10]))], target_opset=17)


def layer(width=400, depth=0):
    """x @ w + w, with both weights in nodes of their own; the second inside of branches."""
    rng = np.random.default_rng(1)
    weights = numpy_helper.from_array(rng.normal(size=(3, width)).astype(np.float32), "w")
    shift = helper.make_node(
        "Constant", [], ["s"], value=numpy_helper.from_array(rng.normal(size=width).astype(np.float32))
    )
    return helper.make_model(
        helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["h"]), shift, helper.make_node("Add", ["h", "s"], ["y"])],
            "layer",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, width])],
            [weights],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )


def changed(folder, **conf):
    file = folder / "MLmodel"
    content = yaml.safe_load(file.read_text())
    content["flavors"]["onnx"] |= conf
    file.write_text(yaml.safe_dump(content))


def test_what_is_saved_here_loads_here_and_in_mlflow(tmp_path, cancer, regression):
    x, _ = cancer
    folder = tmp_path / "m"
    info = save_model(regression, folder, input_example=x[:3])
    assert list(info.flavors) == ["onnx", "python_function"]
    found = load_model(folder, origin="of a stranger").predict(x)
    theirs = mlflow.pyfunc.load_model(str(folder)).predict(x)
    pd.testing.assert_frame_equal(found, theirs)
    assert len(found) == len(x)
    assert mlflow.onnx.load_model(str(folder)) == regression
    pins = (folder / "requirements.txt").read_text()
    assert "onnx==" in pins
    assert "onnxruntime==" in pins


def test_arrays_give_the_outputs_by_name(tmp_path, cancer, regression):
    x = cancer[0].to_numpy()
    save_model(regression, tmp_path / "m", input_example=x[:3])
    loaded = load_model(tmp_path / "m", origin="x")
    theirs = mlflow.pyfunc.load_model(str(tmp_path / "m"))
    for data in (x, {"x": x}):
        found = loaded.flavor.predict(loaded.native, data, None)
        assert np.array_equal(found["variable"], theirs.predict(x)["variable"])


def test_columns_of_numbers_and_text_go_to_the_inputs_of_their_names(tmp_path):
    frame = pd.DataFrame({"n": [1.0, 2, 3, 4] * 5, "c": ["x", "y"] * 10})
    columns = ColumnTransformer([("n", StandardScaler(), ["n"]), ("c", OneHotEncoder(), ["c"])])
    model = make_pipeline(columns, LogisticRegression()).fit(frame, [0, 1] * 10)
    types = [("n", FloatTensorType([None, 1])), ("c", StringTensorType([None, 1]))]
    graph = convert_sklearn(model, initial_types=types, target_opset=17, options={"zipmap": False})
    save_model(graph, tmp_path / "m", input_example=frame[:2])
    found = load_model(tmp_path / "m", origin="x").predict(frame[["c", "n"]])
    # Two chances for each row are no column of a frame.
    assert np.array_equal(found["label"], model.predict(frame))
    assert np.allclose(found["probabilities"], model.predict_proba(frame), atol=1e-5)
    with_maps = convert_sklearn(model, initial_types=types, target_opset=17)
    save_model(with_maps, tmp_path / "n", input_example=frame[:2])
    rows = load_model(tmp_path / "n", origin="x").predict(frame)
    assert list(rows.columns) == ["output_label", "output_probability"]
    assert rows["output_probability"][0].keys() == {0, 1}


def test_what_the_graph_does_not_take_is_said(tmp_path, regression):
    save_model(regression, tmp_path / "m")
    loaded = load_model(tmp_path / "m", origin="x")
    with pytest.raises(InvalidInputError, match="missing: x"):
        loaded.predict({"y": np.zeros((1, 10))})
    with pytest.raises(InvalidInputError, match=r"takes tensor\(float\)"):
        loaded.predict(np.array([["a"] * 10]))
    with pytest.raises(InvalidInputError, match="no params"):
        loaded.predict(np.zeros((1, 10)), {"temperature": 1})


def test_a_path_is_saved_with_the_files_beside_it(tmp_path):
    graph, x = layer(), np.ones((2, 3), np.float32)
    (tmp_path / "given").mkdir()
    onnx.save_model(
        graph, str(tmp_path / "given/g.onnx"), save_as_external_data=True, location="w.bin", convert_attribute=True
    )
    assert (tmp_path / "given/w.bin").stat().st_size > 1024
    save_model(tmp_path / "given/g.onnx", tmp_path / "m", input_example=x)
    save_model(str(tmp_path / "given/g.onnx"), tmp_path / "by text", input_example=x)
    assert (tmp_path / "by text/model.onnx").read_bytes() == (tmp_path / "m/model.onnx").read_bytes()
    assert not (tmp_path / "m/model.onnx.data").exists()
    expected = load_model(tmp_path / "m", origin="x").predict(x)["y"]
    assert np.array_equal(mlflow.pyfunc.load_model(str(tmp_path / "m")).predict(x)["y"], expected)


def test_large_graphs_keep_their_tensors_in_a_file_of_their_own(tmp_path, monkeypatch):
    graph, x = layer(), np.ones((2, 3), np.float32)
    before = graph.SerializeToString()
    save_model(graph, tmp_path / "one", input_example=x)
    monkeypatch.setattr(onnx_flavor, "_ONE_FILE_BYTES", 2000)
    save_model(graph, tmp_path / "two", input_example=x)
    assert (tmp_path / "two/model.onnx.data").stat().st_size > 4000
    assert (
        numpy_helper.to_array(graph.graph.initializer[0]).tolist()
        == numpy_helper.to_array(onnx.load_from_string(before).graph.initializer[0]).tolist()
    )
    one, two = (load_model(tmp_path / name, origin="x").predict(x)["y"] for name in ("one", "two"))
    assert np.array_equal(one, two)
    assert np.array_equal(mlflow.pyfunc.load_model(str(tmp_path / "two")).predict(x)["y"], one)


def outside(tmp_path, where, offset=0):
    """A saved model whose weights are said to be in another file; the file that a traversal would reach exists."""
    graph = layer(10)
    graph.graph.initializer[0].ClearField("raw_data")
    tensor = graph.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": where, "offset": str(offset), "length": "120"}.items():
        tensor.external_data.add(key=key, value=value)
    (tmp_path / "secret").write_bytes(b"\0" * 120)
    save_model(layer(10), tmp_path / "m")
    (tmp_path / "m/model.onnx").write_bytes(graph.SerializeToString())
    return tmp_path / "m"


@pytest.mark.parametrize("where", ["../secret", "{}/secret", "w", "link", "", "a/../../secret", "file:../secret"])
def test_tensors_are_read_from_the_model_folder_alone(tmp_path, where):
    folder = outside(tmp_path, where.format(tmp_path))
    (folder / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(ArtifactError, match="model folder"):
        load_model(folder, origin="x", trusted_origins=["*"])


@pytest.mark.parametrize("offset", [1, -200, 10**30])
def test_tensors_are_whole(tmp_path, offset):
    folder = outside(tmp_path, "w", offset)
    (folder / "w").write_bytes(b"\0" * 120)
    with pytest.raises(ArtifactError, match="too short"):
        load_model(folder, origin="x")


def test_no_address_in_memory_is_read(tmp_path):
    folder = outside(tmp_path, "*/_ORT_MEM_ADDR_/*")
    (folder / "*/_ORT_MEM_ADDR_").mkdir(parents=True)
    (folder / "*/_ORT_MEM_ADDR_/*").write_bytes(b"\0" * 120)
    with pytest.raises(ArtifactError, match="no file of the model"):
        load_model(folder, origin="x")


def test_tensors_deep_in_a_graph_are_looked_at(tmp_path):
    inner = layer(10).graph
    inner.initializer[0].data_location = TensorProto.EXTERNAL
    inner.initializer[0].external_data.add(key="location", value="/etc/passwd")
    graph = layer(10)
    graph.graph.node[0].attribute.add(name="body", type=onnx.AttributeProto.GRAPH, g=inner)
    save_model(layer(10), tmp_path / "m")
    (tmp_path / "m/model.onnx").write_bytes(graph.SerializeToString())
    with pytest.raises(ArtifactError, match="etc/passwd"):
        load_model(tmp_path / "m", origin="x")


def test_settings_of_the_session_are_taken_but_none_that_names_a_library(tmp_path, regression):
    save_model(regression, tmp_path / "m")
    harmless = {"session.intra_op.allow_spinning": "0"}
    settings = {"intra_op_num_threads": 1, "execution_mode": "parallel", "extra_session_config": harmless}
    options = {"trt_extra_plugin_lib_paths": "/usr/lib/evil.so"}
    changed(tmp_path / "m", onnx_session_options=settings, providers=[["CPUExecutionProvider", options], "Made", 3])
    session = load_model(tmp_path / "m", origin="x").native
    assert session.get_session_options().intra_op_num_threads == 1
    assert session.get_session_options().get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert session.get_providers() == ["CPUExecutionProvider"]
    elsewhere = {"session.model_external_initializers_file_folder_path": "/etc"}
    changed(tmp_path / "m", onnx_session_options={"extra_session_config": elsewhere})
    with pytest.raises(UntrustedModelError, match="external_initializers"):
        load_model(tmp_path / "m", origin="x")
    changed(tmp_path / "m", onnx_session_options=["no settings"])
    with pytest.raises(ArtifactError, match="settings"):
        load_model(tmp_path / "m", origin="x")


@pytest.mark.parametrize("content", [b"", b"garbage" * 9, None], ids=["empty", "garbage", "cut"])
def test_damaged_graphs_are_said(tmp_path, regression, content):
    save_model(regression, tmp_path / "m")
    file = tmp_path / "m/model.onnx"
    file.write_bytes(file.read_bytes()[:200] if content is None else content)
    with pytest.raises(ArtifactError, match=r"model\.onnx"):
        load_model(tmp_path / "m", origin="x")
    file.unlink()
    with pytest.raises(ArtifactError, match="missing"):
        load_model(tmp_path / "m", origin="x")


def test_what_is_no_valid_graph_is_not_saved(tmp_path):
    for model in (onnx.ModelProto(), tmp_path / "none.onnx"):
        with pytest.raises(InvalidInputError, match="cannot save"):
            save_model(model, tmp_path / "m")
    with pytest.raises(InvalidInputError, match="no ONNX model"):
        save_model(len, tmp_path / "m", flavor="onnx")
    assert not (tmp_path / "m").exists()
