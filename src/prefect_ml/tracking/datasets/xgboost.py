"""A `DMatrix` of XGBoost: its shape, the names and types of its features, its labels and some of its rows.

The rows are those that a table's would be. XGBoost gives none of a `QuantileDMatrix` or a matrix that is not in memory;
there a changed value escapes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xgboost

from prefect_ml.errors import InvalidInputError
from prefect_ml.tracking.datasets.facts import Facts
from prefect_ml.tracking.datasets.numpy import describe as describe_array
from prefect_ml.tracking.datasets.sampling import MOST_CELLS, MOST_ROWS, Fingerprint, positions
from prefect_ml.tracking.datasets.table import MOST_DESCRIBED
from prefect_ml.tracking.datasets.types import column_type

if TYPE_CHECKING:
    from collections.abc import Iterator

# XGBoost's words for numbers, quantities and indicators; it keeps all of them as 32-bit floats.
_TYPES = {"int": "int32", "i": "boolean", "c": "category[int32"}


def describe(data: Any) -> Facts:
    if not isinstance(data, xgboost.DMatrix):
        raise InvalidInputError(f"{type(data).__name__} is no DMatrix of XGBoost.")
    rows, columns = data.num_row(), data.num_col()
    fingerprint = Fingerprint("xgboost")
    fingerprint.add(rows, columns)
    for name in (data.feature_names, data.feature_types):
        fingerprint.add(*(name or ()))
    for array in _arrays(data, rows, columns):
        fingerprint.add(describe_array(array).digest)
    return Facts(
        kind="xgboost",
        digest=fingerprint.digest,
        columns=_columns(data) if columns <= MOST_DESCRIBED else None,
        rows=rows,
        columns_count=columns,
        elements=rows * columns,
    )


def _arrays(data: Any, rows: int, columns: int) -> Iterator[Any]:
    """The labels, and the sampled rows as a sparse matrix."""
    yield data.get_label()
    sampled = positions(rows, max(min(MOST_ROWS, MOST_CELLS // max(columns, 1)), 2))
    try:
        found = data.slice(list(sampled), allow_groups=True).get_data()
    except xgboost.core.XGBoostError:
        return
    yield from (found.indptr, found.indices, found.data)


def _columns(data: Any) -> list[dict[str, Any]]:
    names, types = data.feature_names or (), data.feature_types
    return [
        {**column_type(_TYPES.get(types[n], "float32") if types else "float32"), "name": name, "required": False}
        for n, name in enumerate(names)
    ]
