"""Each row of the tables in docs/signatures.md, as a property; and what they say of MLflow, held against MLflow."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect_ml.errors import SignatureError
from prefect_ml.models.schema import AnyType, ArrayType, Column, MapType, ObjectType, Property
from prefect_ml.models.signature import Signature

DOC = Path(__file__).parents[2] / "docs" / "signatures.md"
NAIVE = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))  # noqa: DTZ001 - without a zone on purpose
DAYS = st.dates(dt.date(1700, 1, 1), dt.date(2200, 1, 1))
TEXT = st.text("abcß€", max_size=4)
SMALL = st.integers(-100, 100)
KEPT, REFUSED = "as it is", "refused"


@dataclass(frozen=True)
class Rule:
    """A row: values of `cells` in a column of `dtype`, where `type` is asked for, and what becomes of them."""

    type: Any
    given: str
    cells: Any
    dtype: Any
    result: str
    mlflow: str
    required: bool = True

    @property
    def key(self) -> tuple[str, str]:
        name = self.type if isinstance(self.type, str) else type(self.type).__name__.removesuffix("Type").lower()
        return (name if self.required else f"{name}, optional", self.given)


def with_null(cells):
    """At least one null among them."""
    return st.lists(cells, max_size=3).flatmap(lambda values: st.permutations([None, *values]))


SHORT = (np.int8, np.int16, np.uint8, np.uint16)
FITS_FLOAT = st.floats(width=32, allow_nan=False)
NO_FLOAT = st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda v: abs(v) < 3e38 and float(np.float32(v)) != v
)
OBJECT = ObjectType((("a", Property("long")), ("b", Property("string", required=False))))

RULES = [
    Rule("boolean", "`bool`", st.booleans(), "bool", KEPT, "takes"),
    Rule("boolean", "`boolean` without nulls", st.booleans(), "boolean", KEPT, "takes"),
    Rule("boolean", "whole numbers, 0 and 1 too", st.integers(0, 1), "int64", REFUSED, "refuses"),
    Rule("boolean", "nulls", with_null(st.booleans()), "boolean", REFUSED, "refuses"),
    Rule("boolean", "`boolean` with nulls", with_null(st.booleans()), "boolean", KEPT, "refuses", required=False),
    Rule("integer", "`int8`, `int16`, `uint8`, `uint16`", st.integers(0, 100), SHORT, "int32", "takes"),
    Rule(
        "integer",
        "`int64`, `uint32` within 32 bits",
        st.integers(0, 2**31 - 1),
        ("int64", "uint32"),
        "int32",
        "refuses",
    ),
    Rule("integer", "`int64` beyond 32 bits", st.integers(2**31, 2**62), "int64", REFUSED, "refuses"),
    Rule(
        "long",
        "`int8` to `int32`, `uint8` to `uint32`",
        st.integers(0, 100),
        (*SHORT, "int32", "uint32"),
        "int64",
        "takes",
    ),
    Rule("long", "`Int64` without nulls", SMALL, "Int64", KEPT, "takes"),
    Rule("long", "`uint64` below 2^63", st.integers(0, 2**63 - 1), "uint64", "int64", "refuses"),
    Rule("long", "`uint64` from 2^63 on", st.integers(2**63, 2**64 - 1), "uint64", REFUSED, "refuses"),
    Rule("long", "floats, whole ones too", st.integers(-5, 5).map(float), ("float64", "float32"), REFUSED, "refuses"),
    Rule("long", "`bool`", st.booleans(), "bool", REFUSED, "refuses"),
    Rule("long", "nulls", with_null(SMALL), "Int64", REFUSED, "refuses"),
    Rule("long", "`Int64` with nulls", with_null(SMALL), "Int64", KEPT, "refuses", required=False),
    Rule("long", "whole `float64` with NaN", with_null(SMALL), "float64", "Int64", "refuses", required=False),
    Rule(
        "long", "`float64` with NaN and a fraction", st.just([None, 0.5]), "float64", REFUSED, "refuses", required=False
    ),
    Rule("float", "`float16`", SMALL.map(float), "float16", "float32", "takes"),
    Rule(
        "float", "whole numbers up to 2^24", st.integers(2, 2**24), ("int64", "int32", "uint32"), "float32", "refuses"
    ),
    Rule("float", "whole numbers beyond 2^24", st.integers(2**24 + 1, 2**62), "int64", REFUSED, "refuses"),
    Rule("float", "`float64` that `float32` holds exactly", FITS_FLOAT, "float64", "float32", "refuses"),
    Rule("float", "`float64` that it does not", NO_FLOAT, "float64", REFUSED, "refuses"),
    Rule("double", "`float16`, `float32`", SMALL.map(float), ("float16", "float32"), "float64", "takes"),
    Rule(
        "double",
        "`int8` to `int32`, `uint8` to `uint32`",
        st.integers(0, 100),
        (*SHORT, "int32", "uint32"),
        "float64",
        "takes",
    ),
    Rule("double", "`int64`, `uint64` up to 2^53", st.integers(2, 2**53), ("int64", "uint64"), "float64", "refuses"),
    Rule("double", "whole numbers beyond 2^53", st.integers(2**53 + 1, 2**62), "int64", REFUSED, "refuses"),
    Rule("double", "`Int64` with nulls", with_null(SMALL), "Int64", "float64", "refuses"),
    Rule("double", "NaN, in a required column too", with_null(SMALL.map(float)), "float64", KEPT, "takes"),
    Rule("double", "`bool`", st.booleans(), "bool", REFUSED, "refuses"),
    Rule("double", "`Decimal`", st.decimals(-9, 9, places=2), "object", REFUSED, "takes"),
    Rule("double", "numbers as text", SMALL.map(str), ("str", "object"), REFUSED, "refuses"),
    Rule("string", "`str`, or text in `object`", TEXT, ("str", "object"), KEPT, "takes"),
    Rule("string", "categories of text", TEXT, "category", KEPT, "refuses"),
    Rule("string", "categories of anything else", SMALL, "category", REFUSED, "refuses"),
    Rule("string", "numbers in `object`", SMALL, "object", REFUSED, "takes"),
    Rule("string", "numbers", SMALL, "int64", REFUSED, "refuses"),
    Rule("string", "nulls", with_null(TEXT), ("str", "object"), REFUSED, "takes"),
    Rule("string", "nulls", with_null(TEXT), ("str", "object", "category"), KEPT, "", required=False),
    Rule("binary", "bytes", st.binary(max_size=4), "object", KEPT, "takes"),
    Rule("binary", "base64 text", st.just("eHg="), ("object", "str"), "object", "takes"),
    Rule("binary", "other text", st.just("no base64!"), "object", REFUSED, "takes"),
    Rule(
        "datetime",
        "`datetime64` of any unit",
        NAIVE,
        ("datetime64[ns]", "datetime64[us]", "datetime64[s]"),
        KEPT,
        "takes",
    ),
    Rule(
        "datetime",
        "`datetime64` with a zone",
        NAIVE,
        ("datetime64[us, UTC]", "datetime64[ns, Asia/Tokyo]"),
        KEPT,
        "refuses",
    ),
    Rule(
        "datetime",
        "`date`, `datetime` in `object`",
        st.one_of(st.lists(DAYS, min_size=1), st.lists(NAIVE, min_size=1)),
        "object",
        "datetime64",
        "takes",
    ),
    Rule(
        "datetime",
        "ISO 8601 text",
        st.lists(NAIVE, min_size=1).map(lambda vs: [v.isoformat(timespec="seconds") for v in vs]),
        "object",
        "datetime64",
        "",
    ),
    Rule("datetime", "other text", TEXT, "object", REFUSED, ""),
    Rule("datetime", "numbers", SMALL, ("int64", "float64"), REFUSED, "refuses"),
    Rule(
        "datetime",
        "zones that differ",
        st.just(["2020-01-01T00:00:00", "2020-01-01T00:00:00+02:00"]),
        "object",
        REFUSED,
        "refuses",
    ),
    Rule(
        ArrayType("double"),
        "lists, tuples and arrays of what fits the items",
        st.sampled_from([[1.0], (2.5, 3), np.array([1.5])]),
        "object",
        KEPT,
        "",
    ),
    Rule(
        ArrayType("double"),
        "an item that does not fit",
        st.just([1.0, "x"]).map(lambda v: [v]),
        "object",
        REFUSED,
        "refuses",
    ),
    Rule(
        OBJECT,
        "dicts with the required keys",
        st.fixed_dictionaries({"a": SMALL}, optional={"b": TEXT}),
        "object",
        KEPT,
        "takes",
    ),
    Rule(
        OBJECT,
        "a missing or an unknown key",
        st.sampled_from([{}, {"b": "x"}, {"a": 1, "c": 2}]),
        "object",
        REFUSED,
        "refuses",
    ),
    Rule(MapType("long"), "dicts whose values fit", st.dictionaries(TEXT, SMALL), "object", KEPT, "takes"),
    Rule(MapType("long"), "a value that does not fit", st.just({"k": 1.5}), "object", REFUSED, "refuses"),
    Rule(AnyType(), "anything", st.sampled_from([None, 1, "x", [1], {"a": None}]), "object", KEPT, "takes"),
]


def rows_of_docs():
    """The (type, given) of each row of the first table, and what it says of ours and MLflow's result."""
    text = DOC.read_text().split("<!-- rules -->")[1]
    lines = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.splitlines() if "|" in line]
    return {(cells[0], cells[1]): (cells[2], cells[3]) for cells in lines[2:]}


