"""Columns that come in another order are brought into the signature's without cutting the frame into pieces."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ml.models.column_order import in_order
from prefect_ml.models.signature import Signature

ROWS = 3
KINDS = [
    ["a", "b", "c"],
    np.array([0.5, 1.5, 2.5]),
    pd.array([1, None, 3], dtype="Int64"),
    pd.to_datetime(["2020-01-01"] * ROWS),
    pd.Categorical(["x", "y", "x"]),
    np.array([1, 2, 3], dtype="int32"),
    pd.Series(["a", None, 3], dtype="object"),
]


def frame_of(kinds):
    return pd.DataFrame({f"c{i}": KINDS[kind] for i, kind in enumerate(kinds)})


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, len(KINDS) - 1), min_size=1, max_size=12), st.data())
def test_it_is_what_pandas_gives_and_stays_apart_from_what_came(kinds, data):
    frame = frame_of(kinds)
    order = data.draw(st.permutations(range(len(kinds))))[: data.draw(st.integers(1, len(kinds)))]
    before = frame.copy()
    moved = in_order(frame, order, frame.columns[order])
    expected = before[[f"c{i}" for i in order]]
    pd.testing.assert_frame_equal(moved, expected)
    # What libraries take of a frame, which pandas has a way of its own for where there is one block.
    assert moved.astype("str").to_numpy().tolist() == expected.astype("str").to_numpy().tolist()
    assert str(moved.to_numpy().tolist()) == str(expected.to_numpy().tolist())
    for kind in ("number", "datetime", "float64", "int32"):
        part, same = moved.select_dtypes(kind), expected.select_dtypes(kind)
        assert str(part.to_numpy().tolist()) == str(same.to_numpy().tolist())
    for row in range(ROWS):
        assert str(moved.iloc[row].tolist()) == str(expected.iloc[row].tolist())
    for i, name in enumerate(expected):
        pd.testing.assert_series_equal(moved[name], expected[name])
        pd.testing.assert_series_equal(moved.iloc[:, i], expected[name])
    for name in expected:
        moved.loc[0, name] = moved.loc[2, name]
    moved["new"] = 1
    pd.testing.assert_frame_equal(frame, before)
    again = in_order(frame, order, frame.columns[order])
    for name in expected:
        frame.loc[0, name] = frame.loc[2, name]
    pd.testing.assert_frame_equal(again, expected)


def test_the_values_of_a_frame_of_one_kind_are_in_the_new_order():
    frame = pd.DataFrame(np.arange(6.0).reshape(2, 3), columns=["a", "b", "c"])
    moved = in_order(frame, [2, 0], pd.Index(["c", "a"]))
    assert moved.to_numpy().tolist() == [[2.0, 0.0], [5.0, 3.0]]
    assert in_order(frame, [1, 2, 0], pd.Index(["b", "c", "a"])).to_numpy().tolist() == [[1, 2, 0], [4, 5, 3]]


@pytest.mark.parametrize("more", [0, 1])
def test_no_block_is_cut(more):
    """What makes 600 columns cost as much in any order; pandas' own way cuts the numbers into 30 blocks."""
    frame = frame_of([0, 1, 1] * 30)
    signature = Signature.infer(frame)
    given_ = pd.concat(
        [pd.DataFrame({f"extra{i}": [0.5] * ROWS for i in range(more)}), frame[frame.columns[::-1]]], axis=1
    )
    given_ = given_.copy()
    fitted = signature.enforce(given_)
    assert fitted.columns.tolist() == frame.columns.tolist()
    assert len(fitted._mgr.blocks) <= len(given_._mgr.blocks)


def test_the_names_keep_what_they_were_in():
    columns = pd.Index(["b", "a"], dtype="object", name="features")
    frame = pd.DataFrame([[1.0, 2.0]], columns=columns)
    fitted = Signature.infer(pd.DataFrame({"a": [1.0], "b": [1.0]})).enforce(frame)
    assert fitted.columns.tolist() == ["a", "b"]
    assert (fitted.columns.name, fitted.columns.dtype) == ("features", "object")
