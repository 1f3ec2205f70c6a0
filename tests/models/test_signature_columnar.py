"""Signatures of Arrow's and polars' tables, and such tables where a model takes a DataFrame."""

from __future__ import annotations

import datetime as dt
import decimal

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ml.errors import SignatureError
from prefect_ml.models.folder import load_model, save_model
from prefect_ml.models.outputs import plain_outputs
from prefect_ml.models.schema import ArrayType, Column, MapType, ObjectType, Property
from prefect_ml.models.signature import Signature

MOMENT = dt.datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC)
# Arrow's type, values, the type in the signature, and the dtype that the model gets.
COLUMNS = {
    "i8": (pa.int8(), [1, 2], "integer", "int32"),
    "u16": (pa.uint16(), [1, 2], "integer", "int32"),
    "u32": (pa.uint32(), [1, 2], "long", "int64"),
    "i64": (pa.int64(), [1, 2], "long", "int64"),
    "gaps": (pa.int64(), [2**60 + 1, None], "long", "Int64"),
    "gaps32": (pa.int32(), [1, None], "integer", "Int32"),
    "maybe": (pa.bool_(), [True, None], "boolean", "boolean"),
    "bool": (pa.bool_(), [True, False], "boolean", "bool"),
    "f32": (pa.float32(), [0.5, None], "float", "float32"),
    "f64": (pa.float64(), [0.1, None], "double", "float64"),
    "text": (pa.string(), ["a", "b"], "string", "str"),
    "large": (pa.large_string(), ["a", None], "string", "str"),
    "category": (pa.dictionary(pa.int32(), pa.string()), ["a", "b"], "string", "category"),
    "bytes": (pa.binary(), [b"a", b"b"], "binary", "object"),
    "date": (pa.date32(), [dt.date(2020, 1, 1), dt.date(1, 1, 1)], "datetime", "datetime64[s]"),
    "time": (pa.timestamp("ns"), [MOMENT.replace(tzinfo=None)] * 2, "datetime", "datetime64[ns]"),
    "zoned": (pa.timestamp("us", "UTC"), [MOMENT, MOMENT], "datetime", "datetime64[us, UTC]"),
    "list": (pa.list_(pa.int64()), [[1], []], ArrayType("long"), "object"),
    "struct": (
        pa.struct({"b": pa.string(), "a": pa.int64()}), [{"a": 1, "b": None}, {"a": 2, "b": "x"}],
        ObjectType((("a", Property("long")), ("b", Property("string", required=False)))), "object",
    ),
    "map": (pa.map_(pa.string(), pa.float64()), [[("k", 1.5)], []], MapType("double"), "object"),
}  # fmt: skip
TABLE = pa.table({name: pa.array(values, type_) for name, (type_, values, _, _) in COLUMNS.items()})


def test_each_type_of_arrow_has_its_type_and_its_dtype():
    signature = Signature.infer(TABLE)
    assert signature.inputs == tuple(
        Column(type_, name, required=None not in values) for name, (_, values, type_, _) in COLUMNS.items()
    )
    fitted = signature.enforce(TABLE)
    assert {name: str(dtype) for name, dtype in fitted.dtypes.items()} == {
        name: dtype for name, (_, _, _, dtype) in COLUMNS.items()
    }
    assert fitted["gaps"][0] == 2**60 + 1
    assert fitted["map"].tolist() == [{"k": 1.5}, {}]
    assert fitted["struct"][0] == {"a": 1, "b": None}
    assert fitted["zoned"][0] == MOMENT


def test_batches_arrays_and_chunks_are_read_as_well():
    [batch] = TABLE.to_batches()
    assert Signature.infer(batch) == Signature.infer(TABLE)
    for values in (pa.array([1.5, 2.0]), pa.chunked_array([[1.5], [2.0]]), pl.Series([1.5, 2.0])):
        signature = Signature.infer(values)
        assert signature.inputs == (Column("double"),)
        assert signature.enforce(values) == [1.5, 2.0]
    assert Signature.infer(pl.Series("a", [1])).inputs == (Column("long", "a"),)


POLARS = pl.DataFrame(
    {
        "whole": [1, None],
        "small": pl.Series([1, 2], dtype=pl.Int16),
        "text": ["a", "b"],
        "kind": pl.Series(["x", "y"], dtype=pl.Categorical),
        "picked": pl.Series(["x", "y"], dtype=pl.Enum(["x", "y"])),
        "day": [dt.date(2020, 1, 1)] * 2,
        "when": [MOMENT.replace(tzinfo=None)] * 2,
        "many": [[1.0], [2.0, 3.0]],
        "deep": [{"a": 1}, {"a": 2}],
    }
)


