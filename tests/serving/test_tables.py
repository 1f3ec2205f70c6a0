"""Tables are read fast, and mean exactly what the signature says they mean."""

from __future__ import annotations

import json
import time

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from prefect_ml.errors import InvalidInputError, SignatureError
from prefect_ml.models.schema import ArrayType, Column, Param, Tensor
from prefect_ml.models.signature import Signature
from prefect_ml.serving.decoding import Decoder
from prefect_ml.serving.tables import Layout

VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.sampled_from([2**53, 2**53 + 1, 2**63 - 1, -(2**63), 1e300])
    | st.floats()
    | st.text(max_size=3)
)
TYPICAL = {
    "double": st.floats() | st.integers(-9, 9),
    "long": st.integers(),
    "boolean": st.booleans(),
    "string": st.text(),
}


@st.composite
def tables(draw):
    types = draw(st.lists(st.sampled_from(["double", "double", "long", "boolean", "string"]), min_size=1, max_size=4))
    same = draw(st.booleans())
    types = types[:1] * len(types) if same else types
    columns = [Column(type_, f"c{i}", draw(st.booleans())) for i, type_ in enumerate(types)]
    odd = draw(st.booleans())
    cells = [VALUES if odd else TYPICAL[type_] for type_ in types]
    return Signature(inputs=tuple(columns)), draw(st.lists(st.tuples(*cells).map(list), min_size=1, max_size=4))


def outcome(signature, data):
    try:
        return signature.enforce(data)
    except SignatureError as error:
        return str(error)


@given(tables())
def test_the_fast_way_takes_what_the_exact_way_takes_and_gives_the_same(table):
    signature, rows = table
    names = [column.name for column in signature.inputs]
    records = [dict(zip(names, row, strict=True)) for row in rows]
    exact = outcome(signature, records)
    layout = Layout(signature)
    columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    for data in (layout.of_rows(names, rows), layout.of_records(records), layout.of_columns(columns)):
        fast = outcome(signature, data)
        if isinstance(exact, str):
            assert fast == exact
        else:
            assert_frame_equal(fast, exact)


def csv(signature, text):
    return signature.enforce(Decoder(signature).decode("text/csv", text.encode()).data)


def test_csv_cells_are_read_by_the_signature():
    types = {"code": "string", "n": "long", "x": "double", "on": "boolean", "day": "datetime"}
    signature = Signature(inputs=tuple(Column(type_, name, name != "n") for name, type_ in types.items()))
    text = 'id,code,n,x,on,day\n1,007,,1e3,TRUE,2024-01-02\n2,"a,b",3,nan,false,2024-01-03\n'
    frame = csv(signature, text)
    assert frame["code"].tolist() == ["007", "a,b"]
    assert frame["n"].isna().tolist() == [True, False]
    assert frame["x"].iloc[0] == 1000.0
    assert frame["on"].tolist() == [True, False]
    assert frame["day"].iloc[1] == pd.Timestamp("2024-01-03")


@given(st.lists(st.tuples(st.floats(allow_nan=False), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=5))
def test_what_pandas_writes_as_csv_comes_back(rows):
    frame = pd.DataFrame(rows, columns=["x", "n"]).astype({"x": "float64", "n": "int64"})
    assert_frame_equal(csv(Signature.infer(frame), frame.to_csv()), frame)


def test_rows_reach_tensors_by_position_and_by_name():
    split = b'{"dataframe_split": {"columns": ["b", "a"], "data": [[1, 2], [3, 4]]}}'
    whole = Signature(inputs=(Tensor("float64", (-1, 2)),))
    assert whole.enforce(Decoder(whole).decode("application/json", split).data).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    named = Signature(inputs=(Tensor("int64", (-1,), "a"), Tensor("int64", (-1,), "b")))
    data = named.enforce(Decoder(named).decode("application/json", split).data)
    assert {name: array.tolist() for name, array in data.items()} == {"a": [2, 4], "b": [1, 3]}


def test_nested_columns_come_as_records():
    signature = Signature(inputs=(Column(ArrayType("double"), "v"), Column("string", "s")))
    body = b'{"dataframe_split": {"columns": ["v", "s"], "data": [[[1.0, 2.0], "x"], [[], "y"]]}}'
    frame = signature.enforce(Decoder(signature).decode("application/json", body).data)
    assert frame["v"].tolist() == [[1.0, 2.0], []]


def test_without_a_signature_tables_are_frames_and_values_arrays():
    def data(body):
        return Decoder(None).decode("application/json", body).data

    assert data(b'{"dataframe_records": [{"a": 1}, {"b": 2}]}').columns.tolist() == ["a", "b"]
    assert data(b'{"dataframe_split": {"data": [[1], [2]], "index": [7, 8]}}').index.tolist() == [7, 8]
    assert data(b'{"inputs": {"a": [1, 2]}}')["a"].tolist() == [1, 2]
    assert data(b'{"instances": [{"a": 1}, {"a": 2}]}')["a"].tolist() == [1, 2]
    assert data(b'{"instances": [[1, 2], [3, 4]]}').shape == (2, 2)
    for ragged in (b'{"inputs": [[1], [2, 3]]}', b'{"instances": [{"a": 1}, {"b": 2}]}'):
        with pytest.raises(InvalidInputError):
            data(ragged)


def test_parameters_are_for_models_that_declare_them():
    body = b'{"inputs": [1.0], "params": {"t": 0.5}}'
    assert Decoder(None).decode("application/json", body).params is None
    declared = Signature(params=(Param("t", "double", 1.0),))
    assert Decoder(declared).decode("application/json", body).params == {"t": 0.5}


def test_a_language_model_is_asked_and_answers_bare():
    signature = Signature(params=(Param("temperature", "double", 1.0),))
    request = Decoder(signature).decode("application/json", b'{"messages": [{"role": "user"}], "temperature": 0.1}')
    assert request.bare
    assert request.data == {"messages": [{"role": "user"}]}
    assert request.params == {"temperature": 0.1}


def test_a_small_body_makes_no_huge_table():
    records = "[" + ",".join(f'{{"k{i}":1}}' for i in range(5000)) + "]"
    body = ('{"dataframe_records":' + records + "}").encode()
    with pytest.raises(InvalidInputError, match="more than 16777216 cells"):
        Decoder(None).decode("application/json", body)
    with pytest.raises(SignatureError, match="Record 1 has other keys than the first"):
        Decoder(Signature(inputs=(Tensor("int64", (-1,), "k0"),))).decode("application/json", body)


def test_columns_of_one_name_are_found_among_many_and_some_are_named():
    names = [f"c{i}" for i in range(100_000)]
    body = json.dumps({"dataframe_split": {"columns": names * 2, "data": []}}).encode()
    begin = time.monotonic()
    with pytest.raises(SignatureError, match=r"same name \(c0, c1, c2, c3, c4\)"):
        Decoder(Signature(inputs=(Column("double", "x"),))).decode("application/json", body)
    assert time.monotonic() - begin < 10  # comparing each with each takes minutes
