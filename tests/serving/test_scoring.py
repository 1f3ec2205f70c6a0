"""MLflow's scoring protocol over a real socket."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from prefect_ml.serving.columnar_bodies import STREAM
from prefect_ml.serving.encoding import encode
from prefect_ml.serving.failure import ModelFailedError
from prefect_ml.settings import Settings

BODY_LIMIT = Settings().serve_max_body
JSON = {"content-type": "application/json"}
ROWS = [[30.0, 1.0], [40.0, 2.0]]
EXPECTED = [32.0, 44.0]
ONE_ROW = json.dumps({"dataframe_split": {"columns": ["age", "income"], "data": ROWS[:1]}}).encode()
PACKED_BOMB = gzip.compress(bytes(64 << 20))


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["age", "income"], "data": ROWS}},
        {"dataframe_split": {"columns": ["income", "age"], "data": [[1.0, 30.0], [2.0, 40.0]], "index": [0, 1]}},
        {"dataframe_records": [{"age": 30, "income": 1}, {"income": 2.0, "age": 40.0}]},
        {"instances": [{"age": 30.0, "income": 1.0}, {"age": 40.0, "income": 2.0}]},
        {"inputs": {"age": [30.0, 40.0], "income": [1.0, 2.0]}},
        {"inputs": {"age": [30.0, 40.0], "income": [1.0, 2.0]}, "params": {"unknown": 1}},
    ],
)
def test_every_json_shape_gives_the_models_own_predictions(client, body):
    answer = client.post("/invocations", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == pytest.approx(EXPECTED)


def test_nan_and_infinity_as_pythons_clients_write_them(array_client):
    answer = array_client.post("/invocations", content='{"inputs": [[1, Infinity]]}', headers=JSON)
    assert answer.status_code == 400  # this model refuses infinity
    assert "infinity" in answer.json()["message"]


@pytest.mark.parametrize(
    ("csv", "message"),
    [
        ("", "it is empty"),
        ("age,income\n1\n", "row 0 has 1 values for 2 columns"),
        ("age,age,income\n1,2,3\n", "columns of the same name (age)"),
        ("age\n1\n", "lacks the column 'income'"),
        ("age,income\nold,1\n", "column 'age': expected double, got string ('old') in row 0"),
        ("age,income\n1_0,1\n", "got string ('1_0')"),
        ('age,income\n"1,2\n', "valid CSV"),
        ("\xff\xfe", "valid UTF-8"),
    ],
)
def test_csv_that_does_not_fit_says_why(client, csv, message):
    content = csv.encode("latin-1")
    answer = client.post("/invocations", content=content, headers={"content-type": "text/csv; charset=UTF-8"})
    assert answer.status_code == 400
    assert message in answer.json()["message"]


@pytest.mark.filterwarnings("ignore")  # MLflow warns while it is imported
def test_what_mlflow_makes_of_an_input_example_is_understood(client):
    from mlflow.models import convert_input_example_to_serving_input

    frame = pd.DataFrame(ROWS, columns=["age", "income"])
    answer = client.post("/invocations", content=convert_input_example_to_serving_input(frame), headers=JSON)
    assert answer.json()["predictions"] == pytest.approx(EXPECTED)


def test_no_rows_is_no_failure_of_the_server(client):
    for body in ({"dataframe_records": []}, {"dataframe_split": {"columns": ["age", "income"], "data": []}}):
        assert client.post("/invocations", json=body).status_code == 400


def test_csv(client):
    answer = client.post("/invocations", content="age,income\n30,1\n40,2\n", headers={"content-type": "text/csv"})
    assert answer.json()["predictions"] == pytest.approx(EXPECTED)


@pytest.mark.filterwarnings("ignore")  # MLflow warns while it is imported
def test_what_mlflows_own_scoring_client_sends_is_understood(client):
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    peer = ScoringServerClient("127.0.0.1", client.base_url.port)
    peer.ping()
    answer = peer.invoke(pd.DataFrame(ROWS, columns=["age", "income"]))
    assert answer.get_predictions()[0].tolist() == pytest.approx(EXPECTED)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{", "Ensure that input is a valid JSON formatted string"),
        ("[1]", "JSON dictionary with exactly one of the input fields"),
        ("{}", "exactly one of the input fields"),
        ('{"inputs": [], "instances": []}', "exactly one of the input fields"),
        ('{"dataframe_split": []}', "Dataframe split format must be a dictionary. Got list"),
        ('{"dataframe_records": {}}', "Dataframe records format must be a list of records. Got dictionary"),
        ('{"dataframe_split": {"columns": ["a"], "data": 3}}', "not a valid dataframe representation"),
        ('{"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}', "columns of the same name"),
        ('{"dataframe_split": {"columns": ["age", "income"], "data": [[1]]}}', "row 0 has 1 values for 2 columns"),
        ('{"dataframe_split": {"columns": ["age"]}}', "must have 'data' field and optionally 'columns' and 'index'"),
        ('{"dataframe_split": {"columns": ["age", "income"], "data": [[1, 2], [3]]}}', "row 1 has 1 values"),
        ('{"dataframe_split": {"columns": [[1]], "data": [[1]]}}', "'columns' must be a list of names"),
        ('{"dataframe_records": [{"age": 1}, 7]}', "record 1 is number, no dictionary"),
        ('{"instances": [[1.0, 2.0]]}', "takes columns by name ('age', 'income')"),
        ('{"inputs": {"age": [1.0, 2.0], "income": [1.0]}}', "different lengths"),
        ("[" * 100_000, "valid JSON formatted string"),
        ('{"inputs": NaN' + "[" * 100_000, "valid JSON formatted string"),
        ('{"inputs": {"age": [1.0]}, "params": 3}', "'params' must be a dictionary. Got number"),
    ],
)
def test_a_body_that_is_none_of_the_shapes_says_so(client, body, message):
    answer = client.post("/invocations", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "BAD_REQUEST"
    assert message in answer.json()["message"]


def test_what_breaks_the_signature_names_the_column_what_was_expected_and_what_came(client):
    body = {"dataframe_records": [{"age": "old", "income": 1.0}]}
    answer = client.post("/invocations", json=body)
    assert answer.status_code == 400
    message = answer.json()["message"]
    assert "age" in message
    assert "double" in message
    assert "old" in message
    missing = client.post("/invocations", json={"dataframe_records": [{"age": 1.0}]})
    assert missing.status_code == 400
    assert "income" in missing.json()["message"]


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/json; charset=latin-1", "application/json; version=2", "application/xml"],
)
def test_other_content_types_are_415(client, content_type):
    answer = client.post("/invocations", content="{}", headers={"content-type": content_type})
    assert answer.status_code == 415


def test_paths_methods_and_headers(client):
    assert client.get("/nowhere").status_code == 404
    assert client.get("/invocations").status_code == 405
    assert client.get("/version").text
    health = client.get("/health", headers={"x-request-id": "mine"})
    assert health.json()["status"] == "ok"
    assert health.headers["x-request-id"] == "mine"
    assert client.get("/ping", headers={"x-request-id": "<script>"}).headers["x-request-id"].isalnum()
    assert client.get("/nowhere").json()["error_code"] == "NOT_FOUND"
    assert client.put("/invocations").headers["allow"] == "POST"
    assert health.headers["x-content-type-options"] == "nosniff"


def test_a_body_over_the_limit_is_413(client):
    headers = {"content-type": "application/json"}
    declared = client.post("/invocations", content=b" " * (BODY_LIMIT + 1), headers=headers)
    assert declared.status_code == 413

    def chunks():
        for _ in range(BODY_LIMIT // 2**20 + 1):
            yield b" " * 2**20

    streamed = client.post("/invocations", content=chunks(), headers=headers)
    assert streamed.status_code == 413
    bomb = client.post("/invocations", content=PACKED_BOMB, headers={**headers, "content-encoding": "gzip"})
    assert bomb.status_code == 413
    assert "16,777,216 bytes" in bomb.json()["message"]


def test_bodies_packed_by_gzip_are_taken_and_large_answers_are_sent_so_to_who_asks(client):
    rows = [[age, 1.0 + age / 7] for age in range(10_000)]
    asked = json.dumps({"dataframe_split": {"columns": ["age", "income"], "data": rows}}).encode()
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    plain = client.post(
        "/invocations", content=asked, headers={"content-type": "application/json", "accept-encoding": "identity"}
    )
    packed = client.post("/invocations", content=gzip.compress(asked), headers=headers)
    assert "content-encoding" not in plain.headers
    assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "accept-encoding")
    assert int(packed.headers["content-length"]) < len(plain.content) / 2
    assert packed.json() == plain.json()
    small = client.post("/invocations", content=gzip.compress(ONE_ROW), headers=headers)
    assert (small.status_code, small.headers.get("content-encoding")) == (200, None)
    arrow = client.post("/invocations", content=gzip.compress(asked), headers={**headers, "accept": STREAM})
    assert len(arrow.content) > 64 << 10
    assert "content-encoding" not in arrow.headers
    for content, coding, status in ((ONE_ROW, "gzip", 400), (ONE_ROW, "br", 415)):
        refused = client.post("/invocations", content=content, headers={**headers, "content-encoding": coding})
        assert refused.status_code == status


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs", "params"])


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(fields, json_values, max_size=3))
def test_no_body_is_a_server_error(client, body):
    content = json.dumps(body)
    answer = client.post("/invocations", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in (200, 400), answer.text


def test_predictions_of_every_kind_become_json():
    assert json.loads(encode(np.array([1.5, np.nan]))) == {"predictions": [1.5, None]}
    assert json.loads(encode(np.arange(4).reshape(2, 2).T)) == {"predictions": [[0, 2], [1, 3]]}
    assert json.loads(encode(pd.DataFrame({"a": [1], "b": ["x"]}))) == {"predictions": [{"a": 1, "b": "x"}]}
    assert json.loads(encode(pd.Series([1, 2]))) == {"predictions": [1, 2]}
    assert json.loads(encode([np.int64(1), {"a": np.float32(0.5)}])) == {"predictions": [1, {"a": 0.5}]}
    assert json.loads(encode(pd.DataFrame({"t": [pd.Timestamp(0), None], 1: [np.inf, 2.0]}))) == {
        "predictions": [{"t": "1970-01-01T00:00:00", "1": None}, {"t": None, "1": 2.0}]
    }
    assert json.loads(encode({"b": b"\xff", "s": {1}}, bare=True)) == {"b": "/w==", "s": [1]}
    assert json.loads(encode(csr_matrix([[0, 1]]))) == {"predictions": [[0, 1]]}
    with pytest.raises(ModelFailedError, match="object has no JSON"):
        encode(object())
    assert json.loads(encode("text")) == {"predictions": "text"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | st.text(alphabet='{}[]:,"ageincom12.Na\\ud8', max_size=60).map(str.encode))
@pytest.mark.parametrize("content_type", ["application/json", "text/csv"])
def test_no_bytes_are_a_server_error(client, content_type, body):
    answer = client.post("/invocations", content=body, headers={"content-type": content_type})
    assert answer.status_code in (200, 400), answer.text


@pytest.mark.parametrize("field", ["instances", "inputs"])
def test_a_model_of_arrays_takes_rows(array_client, field):
    answer = array_client.post("/invocations", json={field: ROWS})
    assert answer.json()["predictions"] == pytest.approx(EXPECTED)
    wrong = array_client.post("/invocations", json={field: [[1.0, 2.0, 3.0]]})
    assert wrong.status_code == 400
