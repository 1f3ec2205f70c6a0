"""The footer of a Parquet file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from prefect_ml.tracking.datasets.types import column_type

if TYPE_CHECKING:
    from pathlib import Path


def read_footer(path: Path) -> tuple[list[dict[str, Any]], int]:
    """MLflow's JSON of the columns, and the number of rows."""
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        columns = [
            {**column_type(str(field.type)), "name": field.name, "required": not field.nullable} for field in schema
        ]
        return columns, file.metadata.num_rows