def test_the_docs_have_these_rows_and_no_others():
    documented = rows_of_docs()
    assert documented.keys() == {rule.key for rule in RULES}
    for rule in RULES:
        ours, theirs = documented[rule.key]
        shown = rule.result if rule.result in (KEPT, REFUSED) else f"`{rule.result}`"
        assert ours.startswith(shown), rule.key
        assert rule.mlflow == "" or theirs.startswith(rule.mlflow), rule.key


def same(value):
    """A value that equals itself."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    return pd.Timestamp(value) if isinstance(value, (dt.date, dt.datetime)) else value


def series_of(values, dtype):
    if "datetime64" in str(dtype):
        unit = str(dtype).split("[")[1].split(",")[0].rstrip("]")
        whole = (
            pd.Series(pd.to_datetime(pd.Series(values, dtype="object"))).dt.floor(unit).astype(f"datetime64[{unit}]")
        )
        return whole.dt.tz_localize(str(dtype).split(", ")[1].rstrip("]")) if "," in str(dtype) else whole
    return pd.Series(values, dtype=dtype)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: " ".join(rule.key))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_is_taken_and_what_is_refused(rule, data):
    drawn = data.draw(st.lists(rule.cells, min_size=1, max_size=3))
    listed = isinstance(drawn[0], list) and not isinstance(rule.type, (ArrayType, AnyType))
    values = drawn[0] if listed else (drawn[0] if rule.given == "an item that does not fit" else drawn)
    dtypes = rule.dtype if isinstance(rule.dtype, tuple) else (rule.dtype,)
    series = series_of(values, data.draw(st.sampled_from(dtypes)))
    type_ = rule.type.split(",")[0] if isinstance(rule.type, str) else rule.type
    signature = Signature((Column(type_, "a", rule.required),))
    frame = series.to_frame("a")
    if rule.result == REFUSED:
        with pytest.raises(SignatureError, match=r"^column 'a': expected "):
            signature.enforce(frame)
    else:
        fitted = signature.enforce(frame)
        if rule.result == KEPT:
            assert fitted is frame
        else:
            assert str(fitted["a"].dtype).split("[")[0] == rule.result
            if type_ not in ("binary", "datetime"):
                assert [same(v) for v in fitted["a"]] == [same(v) for v in series]
            if type_ == "datetime":
                assert fitted["a"].tolist() == [pd.Timestamp(v) for v in series]
    if rule.mlflow:
        assert taken_by_mlflow(signature, frame) == (rule.mlflow == "takes")


def taken_by_mlflow(signature, frame):
    from mlflow.exceptions import MlflowException
    from mlflow.models import ModelSignature
    from mlflow.models.utils import _enforce_schema

    schema = ModelSignature.from_dict(signature.to_mlmodel()).inputs
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _enforce_schema(frame.copy(), schema)
    except (MlflowException, ValueError, TypeError, decimal.InvalidOperation):
        return False
    return True


COLUMNS = {"a": "double", "b": "string", "c": "long"}
OPTIONAL = Signature((*(Column(t, n) for n, t in COLUMNS.items()), Column("double", "d", required=False)))


@settings(deadline=None)
@given(st.permutations([*COLUMNS, "d", "extra"]), st.sets(st.sampled_from([*COLUMNS, "d", "extra"])))
def test_columns_in_any_order_with_more_or_fewer(order, absent):
    values = {"a": [1.5, 2.0], "b": ["x", "y"], "c": [1, 2], "d": [None, 0.5], "extra": ["?", "!"]}
    frame = pd.DataFrame({name: values[name] for name in order if name not in absent}, index=[7, 9])
    missing = sorted(COLUMNS.keys() & absent)
    if missing:
        with pytest.raises(SignatureError, match=re.escape(", ".join(map(repr, missing)))):
            OPTIONAL.enforce(frame)
        return
    fitted = OPTIONAL.enforce(frame)
    assert fitted.columns.tolist() == [*COLUMNS, "d"]
    assert fitted.index.tolist() == [7, 9]
    assert fitted["a"].tolist() == [1.5, 2.0]
    assert fitted["d"].isna().tolist() == ([True, True] if "d" in absent else [True, False])
