"""Whatever is given to a model or shown as an example is fitted, or refused by an error of ours that says why."""

from __future__ import annotations

import collections
import contextlib
import datetime as dt
from typing import NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from prefect_ml.errors import SignatureError
from prefect_ml.models.schema import AnyType, ArrayType, Column, ObjectType, Property, Tensor
from prefect_ml.models.signature import Signature

SIGNATURES = {
    "named": (Column("double", "a"), Column("string", "b")),
    "one": (Column("long", "a"),),
    "optional": (Column("long", "a", required=False), Column("datetime", "d", required=False)),
    "by position": (Column("double"), Column("double")),
    "bare": (Column("long"),),
    "bare lists": (Column(ArrayType("long")),),
    "numbered": (Column("double", 0), Column("double", 1)),
    "lists": (Column(ArrayType("double"), "a"),),
    "objects": (Column(ObjectType((("x", Property("long")),)), "a"),),
    "anything": (Column(AnyType(), "a"),),
    "bytes": (Column("binary", "a"),),
    "truths": (Column("boolean", "a"),),
    "tensor": (Tensor("float64", (-1, 2)),),
    "tensors": (Tensor("float64", (-1, 2), "a"), Tensor("str", (-1,), "b")),
    "scalar": (Tensor("int32", ()),),
}


class Row(NamedTuple):
    a: int
    b: str


LEVELS = pd.MultiIndex.from_tuples([("a", "x"), ("b", "y")])
FRAMES = [
    pd.DataFrame(),
    pd.DataFrame({"a": []}),
    pd.DataFrame([[1, 2]], columns=LEVELS),
    pd.DataFrame([[1, 2]], columns=["a", "a"]),
    pd.Series([1, 2]),
    pd.Series([1], name="a"),
    pd.Series([], dtype=float),
    pd.Series({"a": 1, "b": "x"}),
    *(
        pd.DataFrame({"a": values, "b": ["x"]})
        for values in (
            pd.to_timedelta([1]),
            pd.period_range("2020", periods=1),
            pd.arrays.SparseArray([1.0]),
            [1 + 2j],
            pd.Categorical([1.5]),
            pd.interval_range(0, 1),
            pd.array([1.5], dtype="double[pyarrow]"),
            pd.array([1], dtype="int64[pyarrow]"),
            pd.array([None], dtype="int64[pyarrow]"),
            pd.array([True], dtype="bool[pyarrow]"),
            pd.array(["x"], dtype="string[pyarrow]"),
            pd.array([b"x"], dtype=pd.ArrowDtype(pa.binary())),
            pd.array([[1.0]], dtype=pd.ArrowDtype(pa.list_(pa.float64()))),
            pd.array([dt.date(2020, 1, 1)], dtype=pd.ArrowDtype(pa.date32())),
        )
    ),
]
ARRAYS = [
    np.array(3), np.zeros((0,)), np.zeros((0, 2)), np.zeros((2, 2)), np.zeros((2, 2, 2)), np.array([object()]),
    np.array(["a"]), np.array([1 + 2j]), np.ma.array([1.0]),
    pl.DataFrame({"a": [1.0], "b": ["x"]}), pl.DataFrame(), pl.Series([1]), pl.Series("a", [1]),
    pa.table({"a": [1.0], "b": ["x"]}), pa.array([1]), pa.table({}), pa.nulls(2),
]  # fmt: skip
PLAIN = [
    None, 1, 1.5, "x", b"x", True, [], {}, (), set(), {1, 2}, iter([1]), object(), [[]], [{}], [None], [[None]],
    {"a": None}, {"a": []}, {"a": 1, "b": "x"}, {"a": [1], "b": ["x", "y"]}, {"a": {"x": 1}}, [{"a": 1, "b": "x"}, 3],
    [[1, 2], 3], collections.OrderedDict(a=1), Row(1, "x"),
    {"a": np.zeros((1, 2)), "b": np.array(["x"])}, {"a": pd.Series([1.0]), "b": pd.Series(["x"])},
    {"a": pl.Series([1.0]), "b": ["x"]}, {"a": pa.array([1.0]), "b": ["x"]}, 10**400, {"a": 10**400, "b": "x"},
    float("nan"), "\ud800", [{"a": 1, "b": "\ud800"}], {0: [1], 1: [2]}, {"0": [1], "1": [2]}, dt.date(9999, 1, 1),
    {"a": 1, "d": dt.date(9999, 1, 1)}, {"d": "0001-01-01"}, {"d": "2020-01-01T00:00:00.123456789"},
    [{"d": "2020-01-01"}, {"d": "2020-01-01T00:00:00Z"}],
]  # fmt: skip
ANYTHING = [*FRAMES, *ARRAYS, *PLAIN]


@pytest.mark.parametrize("name", SIGNATURES)
def test_it_is_fitted_or_refused(name):
    signature = Signature(SIGNATURES[name])
    taken = 0
    for data in ANYTHING:
        with contextlib.suppress(SignatureError):
            signature.enforce(data)
            taken += 1
    assert 0 < taken < len(ANYTHING)


def test_what_a_signature_was_inferred_from_fits_it():
    inferred = 0
    for data in ANYTHING:
        if "ud800" in repr(data):  # a text by its type, though no text by its content
            continue
        try:
            signature = Signature.infer(data)
        except SignatureError:
            continue
        if signature.inputs is not None:
            assert signature.inputs
            signature.enforce(data)
            inferred += 1
    assert inferred > 30


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (pd.DataFrame(), "without columns"),
        ([{}], "empty dicts"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), r"same name \(a\)"),
    ],
    ids=["no columns", "no keys", "twice"],
)
def test_no_example_gives_a_model_without_checks(data, part):
    with pytest.raises(SignatureError, match=part):
        Signature.infer(data)


def test_levels_of_columns_and_halves_of_characters_are_named():
    with pytest.raises(SignatureError, match="several levels"):
        Signature(SIGNATURES["named"]).enforce(pd.DataFrame([[1, 2]], columns=LEVELS))
    with pytest.raises(SignatureError, match=r"^column 'b': expected string, got string \('.ud800'\)$"):
        Signature(SIGNATURES["named"]).enforce([{"a": 1, "b": "fine"}, {"a": 1, "b": "\ud800"}])
