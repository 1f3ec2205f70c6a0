"""What a scoring is made of: cuts, places, columns of predictions, and rows that cannot be scored."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ml.errors import ArtifactError, CorruptArtifactError, InvalidInputError, NotFoundError, SignatureError
from prefect_ml.models.folder import load_model, save_model
from prefect_ml.models.prediction_columns import prediction_columns
from prefect_ml.models.signature import Signature
from prefect_ml.scoring.features import Features
from prefect_ml.scoring.job import model_of, settle_model
from prefect_ml.scoring.places import find_inputs
from prefect_ml.scoring.plan import _cuts, plan_parquet
from prefect_ml.scoring.reading import read_chunk
from prefect_ml.scoring.scores import BadRowsError, score_table
from prefect_ml.settings import Settings

sys.path.append(str(Path(__file__).parent))
from customers import ROWS, rows_of


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 30))
def test_cuts_cover_each_row_once_and_none_is_too_long(groups, rows):
    cuts = _cuts(groups, rows)
    assert [row for start, stop in cuts for row in range(start, stop)] == list(range(sum(groups)))
    assert all(0 < stop - start <= rows for start, stop in cuts)


@pytest.mark.parametrize("rows", [7, 90, 100, 601, 5000])
def test_chunks_of_any_length_hold_all_rows_in_order(rows, parquet_folder):
    plan = plan_parquet(find_inputs(str(parquet_folder)), rows)
    tables = [read_chunk(chunk, ["id", "age"], plan.schema) for chunk in plan.chunks]
    assert pa.concat_tables(tables).column("id").to_pylist() == rows_of(ROWS)["id"].tolist()
    # One file has 32 bits for it, the other 64.
    assert {table.schema.field("age").type for table in tables} == {pa.int64()}


def test_a_file_that_changed_under_the_plan_is_noticed(parquet_folder):
    plan = plan_parquet(find_inputs(str(parquet_folder)), 100)
    rows_of(550).to_parquet(parquet_folder / "a.parquet")
    with pytest.raises(ArtifactError, match=r"rows 540 to 599 of .*a\.parquet.*was changed"):
        read_chunk(next(c for c in plan.chunks if c.start == 540), ["id"], plan.schema)


def test_files_are_found_by_folder_and_pattern(tmp_path):
    names = ["b.parquet", "a/2026-01/x.parquet", "a/2026-02/y.parquet", "_aside/z.parquet", ".tmp.parquet", "note.txt"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")

    def found(place):
        return [file.name.removeprefix(f"{tmp_path}/") for file in find_inputs(str(tmp_path / place))]

    assert found("") == ["a/2026-01/x.parquet", "a/2026-02/y.parquet", "b.parquet"]
    assert found("a/2026-0[2-9]/*.parquet") == ["a/2026-02/y.parquet"]
    assert found("**/[xb].parquet") == ["a/2026-01/x.parquet", "b.parquet"]
    with pytest.raises(NotFoundError, match="no Parquet or CSV"):
        found("*.csv")
    with pytest.raises(InvalidInputError, match="all be Parquet"):
        found("*")
    with pytest.raises(InvalidInputError, match="http://"):
        find_inputs("http://169.254.169.254/latest.parquet")


@pytest.mark.parametrize(
    ("predictions", "expected"),
    [
        (np.array([1.5, 2.5]), {"score": [1.5, 2.5]}),
        (np.array([[1], [2]]), {"score": [1, 2]}),
        (np.array([[0.1, 0.9], [0.7, 0.3]]), {"score_0": [0.1, 0.7], "score_1": [0.9, 0.3]}),
        (np.zeros((2, 1, 2)), {"score": [[[0.0, 0.0]], [[0.0, 0.0]]]}),
        (pd.Series(["a", "b"], dtype="category"), {"score": ["a", "b"]}),
        (pd.DataFrame({"low": [1, 2], "high": [3, 4]}), {"low": [1, 2], "high": [3, 4]}),
        ({"label": np.array(["x", "y"]), "p": [0.5, None]}, {"label": ["x", "y"], "p": [0.5, None]}),
        ([{"text": "a"}, {"text": "b", "n": 1}], {"text": ["a", "b"], "n": [None, 1]}),
        (["a", None], {"score": ["a", None]}),
    ],
)
def test_predictions_of_each_kind_become_columns(predictions, expected):
    found = prediction_columns(predictions, 2, "score")
    assert {name: values.to_pylist() for name, values in found.items()} == expected


@pytest.mark.parametrize("predictions", [np.zeros(3), 7, "text", [object(), object()]])
def test_what_is_no_prediction_for_each_row_is_refused(predictions):
    with pytest.raises(InvalidInputError, match="model"):
        prediction_columns(predictions, 2)


def picky(*bad):
    """A model that fails where a value is one of these."""

    def predict(frame, _):
        if wrong := [value for value in frame["x"] if value in bad]:
            raise ValueError(f"cannot take {wrong[0]}\nand here is much advice")
        return frame["x"].to_numpy() * 2

    return SimpleNamespace(predict=predict)


@settings(deadline=None, max_examples=25)
@given(st.sets(st.integers(0, 49), max_size=20))
def test_exactly_the_rows_that_a_model_fails_on_are_set_aside(bad):
    table = pa.table({"x": list(range(50))})
    scored = score_table(picky(*bad), Features(None, table.schema), table, on_bad_rows="quarantine")
    assert [row for row, _ in scored.bad] == sorted(bad)
    assert all(reason == f"ValueError: cannot take {row}" for row, reason in scored.bad)
    assert scored.columns["prediction"].to_pylist() == [2 * x for x in range(50) if x not in bad]


def test_a_model_that_fails_on_everything_is_no_matter_of_rows():
    table = pa.table({"x": [1, 2, 3]})
    with pytest.raises(BadRowsError, match="fails for every row"):
        score_table(picky(1, 2, 3), Features(None, table.schema), table, on_bad_rows="quarantine")
    with pytest.raises(BadRowsError, match="cannot take 2") as raised:
        score_table(picky(2), Features(None, table.schema), table)
    assert raised.value.row == 1


@pytest.mark.parametrize(
    ("column", "type_", "expected"),
    [
        (pa.array(["1", None, "3"]), "double", [1.0, None, 3.0]),
        (pa.array(["1", "2", "3"]), "long", [1, 2, 3]),
        (pa.array(["true", "false", "true"]), "boolean", [True, False, True]),
        (pa.array([1, 2, 3], pa.decimal128(5, 2)), "double", [1.0, 2.0, 3.0]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), "string", ["a", "b", "a"]),
    ],
)
def test_other_kinds_of_values_become_what_the_signature_says(column, type_, expected):
    signature = Signature.from_mlmodel({"inputs": f'[{{"type": "{type_}", "name": "x"}}]'})
    table = pa.table({"x": column})
    frame = signature.enforce(Features(signature, table.schema).of(table))
    assert [None if pd.isna(value) else value for value in frame["x"]] == expected
    other = pa.table({"x": ["1", "two", "3"]})
    if type_ != "string":
        with pytest.raises(SignatureError, match="'x'"):
            signature.enforce(Features(signature, other.schema).of(other))


def test_a_model_of_tensors_gets_the_columns_side_by_side(tmp_path):
    from sklearn.linear_model import LinearRegression

    x = np.arange(8.0).reshape(4, 2)
    save_model(LinearRegression().fit(x, x.sum(axis=1)), tmp_path / "model", input_example=x[:2])
    model = load_model(tmp_path / "model", origin="here")
    table = pa.table({"id": ["a", "b"], "p": [1.0, 2.0], "q": [10.0, 20.0]})
    scored = score_table(model, Features(model.signature, table.schema, ["p", "q"]), table)
    np.testing.assert_allclose(scored.columns["prediction"].to_numpy(), [11.0, 22.0])
    lists = pa.table({"v": [[1.0, 2.0], [3.0, 4.0]]})
    scored = score_table(model, Features(model.signature, lists.schema), lists)
    np.testing.assert_allclose(scored.columns["prediction"].to_numpy(), [3.0, 7.0])


def test_a_damaged_file_is_named(tmp_path):
    pq.write_table(pa.table({"x": [1]}), tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(InvalidInputError, match=r"a\.parquet is no Parquet file"):
        plan_parquet(find_inputs(str(tmp_path)), 10)


def test_a_model_is_loaded_once_in_a_process_whoever_asks_first(model_folder):
    wanted, _, _ = settle_model(str(model_folder), Settings())
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: model_of(wanted), range(16)))
    assert all(each is found[0] for each in found)
    with pytest.raises(CorruptArtifactError, match="has changed since the scoring began"):
        model_of(replace(wanted, digest="sha256:of another"))


def test_files_of_any_cloud_that_artifacts_may_lie_in_are_read(parquet_folder):
    files = fsspec.filesystem("memory")
    files.put(str(parquet_folder), "/lake/", recursive=True)
    try:
        found = find_inputs("memory://lake/**/*.parquet")
        assert [file.size for file in found] == [path.stat().st_size for path in sorted(parquet_folder.iterdir())]
        plan = plan_parquet(found, 300)
        tables = [read_chunk(chunk, ["id"], plan.schema) for chunk in plan.chunks]
        assert pa.concat_tables(tables).column("id").to_pylist() == rows_of(ROWS)["id"].tolist()
        before = [file.digest for file in found]
        files.put(str(parquet_folder / "a.parquet"), found[1].path)
        assert [file.digest == old for file, old in zip(find_inputs("memory://lake/**"), before, strict=True)] == [
            True,
            False,
        ]
    finally:
        files.rm("/lake", recursive=True)
