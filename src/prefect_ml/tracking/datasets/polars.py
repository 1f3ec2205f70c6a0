"""Frames and series of polars; a lazy frame is not computed, so its digest is that of its schema alone.

Polars reads that schema where it knows it from: of a scanned file, at the file's place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from prefect_ml.errors import InvalidInputError
from prefect_ml.tracking.datasets.cells import MOST_ITEMS
from prefect_ml.tracking.datasets.sampling import positions
from prefect_ml.tracking.datasets.table import describe_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect_ml.tracking.datasets.facts import Facts


def describe(data: Any) -> Facts:
    try:
        return _facts(data)
    except pl.exceptions.PanicException as error:
        # Of the family of KeyboardInterrupt, which would end the program.
        raise InvalidInputError(f"polars failed: {error}") from error


def _facts(data: Any) -> Facts:
    if isinstance(data, pl.LazyFrame):
        return describe_table(_Lazy(data))
    if isinstance(data, pl.DataFrame):
        return describe_table(_Frame(data, "polars"))
    if isinstance(data, pl.Series):
        return describe_table(_Frame(pl.DataFrame([data]), "polars.Series"))
    raise InvalidInputError(f"{type(data).__name__} is no frame or series of polars.")


class _Lazy:
    kind = "polars.LazyFrame"
    rows: int | None = None
    size: int | None = None

    def __init__(self, frame: pl.LazyFrame) -> None:
        schema = frame.collect_schema()
        self.names: Sequence[Any] = list(schema)
        self.dtypes: Sequence[str] = [_text(dtype) for dtype in schema.values()]

    def cells(self, column: int, rows: Sequence[int]) -> Sequence[Any]:
        raise InvalidInputError(f"Column {column} is not computed yet, so there are no rows {rows}.")

    def never_missing(self, column: int) -> bool:
        return column < 0


class _Frame:
    def __init__(self, frame: pl.DataFrame, kind: str) -> None:
        self.kind = kind
        self.names: Sequence[Any] = frame.columns
        self.dtypes: Sequence[str] = [_text(dtype) for dtype in frame.dtypes]
        self.rows: int | None = frame.height
        self.size: int | None = int(frame.estimated_size())
        self._frame = frame

    def cells(self, column: int, rows: Sequence[int]) -> Sequence[Any]:
        series = self._frame.to_series(column)
        if series.dtype.is_temporal():
            series = series.to_physical()
        if series.dtype.is_nested() or series.dtype == pl.Object:
            return [_bounded(series[row]) for row in rows]
        return series.gather(list(rows)).to_list()

    def never_missing(self, column: int) -> bool:
        # Each type of polars has missing values.
        return column < 0


def _bounded(value: Any) -> Any:
    """A nested value, of whose lists few items are looked at."""
    if isinstance(value, pl.Series):
        return len(value), [_bounded(value[at]) for at in positions(len(value), MOST_ITEMS)]
    return {key: _bounded(item) for key, item in value.items()} if isinstance(value, dict) else value


def _text(dtype: Any) -> str:
    return "object" if dtype == pl.Object else str(dtype)
