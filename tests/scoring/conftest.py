"""A model that is saved once, and data to score."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LinearRegression

from prefect_ml.models.folder import save_model

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
from customers import ROWS, expected, rows_of


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    frame = rows_of(50)
    model = LinearRegression().fit(frame[["size", "age"]], expected(frame))
    folder = tmp_path_factory.mktemp("models") / "linear"
    save_model(model, folder, input_example=frame[["size", "age"]].head(2))
    return folder


@pytest.fixture
def parquet_folder(tmp_path):
    """Two files, in row groups of 90, whose columns come in another order and of another width."""
    folder = tmp_path / "input"
    folder.mkdir()
    frame = rows_of(ROWS)
    pq.write_table(pa.Table.from_pandas(frame[:600]), folder / "a.parquet", row_group_size=90)
    second = pa.Table.from_pandas(frame[600:][["age", "id", "size"]].astype({"age": "int32"}), preserve_index=False)
    pq.write_table(second, folder / "b.parquet", row_group_size=90)
    return folder
