"""Frames and series of pandas.

The index does not count: `reset_index()` makes it columns that do. Nor does the order of categories that have none, or
a category without a sampled cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from prefect_ml.errors import InvalidInputError
from prefect_ml.tracking.datasets.numpy import plain
from prefect_ml.tracking.datasets.sampling import MOST_COLUMNS, positions
from prefect_ml.tracking.datasets.table import describe_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect_ml.tracking.datasets.facts import Facts

_MOST_CATEGORIES = 100


def describe(data: Any) -> Facts:
    if isinstance(data, pd.DataFrame):
        return describe_table(_Frame(data, "pandas"))
    if isinstance(data, pd.Series):
        return describe_table(_Frame(data.to_frame(data.name), "pandas.Series"))
    raise InvalidInputError(f"{type(data).__name__} is no frame or series of pandas.")


class _Frame:
    def __init__(self, frame: pd.DataFrame, kind: str) -> None:
        self.kind = kind
        self.names: Sequence[Any] = frame.columns.tolist()
        self._dtypes = frame.dtypes.tolist()
        self.dtypes: Sequence[str] = [_text(dtype) for dtype in self._dtypes]
        self.rows: int | None = len(frame)
        # A number for each column costs more than it tells when there are very many.
        few = len(self.names) <= MOST_COLUMNS
        self.size: int | None = int(frame.memory_usage(index=False).sum()) if few else None
        self._frame = frame

    def cells(self, column: int, rows: Sequence[int]) -> bytes | Sequence[Any]:
        whole: Any = self._frame.iloc[:, column].array
        if isinstance(whole.dtype, pd.ArrowDtype):
            from prefect_ml.tracking.datasets import arrow  # noqa: PLC0415  only Arrow's columns need it

            return arrow.values(whole.__arrow_array__(), rows)
        array = whole.take(list(rows))
        if isinstance(array, pd.Categorical):
            values = array.categories
            ordered = [values[at] for at in positions(len(values), _MOST_CATEGORIES)] if array.ordered else []
            return [array.ordered, len(values), ordered, *array.tolist()]
        if isinstance(array, pd.arrays.NumpyExtensionArray):
            return plain(array.to_numpy())
        if isinstance(array, pd.arrays.DatetimeArray | pd.arrays.TimedeltaArray):
            return plain(np.asarray(array.view("i8")))
        return list(array)

    def never_missing(self, column: int) -> bool:
        dtype = self._dtypes[column]
        return isinstance(dtype, np.dtype) and dtype.kind in "biu"


def _text(dtype: Any) -> str:
    return f"category[{dtype.categories.dtype}]" if isinstance(dtype, pd.CategoricalDtype) else str(dtype)
