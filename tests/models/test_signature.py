"""Signatures: inferred as MLflow infers them, in its shape, enforced with errors that name the column."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import math
import re
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ml.errors import InvalidInputError, SignatureError
from prefect_ml.models.schema import AnyType, ArrayType, Column, MapType, ObjectType, Param, Property, Tensor
from prefect_ml.models.signature import Signature


def columns(**types):
    return Signature(inputs=tuple(Column(type_, name) for name, type_ in types.items()))


FRAME = pd.DataFrame(
    {
        "i8": np.array([1, 2], dtype="int8"),
        "u2": np.array([1, 2], dtype="uint16"),
        "u4": np.array([1, 2], dtype="uint32"),
        "i": [1, 2],
        "f4": np.array([1, 2], dtype="f4"),
        "f": [1.5, 2.5],
        "s": ["a", "b"],
        "so": pd.Series(["a", "b"], dtype="object"),
        "b": [True, False],
        "d": pd.to_datetime(["2020-01-01", "2020-01-02"]),
        "bin": [b"a", b"b"],
        "cat": pd.Categorical(["a", "b"]),
        "lst": [[1, 2], [3]],
        "dct": [{"a": 1}, {"a": 2, "b": "x"}],
        "nf": [1.0, None],
        "ns": ["a", None],
        "Int": pd.array([1, None], dtype="Int64"),
    }
)
EXAMPLES = [
    FRAME,
    pd.DataFrame([[1, 2.0]]),
    pd.Series([1, 2], name="q"),
    np.zeros((2, 3)),
    np.zeros(3, dtype="f4"),
    np.zeros((2, 3, 4), dtype="int64"),
    np.array([True, False]),
    {"a": np.zeros((2, 3)), "b": np.zeros(2, dtype="i8")},
    {"a": 1, "b": "x"},
    {"a": ["x", "y"], "b": 1.5},
    [{"a": 1, "b": [1.0]}, {"a": 2}],
    ["a", "b"],
    [1, 2],
    [[1, 2], [3, 4]],
    "text",
    3,
    2.5,
    True,
]


def without_address(value):
    """Text of a value that is the same in every process."""
    return re.sub(" at 0x[0-9a-f]+", "", str(value))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{type(e).__name__}-{str(e)[:12]!r}")
def test_infers_what_mlflow_infers(example):
    from mlflow.models import infer_signature

    theirs = infer_signature(example, example).to_dict()
    ours = Signature.infer(example, example).to_mlmodel()
    for part in ("inputs", "outputs"):
        assert sorted(json.loads(ours[part]), key=str) == sorted(json.loads(theirs[part]), key=str) or json.loads(
            ours[part]
        ) == json.loads(theirs[part])


@pytest.mark.filterwarnings("ignore")
def test_mlflow_reads_ours_and_we_read_theirs():
    from mlflow.models import ModelSignature, infer_signature

    ours = Signature.infer(FRAME, np.zeros(2), {"t": 1.5, "l": [1, 2], "s": "x"})
    theirs = infer_signature(FRAME, np.zeros(2), {"t": 1.5, "l": [1, 2], "s": "x"})
    assert ModelSignature.from_dict(ours.to_mlmodel()) == theirs
    assert Signature.from_mlmodel(theirs.to_dict()) == ours


types = st.recursive(
    st.sampled_from(["boolean", "integer", "long", "float", "double", "string", "binary", "datetime"]),
    lambda inner: st.one_of(
        inner.map(ArrayType),
        inner.map(MapType),
        st.dictionaries(st.text(max_size=5), st.builds(Property, inner, st.booleans()), min_size=1, max_size=3).map(
            lambda fields: ObjectType(tuple(fields.items()))
        ),
        st.just(AnyType()),
    ),
    max_leaves=5,
)
named = st.dictionaries(st.text(max_size=8), st.tuples(types, st.booleans()), min_size=1, max_size=5).map(
    lambda fields: tuple(Column(t, n, r) for n, (t, r) in fields.items())
)
unnamed = st.lists(types, min_size=1, max_size=4).map(lambda found: tuple(Column(t) for t in found))
shapes = st.lists(st.integers(-1, 5), max_size=4).map(tuple)
tensors = st.one_of(
    st.builds(Tensor, st.sampled_from(["float32", "int64", "str"]), shapes).map(lambda t: (t,)),
    st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=3, unique=True).map(
        lambda names: tuple(Tensor("float64", (-1, 2), name) for name in names)
    ),
)
schemas = st.one_of(st.none(), named, unnamed, tensors)
params = st.lists(st.text(max_size=5), max_size=3, unique=True).map(
    lambda names: tuple(Param(name, "double", 1.5, (-1,) if i % 2 else None) for i, name in enumerate(names))
)


@settings(deadline=None)
@given(st.builds(Signature, schemas, schemas, params))
def test_written_and_read_again_it_is_the_same(signature):
    assert Signature.from_mlmodel(json.loads(json.dumps(signature.to_mlmodel()))) == signature


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["inputs", "outputs", "params"]), json_values | json_values.map(json.dumps)))
def test_nonsense_in_its_place_is_read_or_refused_by_an_error_of_ours(data):
    with contextlib.suppress(InvalidInputError):
        assert isinstance(Signature.from_mlmodel(data), Signature)


@pytest.mark.parametrize(
    ("inputs", "part"),
    [
        ([{"type": "quaternion", "name": "a"}], "quaternion"),
        ([{"type": "long", "name": "a"}, {"type": "long"}], "names some columns"),
        ([{"type": "long"}, {"type": "tensor", "tensor-spec": {"dtype": "f4", "shape": [1]}}], "mixes"),
        ([{"type": "array"}], "cannot be read"),
        ("not json", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ([{"type": "long", "name": [1]}], "names are text"),
    ],
)
def test_a_broken_signature_says_what_is_wrong(inputs, part):
    with pytest.raises(InvalidInputError, match=part):
        Signature.from_mlmodel({"inputs": json.dumps(inputs) if isinstance(inputs, list) else inputs})


def test_an_unknown_dtype_is_named():
    signature = Signature.from_mlmodel(
        {"inputs": '[{"type": "tensor", "tensor-spec": {"dtype": "f99", "shape": [-1]}}]'}
    )
    with pytest.raises(SignatureError, match="'f99'"):
        signature.enforce([1.0])


def test_mlflow_before_2_6_wrote_optional():
    assert Signature.from_mlmodel({"inputs": '[{"name": "a", "type": "long", "optional": true}]'}).inputs == (
        Column("long", "a", required=False),
    )


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (pd.DataFrame({"a": [None, None]}), "column 'a'"),
        (pd.DataFrame({"a": [1, "x"]}), "mixes long and string"),
        (pd.DataFrame({"a": [object()]}), "object"),
        (pd.DataFrame({1.5: [1]}), "1.5"),
        ([], "empty"),
        ({}, "empty dict"),
        ({"a": None}, "column 'a'"),
        ({"a": []}, "empty"),
        (np.array([object()]), "dtype object"),
        ([1, "x"], "mixes"),
        (object(), "object"),
    ],
    ids=without_address,
)
def test_what_has_no_type_is_an_error(data, part):
    with pytest.raises(SignatureError, match=part):
        Signature.infer(data)


def test_data_that_fits_comes_back_as_it_is():
    frame = FRAME.drop(columns=["i8", "u2", "u4"])
    assert Signature.infer(frame).enforce(frame) is frame
    array = np.zeros((4, 3))
    assert Signature.infer(array).enforce(array) is array


def test_columns_are_reordered_and_unknown_ones_dropped():
    frame = pd.DataFrame({"extra": ["?"], "b": [2.0], "a": [1.0]}, index=[7])
    fitted = columns(a="double", b="double").enforce(frame)
    assert fitted.columns.tolist() == ["a", "b"]
    assert fitted.index.tolist() == [7]
    assert frame.columns.tolist() == ["extra", "b", "a"]


@pytest.mark.parametrize(
    ("type_", "given_", "dtype"),
    [
        ("double", pd.Series([1, 2]), "float64"),
        ("double", pd.Series([1, 2], dtype="int8"), "float64"),
        ("double", pd.Series([1.5, 2], dtype="float32"), "float64"),
        ("double", pd.Series([1, None], dtype="Int64"), "float64"),
        ("double", pd.Series([1, None], dtype="object"), "float64"),
        ("long", pd.Series([1, 2], dtype="int32"), "int64"),
        ("long", pd.Series([1, 2], dtype="uint8"), "int64"),
        ("long", pd.Series([1, 2], dtype="Int64"), "Int64"),
        ("long", pd.Series([1, 2], dtype="Int32"), "int64"),
        ("long", pd.Series([1, 2], dtype="object"), "int64"),
        ("integer", pd.Series([1, -2]), "int32"),
        ("integer", pd.Series([1, 2], dtype="int8"), "int32"),
        ("float", pd.Series([1, 2]), "float32"),
        ("float", pd.Series([0.5, math.nan, math.inf]), "float32"),
        ("boolean", pd.Series([True, False], dtype="object"), "bool"),
        ("boolean", pd.Series([True], dtype="boolean"), "boolean"),
        ("datetime", pd.Series(["2020-01-01T10:00:00"]), "datetime64"),
        ("datetime", pd.Series([dt.date(2020, 1, 1)], dtype="object"), "datetime64"),
        ("datetime", pd.Series(pd.to_datetime(["2020-01-01"])).astype("datetime64[s]"), "datetime64"),
        ("binary", pd.Series(["eHg=\n"]), "object"),
        ("string", pd.Series(["a"], dtype="object"), "object"),
        ("string", pd.Series(["a"], dtype="category"), "category"),
    ],
    ids=str,
)
def test_safe_conversions(type_, given_, dtype):
    fitted = columns(a=type_).enforce(given_.to_frame("a"))["a"]
    assert str(fitted.dtype).split("[")[0] == dtype
    assert len(fitted) == len(given_)


def test_the_values_survive_a_conversion():
    frame = pd.DataFrame({"a": [3, 1], "d": ["2020-01-02", "2021-01-01"], "n": pd.array([None, 2], dtype="Int64")})
    fitted = columns(a="double", d="datetime", n="double").enforce(frame)
    assert fitted["a"].tolist() == [3.0, 1.0]
    assert fitted["d"].tolist() == [pd.Timestamp("2020-01-02"), pd.Timestamp("2021-01-01")]
    assert math.isnan(fitted["n"][0])
    assert fitted["n"][1] == 2.0


@pytest.mark.parametrize(
    ("type_", "given_", "message"),
    [
        (
            "double",
            pd.Series([1.0, "abc"], dtype="object"),
            "column 'age': expected double, got string ('abc') in row 1",
        ),
        ("double", pd.Series(["abc"]), "column 'age': expected double, got string ('abc') in row 0"),
        ("double", pd.Series([True]), "column 'age': expected double, got boolean (True)"),
        ("double", pd.Series([2**53 + 1]), "column 'age': expected double, got long (9007199254740993)"),
        ("long", pd.Series([1.5]), "column 'age': expected long, got double (1.5)"),
        ("long", pd.Series([1.0]), "column 'age': expected long, got double (1.0)"),
        ("long", pd.Series([1, None], dtype="Int64"), "column 'age': expected long, got null"),
        ("long", pd.Series([1, None], dtype="object"), "column 'age': expected long, got null in row 1"),
        (
            "long",
            pd.Series([2**63], dtype="uint64"),
            "column 'age': expected long, got long (9223372036854775808)",
        ),
        ("integer", pd.Series([2**31]), "column 'age': expected integer, got long (2147483648)"),
        ("float", pd.Series([0.1]), "column 'age': expected float, got double (0.1)"),
        ("float", pd.Series([2**24 + 1]), "column 'age': expected float, got long (16777217)"),
        ("boolean", pd.Series([1]), "column 'age': expected boolean, got long (1)"),
        ("string", pd.Series([1]), "column 'age': expected string, got long (1)"),
        ("string", pd.Series(["a", None]), "column 'age': expected string, got null"),
        ("string", pd.Series([1], dtype="category"), "column 'age': expected string, got long (1)"),
        ("datetime", pd.Series(["soon"]), "column 'age': expected datetime, got string ('soon') in row 0"),
        ("datetime", pd.Series([1]), "column 'age': expected datetime, got long (1)"),
        (
            "binary",
            pd.Series(["no base64!"]),
            "column 'age': expected binary, got string ('no base64!') in row 0",
        ),
        (ArrayType("long"), pd.Series([[1, "x"]]), "column 'age': expected long, got string ('x') in row 0"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_named(type_, given_, message):
    with pytest.raises(SignatureError) as caught:
        columns(age=type_).enforce(given_.to_frame("age"))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "data",
    [pd.DataFrame({"x": [1.0]}), {"x": [1.0]}, [{"x": 1.0}]],
    ids=lambda d: type(d).__name__,
)
def test_missing_columns_are_named(data):
    with pytest.raises(SignatureError, match=r"lacks the columns 'age', 'size'; it has 'x'"):
        columns(age="double", size="double", x="double").enforce(data)


def test_every_wrong_column_is_named_at_once():
    data = {"a": ["x"], "b": [1], "c": [None]}
    with pytest.raises(SignatureError) as caught:
        columns(a="long", b="string", c="boolean").enforce(data)
    assert [part.split(":")[0] for part in str(caught.value).split("; ")] == [
        "column 'a'",
        "column 'b'",
        "column 'c'",
    ]


def test_optional_columns_may_be_absent_or_null():
    signature = Signature(
        inputs=(
            Column("double", "a"),
            Column("string", "b", required=False),
            Column("long", "c", required=False),
        )
    )
    for data in (pd.DataFrame({"a": [1.0, 2.0]}), {"a": [1, 2]}, [{"a": 1}, {"a": 2, "c": None}]):
        fitted = signature.enforce(data)
        assert fitted.columns.tolist() == ["a", "b", "c"]
        assert fitted["b"].isna().all()
        assert fitted["c"].isna().all()
        assert len(fitted) == 2


def test_plain_python_becomes_a_frame_of_the_right_types():
    signature = columns(a="double", b="long", s="string", f="float", d="datetime")
    rows = [
        {"s": "x", "a": 1, "b": 2, "f": 0.1, "d": "2020-01-01", "more": 1},
        {"s": "y", "a": None, "b": 3, "f": 1, "d": "2020-01-02"},
    ]
    by_column = {key: [row[key] for row in rows] for key in rows[1]}
    for data in (rows, by_column):
        fitted = signature.enforce(data)
        assert [str(t).split("[")[0] for t in fitted.dtypes] == [
            "float64",
            "int64",
            "str",
            "float32",
            "datetime64",
        ]
        assert fitted["b"].tolist() == [2, 3]
    assert signature.enforce(rows[0])["b"].tolist() == [2]


def test_a_list_for_named_columns_is_refused_since_the_order_is_unknown():
    for data in ([[1.0, 2.0]], np.array([[1.0, 2.0]])):
        with pytest.raises(SignatureError, match="by name"):
            columns(a="double", b="double").enforce(data)


@pytest.mark.parametrize(
    ("example", "data", "fitted"),
    [
        ([1.5], [1, 2], [1.0, 2.0]),
        ([[1, 2], [3, 4]], [[5, 6]], [[5, 6]]),
        (["a"], ("b", "c"), ["b", "c"]),
        ("a", "b", "b"),
        (1.5, 2, 2.0),
    ],
)
def test_values_without_a_name_stay_a_list(example, data, fitted):
    assert Signature.infer(example).enforce(data) == fitted
    with pytest.raises(SignatureError, match=r"column 0: expected .*, got object"):
        Signature.infer(example).enforce([{}])
    with pytest.raises(SignatureError, match="not a dict"):
        Signature.infer(example).enforce({})


@pytest.mark.parametrize("as_frame", [True, False])
def test_datetimes_that_pandas_cannot_hold_together_are_named(as_frame):
    data = {"d": ["2020-01-01T00:00:00", "2020-01-01T00:00:00+02:00"]}
    with pytest.raises(SignatureError, match="column 'd': expected datetime"):
        columns(d="datetime").enforce(pd.DataFrame(data) if as_frame else data)


def test_columns_by_position():
    signature = Signature(inputs=(Column("long"), Column("double")))
    assert signature.enforce([[1, 2], [3, 4]]).dtypes.tolist() == [np.dtype("int64"), np.dtype("float64")]
    assert signature.enforce(pd.DataFrame([[1, 2.0, 9]])).shape == (1, 2)
    with pytest.raises(SignatureError, match="expected 2 columns, got 1"):
        signature.enforce([[1]])
    with pytest.raises(SignatureError, match="column 1: expected double, got string"):
        signature.enforce([[1, "x"]])


def test_numbered_columns_answer_to_the_text_that_json_makes_of_them():
    signature = Signature.infer(pd.DataFrame([[1, 2.0]]))
    for data in ({"0": [1], "1": [2.0]}, pd.DataFrame({"0": [1], "1": [2.0]})):
        assert signature.enforce(data).columns.tolist() == [0, 1]


def test_columns_of_one_name_are_refused():
    with pytest.raises(SignatureError, match="same name"):
        columns(a="long", b="long").enforce(pd.DataFrame([[1, 2, 3]], columns=["a", "b", "a"]))


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(SignatureError, match="different lengths"):
        columns(a="long", b="long").enforce({"a": [1], "b": [1, 2]})


def test_nested_types():
    signature = Signature(
        inputs=(Column(ObjectType((("x", Property("long")), ("y", Property("string", required=False)))), "o"),)
    )
    assert signature.enforce([{"o": {"x": 1}}])["o"].tolist() == [{"x": 1}]
    with pytest.raises(SignatureError, match="column 'o': expected long, got null"):
        signature.enforce([{"o": {"y": "a"}}])
    with pytest.raises(SignatureError, match="column 'o'"):
        signature.enforce([{"o": {"x": 1, "unknown": 2}}])
    assert columns(m=MapType("double")).enforce([{"m": {"a": 1}}])["m"].tolist() == [{"a": 1.0}]
    assert columns(m=AnyType()).enforce([{"m": None}])["m"].tolist() == [None]


@pytest.mark.parametrize(
    ("dtype", "data", "result"),
    [
        ("float64", [[1, 2]], "float64"),
        ("float32", [[0.1, 2.5]], "float32"),
        ("float64", np.array([[1, 2]]), "float64"),
        ("float64", np.array([[1, 2]], dtype="f4"), "float64"),
        ("int64", np.array([[1, 2]], dtype="int32"), "int64"),
        ("int32", [[1, 2]], "int32"),
        ("float64", pd.DataFrame([[1.0, 2.0]]), "float64"),
        ("str", [["a", "b"]], "<U1"),
    ],
    ids=str,
)
def test_arrays_are_converted_without_loss(dtype, data, result):
    fitted = Signature(inputs=(Tensor(dtype, (-1, 2)),)).enforce(data)
    assert str(fitted.dtype) == result
    assert fitted.shape == (1, 2)


@pytest.mark.parametrize(
    ("dtype", "data", "part"),
    [
        ("float64", [[1, 2, 3]], r"expected shape \(any, 2\), got \(1, 3\)"),
        ("float64", [1, 2], r"expected shape \(any, 2\), got \(2,\)"),
        ("float64", [[1, 2], [3]], "different lengths"),
        ("float64", [["a", "b"]], "expected float64"),
        ("int64", [[1.5, 2]], "expected int64, got float64"),
        ("int32", [[1, 2**40]], "expected int32"),
        ("float32", np.array([[0.1, 2]]), "expected float32, got float64"),
        ("float64", [[True, False]], "expected float64, got bool"),
        ("float64", {"a": [[1, 2]]}, "not a dict"),
        ("float64", [[None, 1.0]], "expected float64, got object"),
        ("float64", [[2**53 + 1, 1]], "expected float64"),
        ("str", [[1, 2]], "expected str"),
    ],
    ids=str,
)
def test_arrays_that_do_not_fit_are_refused(dtype, data, part):
    with pytest.raises(SignatureError, match=part):
        Signature(inputs=(Tensor(dtype, (-1, 2)),)).enforce(data)


def test_arrays_by_name():
    signature = Signature.infer({"a": np.zeros((2, 3)), "b": np.zeros(2, dtype="i8")})
    fitted = signature.enforce({"b": [1], "a": [[1, 2, 3]], "more": 1})
    assert {name: str(array.dtype) for name, array in fitted.items()} == {"a": "float64", "b": "int64"}
    with pytest.raises(SignatureError, match="lacks the array 'b'"):
        signature.enforce({"a": [[1, 2, 3]]})
    with pytest.raises(SignatureError, match="array 'a': expected shape"):
        signature.enforce({"a": [1], "b": [1]})
    with pytest.raises(SignatureError, match="by name"):
        signature.enforce([[1, 2, 3]])


def test_params_take_their_defaults_and_drop_what_is_unknown():
    signature = Signature.infer([1], params={"t": 0.5, "names": ["a"], "n": 3})
    assert signature.enforce_params(None) == {"t": 0.5, "names": ["a"], "n": 3}
    assert signature.enforce_params({"t": 1, "names": [], "unknown": 1}) == {"t": 1.0, "names": [], "n": 3}
    for bad, part in (
        ({"t": "x"}, "parameter 't': expected double"),
        ({"names": "a"}, "parameter 'names'"),
        ({"n": 1.5}, "'n'"),
    ):
        with pytest.raises(SignatureError, match=part):
            signature.enforce_params(bad)
    with pytest.raises(SignatureError, match="only scalars"):
        Signature.infer([1], params={"o": {"a": 1}})


cells = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3)
scalars = st.sampled_from(["boolean", "integer", "long", "float", "double", "string", "binary", "datetime"])


@settings(deadline=None)
@given(scalars, st.lists(cells, max_size=4), st.booleans())
def test_a_frame_and_a_list_of_the_same_values_fare_alike(type_, values, required):
    signature = Signature(inputs=(Column(type_, "a", required),))
    outcomes = []
    for data in ({"a": values}, pd.DataFrame({"a": pd.Series(values, dtype="object")})):
        try:
            fitted = signature.enforce(data)["a"].tolist()
            outcomes.append(
                [None if isinstance(v, float | None | type(pd.NA) | type(pd.NaT)) and pd.isna(v) else v for v in fitted]
            )
        except SignatureError as error:
            outcomes.append(str(error))
    assert repr(outcomes[0]) == repr(outcomes[1])


WIDE = 600
KINDS = {
    "numbers": lambda i: [i] if i % 2 else [0.5],
    "texts": lambda i: [0.5] if i % 3 else ["t"],
    "texts as objects": lambda i: [0.5] if i % 3 else pd.Series(["t"], dtype="object"),
    "whole numbers with nulls": lambda i: [0.5] if i % 3 else pd.array([1 if i % 2 else None], dtype="Int64"),
    "categories": lambda i: [0.5] if i % 3 else pd.Categorical(["a"]),
    "datetimes": lambda i: [0.5] if i % 3 else pd.to_datetime(["2020-01-01"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_wide_frame_that_fits_is_not_taken_apart(kind, monkeypatch):
    frame = pd.DataFrame({f"c{i}": KINDS[kind](i) for i in range(WIDE)})
    signature = Signature.infer(frame)
    signature.enforce(frame)

    def refuse(*_):
        raise AssertionError("a column was taken out of the frame")

    monkeypatch.setattr(pd.DataFrame, "__getitem__", refuse)
    monkeypatch.setattr("prefect_ml.models.table._each", refuse)
    assert signature.enforce(frame) is frame


def test_600_columns_that_fit_take_less_time_than_pandas_takes_to_go_through_them():
    frame = pd.DataFrame({f"c{i}": KINDS["texts"](i) for i in range(WIDE)})
    signature = Signature.infer(frame)

    def quickest(work):
        times = []
        for _ in range(20):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        return min(times)

    assert quickest(lambda: signature.enforce(frame)) < quickest(lambda: list(frame.items())) / 4


def test_many_whole_numbers_become_doubles_together():
    whole = {f"c{i}": np.array([i, -i], dtype="int64" if i % 2 else "int16") for i in range(40)}
    frame = pd.DataFrame(whole, index=[5, 6])
    frame["t"] = ["a", "b"]
    signature = Signature((*(Column("double", f"c{i}") for i in range(40)), Column("string", "t")))
    fitted = signature.enforce(frame)
    assert fitted.columns.tolist() == frame.columns.tolist()
    assert fitted.index.tolist() == [5, 6]
    assert fitted.drop(columns="t").to_numpy().tolist() == frame.drop(columns="t").to_numpy().tolist()
    assert set(fitted.drop(columns="t").dtypes.astype(str)) == {"float64"}
    frame.loc[6, "c7"] = 2**53 + 1
    with pytest.raises(SignatureError, match=r"^column 'c7': expected double, got long \(9007199254740993\)$"):
        signature.enforce(frame)
