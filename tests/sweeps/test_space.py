"""What spaces may say, and what trials come of them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ml.cli.sweep import sweep
from prefect_ml.errors import InvalidInputError
from prefect_ml.sweeps.space import draw, grid, parse_space


def test_a_grid_is_every_combination_the_last_fastest():
    space = parse_space({"a": [1, 2], "b": ["x", None, [1, 2]]})
    assert [tuple(point.values()) for point in grid(space)] == [
        (1, "x"), (1, None), (1, [1, 2]), (2, "x"), (2, None), (2, [1, 2])
    ]  # fmt: skip


def test_ranges_in_a_grid():
    space = parse_space({"n": {"low": 2, "high": 6, "int": True, "step": 2}, "x": {"low": 0, "high": 0.5, "step": 0.1}})
    points = grid(space)
    assert [point["n"] for point in points[::6]] == [2, 4, 6]
    assert [point["x"] for point in points[:6]] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert all(type(point["n"]) is int for point in points)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "at least one"),
        ([], "mapping of parameters"),
        ({"c": 3}, "'c' of the space must be a list"),
        ({"c": []}, "'c' of the space is wrong: values: .*at least 1"),
        ({"c": [1, 1]}, "lists a value twice"),
        ({"c": [object()]}, "plain data"),
        ({"c": {"low": 1}}, "high: Field required"),
        ({"c": {"low": 2, "high": 1}}, "low 2 must be less than its high 1"),
        ({"c": {"low": 0, "high": 1, "log": True}}, "above 0"),
        ({"c": {"low": 1, "high": 2, "log": True, "step": 1}}, "exclude each other"),
        ({"c": {"low": 1.5, "high": 2, "int": True}}, "whole numbers"),
        ({"c": {"low": 1, "high": float("inf")}}, "finite"),
        ({"c": {"low": 1, "high": 2, "setp": 1}}, "setp: Extra inputs"),
        ({"c": {"low": 1, "high": 2, "step": 0}}, "greater than 0"),
    ],
)
def test_a_wrong_space_is_refused_with_a_sentence(space, message):
    with pytest.raises(InvalidInputError, match=message):
        parse_space(space)


def test_a_grid_is_bounded():
    with pytest.raises(InvalidInputError, match="1000000 combinations and a sweep at most 10000"):
        grid(parse_space({name: list(range(100)) for name in "abc"}))
    with pytest.raises(InvalidInputError, match="take a larger step"):
        grid(parse_space({"x": {"low": 0, "high": 1, "step": 1e-9}}))
    with pytest.raises(InvalidInputError, match="'x' of the space is wrong: a grid needs its step"):
        grid(parse_space({"x": {"low": 0, "high": 1}}))


ranges = st.builds(
    lambda low, width, log, whole, step: {
        "low": low, "high": low + width, "log": log, "int": whole, **({} if log or step is None else {"step": step})
    },
    st.integers(1, 50), st.integers(1, 1000), st.booleans(), st.booleans(), st.none() | st.integers(1, 7),
)  # fmt: skip


@given(ranges, st.integers())
def test_draws_keep_to_their_range_and_repeat(item, seed):
    space = parse_space({"x": item, "kind": ["a", True, 1]})
    point = draw(space, str(seed))
    assert point == draw(space, str(seed))
    assert item["low"] <= point["x"] <= item["high"]
    if item["int"]:
        assert type(point["x"]) is int
    if "step" in item:
        steps = (point["x"] - item["low"]) / item["step"]
        assert math.isclose(steps, round(steps), abs_tol=1e-6)


def test_draws_cover_the_values():
    space = parse_space({"x": {"low": 1, "high": 4, "int": True}, "log": {"low": 1e-4, "high": 1, "log": True}})
    points = [draw(space, str(seed)) for seed in range(400)]
    assert {point["x"] for point in points} == {1, 2, 3, 4}
    small = sum(point["log"] < 1e-2 for point in points)
    assert 150 < small < 250


def test_a_file_of_a_space_makes_no_objects(tmp_path):
    space = tmp_path / "space.yaml"
    space.write_text(f"alpha: !!python/object/apply:os.mkdir ['{tmp_path}/fired']")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        sweep("nowhere:train", space=space, metric="loss")
    assert not (tmp_path / "fired").exists()
