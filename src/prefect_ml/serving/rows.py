"""How many rows data has."""

from __future__ import annotations

from typing import Any

from prefect_ml.models.infer import data_kind


def count_rows(data: Any) -> int:
    """The rows of a table, array, list of rows or dict of columns; 1 for anything else."""
    if isinstance(data, dict):
        lengths = {len(value) for value in data.values() if isinstance(value, list) or data_kind(value) == "array"}
        return lengths.pop() if len(lengths) == 1 else 1
    if isinstance(data, list) or data_kind(data):
        shape = getattr(data, "shape", None)
        return (int(shape[0]) if shape else 1) if shape is not None else len(data)
    return 1
