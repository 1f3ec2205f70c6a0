"""KServe's protocol, asked by Triton's own client and by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from prefect_ml.errors import InvalidInputError
from prefect_ml.serving.kserve_tensors import DTYPES, raw_data, read_tensor, tensor_json


@pytest.fixture(scope="module")
def triton(client):
    triton = InferenceServerClient(f"{client.base_url.host}:{client.base_url.port}")
    yield triton
    triton.close()


def tensor(name, array, *, raw):
    kind = {"float64": "FP64", "float32": "FP32", "int64": "INT64", "object": "BYTES"}[array.dtype.name]
    made = InferInput(name, list(array.shape), kind)
    made.set_data_from_numpy(array, binary_data=raw)
    return made


def test_the_server_and_the_model_are_ready_and_described(triton):
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("linear")
    assert not triton.is_model_ready("linear", "7")
    assert not triton.is_model_ready("other")
    assert "binary_tensor_data" in triton.get_server_metadata()["extensions"]
    about = triton.get_model_metadata("linear")
    assert about["name"] == "linear"
    assert about["inputs"] == [{"name": name, "datatype": "FP64", "shape": [-1]} for name in ("age", "income")]


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("raw_output", [True, False, None])
def test_columns_are_predicted(triton, raw, raw_output):
    inputs = [
        tensor("age", np.array([30.0, 40.0]), raw=raw),
        tensor("income", np.array([[1.0], [2.0]], dtype="float32"), raw=raw),
    ]
    outputs = None if raw_output is None else [InferRequestedOutput("predictions", binary_data=raw_output)]
    answer = triton.infer("linear", inputs, outputs=outputs, request_id="mine")
    assert answer.as_numpy("predictions") == pytest.approx([32, 44])
    assert answer.get_response()["id"] == "mine"
    assert answer.get_response()["model_name"] == "linear"


def test_what_tritons_client_packs_by_gzip_is_unpacked(triton):
    ages = np.arange(20_000, dtype="float64")
    inputs = [tensor("age", ages, raw=True), tensor("income", np.zeros(20_000), raw=True)]
    pack = {"request_compression_algorithm": "gzip", "response_compression_algorithm": "gzip"}
    for raw in (True, False):
        outputs = [InferRequestedOutput("predictions", binary_data=raw)]
        answer = triton.infer("linear", inputs, outputs=outputs, **pack)
        assert answer.as_numpy("predictions") == pytest.approx(ages)


def test_a_matrix_is_predicted_by_position(triton, array_client):
    rows = np.array([[30.0, 1.0], [40.0, 2.0]])
    assert triton.infer("linear", [tensor("rows", rows, raw=True)]).as_numpy("predictions") == pytest.approx([32, 44])
    other = InferenceServerClient(f"{array_client.base_url.host}:{array_client.base_url.port}")
    assert other.infer("arrays", [tensor("rows", rows, raw=True)]).as_numpy("predictions") == pytest.approx([32, 44])
    other.close()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([("age", np.array([30.0]))], "income"),
        ([("age", np.array([30.0])), ("income", np.array(["much"], dtype=object))], "income"),
        ([("age", np.array([30.0])), ("income", np.array([1.0, 2.0]))], "different numbers of rows"),
        ([("age", np.array([[30.0, 1.0, 2.0]])), ("income", np.array([1.0]))], "shape"),
    ],
)
def test_what_does_not_fit_is_said(triton, inputs, message):
    with pytest.raises(InferenceServerException, match=message):
        triton.infer("linear", [tensor(name, array, raw=True) for name, array in inputs])


def test_unknown_models_versions_and_outputs_are_said(triton, client):
    inputs = [tensor("rows", np.array([[30.0, 1.0]]), raw=False)]
    with pytest.raises(InferenceServerException, match="No model is served as 'other'"):
        triton.infer("other", inputs)
    with pytest.raises(InferenceServerException, match="Version '7'"):
        triton.infer("linear", inputs, model_version="7")
    with pytest.raises(InferenceServerException, match="no output 'class'"):
        triton.infer("linear", inputs, outputs=[InferRequestedOutput("class")])
    assert client.get("/v2/models/other").status_code == 404


GOOD = {"name": "age", "datatype": "FP64", "shape": [1], "data": [30.0]}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inputs": []},
        {"inputs": [1]},
        {"inputs": [GOOD, GOOD]},
        {"inputs": [GOOD | {"shape": [2]}]},
        {"inputs": [GOOD | {"shape": [-1]}]},
        {"inputs": [GOOD | {"shape": [1 << 24, 1 << 24]}]},
        {"inputs": [GOOD | {"datatype": "BF16"}]},
        {"inputs": [GOOD | {"data": ["text"]}]},
        {"inputs": [GOOD | {"data": [None]}]},
        {"inputs": [GOOD | {"datatype": "INT8", "data": [300]}]},
        {"inputs": [{"name": "age", "datatype": "FP64", "shape": [1], "parameters": {"binary_data_size": 8}}]},
        {"inputs": [GOOD], "outputs": [{}]},
    ],
)
def test_what_is_no_request_is_refused(client, body):
    answer = client.post("/v2/models/linear/infer", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize("length", ["999", "-1", "x", "9" * 30])
def test_a_wrong_length_of_the_json_is_refused(client, length):
    headers = {"inference-header-content-length": length}
    answer = client.post("/v2/models/linear/infer", content=json.dumps({"inputs": [GOOD]}), headers=headers)
    assert answer.status_code == 400


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_bytes_are_read_as_they_are_written(data):
    dtype = data.draw(st.sampled_from([*DTYPES.values(), "object"]))
    shape = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    if dtype == "object":
        values = data.draw(st.lists(st.text(max_size=5), min_size=(n := int(np.prod(shape))), max_size=n))
        array = np.array(values, dtype=object).reshape(shape)
    else:
        array = np.frombuffer(data.draw(st.binary(min_size=(n := int(np.prod(shape)) * 8), max_size=n)), "uint8")
        array = (array[: int(np.prod(shape))] % 2).astype(dtype).reshape(shape)
    again = read_tensor(tensor_json("x", array), memoryview(raw_data(array)))
    assert again.shape == array.shape
    assert again.tolist() == array.tolist()


@given(st.binary(max_size=40), st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_texts_or_refused(raw, count):
    try:
        array = read_tensor({"name": "x", "datatype": "BYTES", "shape": [count]}, memoryview(raw))
    except InvalidInputError:
        return
    assert array.shape == (count,)
