"""Signatures of type hints, and functions that are given objects of their own types."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import typing
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel, Field

from prefect_ml.errors import SignatureError
from prefect_ml.models.hints import as_hinted, hints_of, says_something, schema_of, takes_rows
from prefect_ml.models.schema import AnyType, ArrayType, Column, MapType, ObjectType, Property
from prefect_ml.models.signature import Signature


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


class Place(BaseModel):
    city: str
    zip: str | None = None


class House(BaseModel):
    price: float
    rooms: int = 3
    built: dt.date
    place: Place
    tags: list[str]
    sizes: dict[str, float]
    color: Color
    kind: Literal["flat", "house"]
    owner: str | None
    area: Annotated[float, Field(gt=0)]
    anything: Any
    number: int = Field(alias="No")


HOUSE = (
    Column("double", "price"),
    Column("long", "rooms", required=False),
    Column("datetime", "built"),
    Column(ObjectType((("city", Property("string")), ("zip", Property("string", required=False)))), "place"),
    Column(ArrayType("string"), "tags"),
    Column(MapType("double"), "sizes"),
    Column("string", "color"),
    Column("string", "kind"),
    Column("string", "owner", required=False),
    Column("double", "area"),
    Column(AnyType(), "anything", required=False),
    Column("long", "No"),
)
A_HOUSE = {
    "price": 1, "built": dt.date(2020, 1, 1), "place": {"city": "Ulm"}, "tags": ["a"], "sizes": {"x": 1.5},
    "color": "red", "kind": "flat", "owner": None, "area": 2.0, "anything": None, "No": 7,
}  # fmt: skip


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.5
    names: list[str] = dataclasses.field(default_factory=list)
    inner: Place | None = None


class Row(TypedDict):
    a: int
    b: NotRequired[str]


def takes_houses(rows: list[House]) -> list[float]:
    return [row.price * row.rooms for row in rows]


def takes_points(rows: list[Point]):
    return [(row.x, row.y, row.names) for row in rows]


def takes_dicts(rows: Sequence[Row]):
    return list(rows)


def takes_one(point: Point) -> float:
    return point.x


class Model:
    def predict(self, data: list[float], **_params: Any) -> list[float]:
        return data


class Called:
    def __call__(self, data: list[int]) -> int:
        return sum(data)


def test_a_pydantic_model_gives_a_column_for_each_field():
    assert schema_of(list[House]) == schema_of(House) == HOUSE
    assert Signature.infer(House).inputs == Signature.infer(list[House]).inputs == HOUSE
    assert Signature.infer([House.model_validate(A_HOUSE)]).inputs == HOUSE


def test_data_classes_and_typed_dicts_do_as_well():
    assert schema_of(Point) == (
        Column("double", "x"),
        Column("double", "y", required=False),
        Column(ArrayType("string"), "names", required=False),
        Column(HOUSE[3].type, "inner", required=False),
    )
    assert schema_of(list[Row]) == (Column("long", "a"), Column("string", "b", required=False))
    assert Signature.infer(Point(1.0)).inputs == schema_of(Point)


@pytest.mark.parametrize(
    ("hint", "type_", "required"),
    [
        (int, "long", True), (bool, "boolean", True), (bytes, "binary", True), (dt.datetime, "datetime", True),
        (list[float], "double", True), (list[float | None], "double", False),
        (list[list[int]], ArrayType("long"), True),
        (dict[str, int], MapType("long"), True), (typing.Mapping[str, str], MapType("string"), True),
        (list[np.float32], "float", True), (np.int64, "long", True), (tuple[int, ...], "long", True),
        (list[tuple[float, float]], ArrayType("double"), True), (int | str, AnyType(), True),
        (list[Color], "string", True), (Literal[1, 2], "long", True), (typing.NewType("Age", int), "long", True),
        (typing.Optional[str], "string", False), (Annotated[float, "degrees"], "double", True),  # noqa: UP045 - people write it
    ],
    ids=str,
)  # fmt: skip
def test_values_without_a_name(hint, type_, required):
    assert schema_of(hint) == (Column(type_, required=required),)


@pytest.mark.parametrize(
    ("hint", "part"),
    [
        (decimal.Decimal, "Decimal"),
        (list[complex], "complex"),
        (set[int], "set"),
        (dict[int, str], "keys of a map must be str"),
        (list[Literal["a", 1]], "mixes"),
    ],
    ids=str,
)
def test_what_has_no_type_is_an_error_that_names_it(hint, part):
    with pytest.raises(SignatureError, match=part):
        schema_of(hint)


class Tree(BaseModel):
    children: list[Tree]


class Bad(BaseModel):
    fine: int
    wrong: set[int]


class Empty(BaseModel):
    pass


def test_the_field_that_has_no_type_is_named():
    with pytest.raises(SignatureError, match=r"wrong"):
        schema_of(Bad)
    with pytest.raises(SignatureError, match="contains itself"):
        schema_of(Tree)
    with pytest.raises(SignatureError, match="no fields"):
        schema_of(Empty)


@pytest.mark.parametrize(
    "hint", [None, Any, object, list, dict, list[Any], pd.DataFrame, pd.Series, np.ndarray, list[np.ndarray], "House"],
    ids=str,
)  # fmt: skip
def test_what_says_nothing(hint):
    assert not says_something(hint)


def test_hints_are_read_from_functions_methods_and_objects_that_are_called():
    assert hints_of(takes_houses).input == list[House]
    assert hints_of(takes_houses).output == list[float]
    assert hints_of(Model()).input == list[float]
    assert hints_of(Called()).input == list[int]
    assert hints_of(Called()).output is int
    assert hints_of(lambda data: data).input is None
    assert hints_of(len).input is None
    assert takes_rows(list[House])
    assert takes_rows(Point)
    assert not takes_rows(list[float])
    assert not takes_rows(None)


def unknown(rows: list[NoSuchType]):  # noqa: F821 - that is the point
    return rows


def test_a_hint_that_cannot_be_evaluated_says_nothing():
    assert hints_of(unknown).input is None


@pytest.mark.parametrize("shape", [list, pd.DataFrame], ids=["list", "frame"])
def test_rows_come_as_objects(shape):
    hint = hints_of(takes_houses).input
    fitted = Signature(schema_of(hint)).enforce(shape([A_HOUSE, {**A_HOUSE, "rooms": 2}]))
    rows = as_hinted(hint, fitted)
    assert all(isinstance(row, House) for row in rows)
    assert takes_houses(rows) == [3.0, 2.0]
    assert (rows[0].color, rows[0].owner, rows[0].place.zip, rows[0].number) == (Color.RED, None, None, 7)


def test_defaults_fill_what_is_absent():
    fitted = Signature(schema_of(Point)).enforce([{"x": 1.0}, {"x": 2, "y": 3, "names": ["n"]}])
    assert takes_points(as_hinted(list[Point], fitted)) == [(1.0, 0.5, []), (2.0, 3.0, ["n"])]
    assert takes_one(as_hinted(Point, Signature(schema_of(Point)).enforce({"x": 4}))) == 4.0
    with pytest.raises(SignatureError, match="takes one Point, and 2 came"):
        as_hinted(Point, fitted)
    rows = Signature(schema_of(Row)).enforce([{"a": 1}, {"a": 2, "b": "x"}])
    assert takes_dicts(as_hinted(list[Row], rows)) == [{"a": 1}, {"a": 2, "b": "x"}]


def test_objects_are_data_as_well():
    fitted = Signature(schema_of(Point)).enforce([Point(1.0), Point(2.0, names=["n"])])
    assert takes_points(as_hinted(list[Point], fitted)) == [(1.0, 0.5, []), (2.0, 0.5, ["n"])]


def test_what_the_class_itself_refuses_names_row_and_field():
    fitted = Signature(HOUSE).enforce([A_HOUSE, {**A_HOUSE, "area": -1.0}])
    with pytest.raises(SignatureError, match=r"row 1: area: Input should be greater than 0"):
        as_hinted(list[House], fitted)


def test_plain_values_stay_plain():
    assert as_hinted(list[float], Signature(schema_of(list[float])).enforce([1, 2])) == [1.0, 2.0]
    assert as_hinted(list[float], pd.DataFrame({"a": [1.0, 2.0]})) == [1.0, 2.0]
    assert as_hinted(list[float], np.array([1.0, 2.0])) == [1.0, 2.0]
    assert as_hinted(float, 1.0) == 1.0


def test_without_pandas_columns_come_as_lists():
    assert takes_points(as_hinted(list[Point], {"x": [1.0], "y": [None], "names": [["a"]], "inner": [None]})) == [
        (1.0, 0.5, ["a"])
    ]