def test_polars_frames_are_read_by_column():
    signature = Signature.infer(POLARS)
    assert [(c.name, c.type, c.required) for c in signature.inputs] == [
        ("whole", "long", False),
        ("small", "integer", True),
        ("text", "string", True),
        ("kind", "string", True),
        ("picked", "string", True),
        ("day", "datetime", True),
        ("when", "datetime", True),
        ("many", ArrayType("double"), True),
        ("deep", ObjectType((("a", Property("long")),)), True),
    ]
    fitted = signature.enforce(POLARS.select(reversed(POLARS.columns)))
    assert fitted.columns.tolist() == POLARS.columns
    assert fitted["whole"].tolist()[0] == 1
    assert fitted["many"].tolist() == [[1.0], [2.0, 3.0]]


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (pl.DataFrame({"a": [decimal.Decimal(1)]}), "column 'a': decimal"),
        (pl.DataFrame({"a": [dt.time(1)]}), "column 'a': time"),
        (pl.DataFrame({"a": [dt.timedelta(1)]}), "column 'a': duration"),
        (pa.table({"u": pa.array([1], pa.uint64())}), "column 'u': uint64"),
        (pa.table({"n": pa.nulls(2)}), "column 'n': null"),
        (pa.table({"m": pa.array([[(1, 1)]], pa.map_(pa.int64(), pa.int64()))}), "column 'm': the keys"),
        (pa.array([decimal.Decimal(1)]), "the values: decimal"),
        (pl.DataFrame(), "without columns"),
        (pl.LazyFrame({"a": [1]}), r"\.collect\(\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_has_no_type_is_named(data, part):
    with pytest.raises(SignatureError, match=part):
        Signature.infer(data)


def test_what_does_not_fit_is_named():
    signature = Signature((Column("long", "a"), Column("string", "b")))
    with pytest.raises(
        SignatureError, match=r"column 'a': expected long, got double \(1.5\); column 'b': expected str"
    ):
        signature.enforce(pl.DataFrame({"a": [1.5], "b": [1]}))
    with pytest.raises(SignatureError, match="lacks the column 'b'; it has 'a'"):
        signature.enforce(pa.table({"a": [1]}))
    with pytest.raises(SignatureError, match=r"same name \(a\)"):
        signature.enforce(pa.table([[1], [2]], names=["a", "a"]))


cells = {
    "long": st.integers(-(2**63), 2**63 - 1),
    "double": st.floats(allow_nan=False),
    "string": st.text(max_size=5),
    "boolean": st.booleans(),
    "binary": st.binary(max_size=3),
    "datetime": st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1)),  # noqa: DTZ001 - Arrow's zoneless
}
ARROW = {
    "long": pa.int64(), "double": pa.float64(), "string": pa.string(), "boolean": pa.bool_(), "binary": pa.binary(),
    "datetime": pa.timestamp("us"),
}  # fmt: skip


@settings(deadline=None)
@given(st.data(), st.sampled_from(sorted(cells)), st.booleans())
def test_values_survive_and_nulls_stay_nulls(data, type_, gaps):
    values = data.draw(st.lists(st.none() | cells[type_] if gaps else cells[type_], min_size=1, max_size=5))
    table = pa.table({"a": pa.array(values, ARROW[type_])})
    for given_ in (table, pl.from_arrow(table)):
        signature = Signature.infer(given_)
        assert signature.inputs == (Column(type_, "a", required=None not in values),)
        fitted = signature.enforce(given_)["a"].tolist()
        assert [None if pd.isna(value) else value for value in fitted] == values


def sums(data):
    return pl.DataFrame({"sum": data.sum(axis=1).tolist()})


def test_a_model_with_an_example_of_polars_goes_round(tmp_path):
    example = pl.DataFrame({"a": [1.0, 2.0], "b": [3, 4]})
    save_model(sums, tmp_path / "m", input_example=example)
    model = load_model(tmp_path / "m", origin="x", trusted_origins=["x"])
    assert model.signature.outputs == (Column("double", "sum"),)
    assert plain_outputs(model.predict(example)) == {"columns": ["sum"], "data": [[4.0], [6.0]]}
    assert model.input_example.to_dict("list") == {"a": [1.0, 2.0], "b": [3, 4]}
