"""Input examples: kept in MLflow's files, read back by us and by MLflow as they were given."""

from __future__ import annotations

import datetime as dt
import json
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ml.errors import InvalidInputError
from prefect_ml.models.example import read_example, write_example
from prefect_ml.models.folder import load_model, save_model
from prefect_ml.models.signature import Signature

DAY = pd.Timestamp("2020-01-01")
FRAMES = {
    "frame": pd.DataFrame({"a": [1.5, 2], "b": ["x", "y"]}, index=[3, 4]),
    "numbers as names": pd.DataFrame([[1, 2.0]]),
    "moments": pd.DataFrame({"d": [DAY, DAY + pd.Timedelta(microseconds=5)]}),
    "nanoseconds": pd.DataFrame({"d": np.array(["2020-01-01", "2020-01-01T00:00:00.0000005"], dtype="datetime64[ns]")}),
    "zones": pd.DataFrame({"d": [DAY.tz_localize("UTC"), (DAY + pd.Timedelta(hours=1)).tz_localize("UTC")]}),
    "bytes": pd.DataFrame({"b": [b"a", b"\xff"]}),
    "nested": pd.DataFrame({"l": [[1, 2], [3]], "o": [{"a": 1}, {"a": 2}]}),
    "truths": pd.DataFrame({"b": [True, False]}),
    "categories": pd.DataFrame({"c": pd.Categorical(["a", "b"])}),
    "gaps": pd.DataFrame({"a": [1.0, None], "t": ["x", None]}),
    "infinite": pd.DataFrame({"a": [np.inf, -np.inf, 1.0]}),
}  # fmt: skip
OTHERS = {
    "array": np.arange(6, dtype="float32").reshape(2, 3),
    "array of texts": np.array(["a", "b"]),
    "arrays by name": {"a": np.zeros((2, 3)), "b": np.ones(2, dtype="i8")},
    "dict": {"a": 1, "b": "x"},
    "lists by name": {"a": ["x", "y"], "b": [1.5, 2.0]},
    "rows": [{"a": 1}, {"a": 2}],
    "texts": ["a", "b"],
    "text": "text",
    "number": 3,
    "lists": [[1, 2], [3, 4]],
}


@pytest.fixture
def theirs(tmp_path):
    """What MLflow reads of an example that we wrote, by the signature that we inferred."""
    from mlflow.models import Model, ModelSignature
    from mlflow.models.utils import _read_example

    def read(example):
        model = Model()
        model.saved_input_example_info = write_example(tmp_path, example)
        model.signature = ModelSignature.from_dict(Signature.infer(example).to_mlmodel())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read_example(model, str(tmp_path))

    return read


def ours(folder, example):
    return read_example(folder, write_example(folder, example), Signature.infer(example))


@pytest.mark.parametrize("name", FRAMES)
def test_frames_are_read_by_both_as_they_were(name, theirs, tmp_path):
    frame = FRAMES[name]
    found, by_mlflow = ours(tmp_path, frame), theirs(frame)
    assert found.columns.tolist() == by_mlflow.columns.tolist() == frame.columns.tolist()
    for column in frame.columns:
        given_ = [None if value is None or value is pd.NA or value != value else value for value in frame[column]]  # noqa: PLR0124 - NaN
        for read in (found, by_mlflow):
            values = [None if value is None or value is pd.NA or value != value else value for value in read[column]]  # noqa: PLR0124
            if name == "nanoseconds":
                values, given_ = ([v.floor("us") for v in part] for part in (map(pd.Timestamp, values), given_))
            assert values == given_


def as_lists(value):
    if isinstance(value, dict):
        return {key: as_lists(item) for key, item in value.items()}
    return (value.tolist(), str(value.dtype)) if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("name", OTHERS)
def test_other_examples_are_read_by_mlflow_as_they_were(name, theirs):
    assert as_lists(theirs(OTHERS[name])) == as_lists(OTHERS[name])


@pytest.mark.parametrize("name", ["array", "array of texts", "arrays by name", "texts", "text", "number", "lists"])
def test_and_by_us(name, tmp_path):
    assert as_lists(ours(tmp_path, OTHERS[name])) == as_lists(OTHERS[name])


@pytest.mark.parametrize(
    ("name", "table"), [("dict", {"a": [1], "b": ["x"]}), ("rows", {"a": [1, 2]}), ("lists by name", None)]
)
def test_what_has_names_becomes_the_frame_that_a_request_would_become(name, table, tmp_path):
    found = ours(tmp_path, OTHERS[name]).to_dict("list")
    assert found == (table or {key: [value] for key, value in OTHERS[name].items()})


@pytest.mark.parametrize("name", [name for name in {**FRAMES, **OTHERS} if name != "infinite"])  # JSON has no infinity
def test_the_serving_example_is_a_request_that_gives_the_same(name, tmp_path):
    from prefect_ml.serving.decoding import Decoder

    example = {**FRAMES, **OTHERS}[name]
    signature = Signature.infer(example)
    about = write_example(tmp_path, example)
    body = (tmp_path / about["serving_input_path"]).read_bytes()
    asked = Decoder(signature).decode("application/json", body)
    kept = read_example(tmp_path, about, signature)
    assert repr(as_lists(signature.enforce(asked.data))) == repr(as_lists(kept))


cells = {
    "f": st.floats(allow_nan=False, width=64),
    "i": st.integers(-(2**53), 2**53),
    "s": st.text(max_size=4),
    "b": st.booleans(),
    "y": st.binary(max_size=4),
    "d": st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1)),  # noqa: DTZ001 - pandas without a zone
    "l": st.lists(st.integers(-5, 5), min_size=1, max_size=3),
}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(sorted(cells)), min_size=1, max_size=4, unique=True), st.integers(1, 3), st.data())
def test_whatever_a_frame_holds_is_read_back(tmp_path_factory, names, rows, data):
    folder = tmp_path_factory.mktemp("example")
    values = {name: data.draw(st.lists(cells[name], min_size=rows, max_size=rows)) for name in names}
    assert ours(folder, pd.DataFrame(values)).to_dict("list") == values


def test_what_has_no_json_is_refused(tmp_path):
    for example in (np.array([1 + 2j]), [object()], {"a": {1, 2}}):
        with pytest.raises(InvalidInputError, match="cannot be kept as JSON"):
            write_example(tmp_path, example)


def echo(data):
    return data


def fails_on_texts(data):
    return data["a"] + 1


def test_it_is_replayed_on_saving(tmp_path):
    save_model(echo, tmp_path / "m", input_example=pl.DataFrame({"a": [1, 2]}))
    model = load_model(tmp_path / "m", origin="x", trusted_origins=["x"])
    assert json.loads((tmp_path / "m" / "output_example.json").read_text()) == {"columns": ["a"], "data": [[1], [2]]}
    assert model.signature.outputs == model.signature.inputs
    with pytest.raises(InvalidInputError, match="fails on its own input example"):
        save_model(fails_on_texts, tmp_path / "broken", input_example=pd.DataFrame({"a": ["x"]}))
    assert not (tmp_path / "broken").exists()
