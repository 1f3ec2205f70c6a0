"""Fitting whole pandas columns to a type; columns of Python objects are looked at value by value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect_ml.models.casts import EXACT
from prefect_ml.models.values import WHOLE_RANGES, Mismatch, fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect_ml.models.schema import Column, ValueType

DTYPES = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "datetime": "datetime64[ns]",
}
# pandas' own types, which have a null.
_NULLABLE = {"boolean": "boolean", "integer": "Int32", "long": "Int64"}


def make_series(values: Sequence[Any], type_: ValueType) -> Any:
    """A Series of fitted values, in the dtype that MLflow gives the type."""
    import pandas as pd  # noqa: PLC0415 - only when a frame is made

    if type_ == "string":
        try:
            return pd.Series(list(values), dtype="str")
        except UnicodeEncodeError as error:  # half of a surrogate pair, which is no character
            raise Mismatch(type_, error.object) from error
    if not isinstance(type_, str) or type_ == "binary":
        return pd.Series(list(values), dtype="object")
    if type_ == "datetime":
        try:
            return pd.to_datetime(pd.Series(list(values), dtype="object"))
        # Time zones that differ, or a year beyond pandas' reach.
        except (ValueError, TypeError, OverflowError) as error:
            raise Mismatch(type_, next(iter(values))) from error
    if any(value is None for value in values):
        return pd.Series(list(values), dtype={"boolean": "boolean", "integer": "Int32"}.get(type_, "Int64"))
    return pd.Series(list(values), dtype=DTYPES[type_])


def fit_series(column: Column, series: Any) -> Any:
    """The Series itself when it fits, a converted one when nothing is lost."""
    type_, kind = column.type, series.dtype.kind
    if not isinstance(type_, str) or kind == "O":
        return _fit_objects(column, series)
    wanted = DTYPES.get(type_)
    if kind == "f" and type_ in ("integer", "long") and not column.required and series.hasnans:
        return _whole_with_gaps(series, type_)
    if wanted is None or not _convertible(kind, wanted):
        raise Mismatch(type_, _first(series))
    if not wanted.startswith("float") and series.hasnans:
        if column.required:
            raise Mismatch(type_, None)
        wanted = _NULLABLE.get(type_, wanted)
    if kind == "M" or str(series.dtype) in (wanted, _NULLABLE.get(type_)):
        return series  # datetimes of any unit and any zone
    converted = series.astype(wanted)
    _refuse_loss(series, converted, type_)
    return converted


def _whole_with_gaps(series: Any, type_: str) -> Any:
    """Whole numbers as pandas has them beside NaN, in a type that keeps them whole."""
    low, high = WHOLE_RANGES[type_]
    exact = min(high, EXACT.get(str(series.dtype).lower(), 0))
    odd = series[series.notna() & ~((series == series.round()) & (series >= max(low, -exact)) & (series <= exact))]
    if len(odd):
        raise Mismatch(type_, odd.iloc[0])
    return series.astype(_NULLABLE[type_])


def _convertible(kind: str, wanted: str) -> bool:
    if wanted.startswith("float"):
        return kind in "iuf"
    return {"bool": kind == "b", "int32": kind in "iu", "int64": kind in "iu", "datetime64[ns]": kind == "M"}[wanted]


def _refuse_loss(before: Any, after: Any, type_: str) -> None:
    wanted = str(after.dtype)
    if wanted in EXACT and before.dtype.kind in "iu":
        lost = before.abs() > EXACT[wanted]
    else:
        lost = (after.astype(before.dtype) != before) & before.notna()
        if before.dtype.kind == "u" and wanted.startswith("int"):
            lost = lost | (after < 0)
    lost = lost.fillna(value=False)
    if bool(lost.any()):
        raise Mismatch(type_, before[lost].iloc[0])


def _fit_objects(column: Column, series: Any) -> Any:
    """Columns of Python objects, text among them, value by value."""
    dtype = str(series.dtype)
    if column.type == "string" and dtype == "category":
        _refuse_other_text(column, series)
        return series
    if column.type == "string" and dtype in ("str", "string"):
        if column.required and series.hasnans:
            raise Mismatch("string", None)
        return series
    values = series.tolist()
    fitted = fit_values(column, values)
    if column.type in ("string", "binary") or not isinstance(column.type, str):
        same = all(new is old for new, old in zip(fitted, values, strict=True))
        if same or not isinstance(column.type, str):
            return series
    result = make_series(fitted, column.type)
    result.index = series.index
    return result


def _refuse_other_text(column: Column, series: Any) -> None:
    for category in series.cat.categories:
        fit(category, "string")
    if column.required and series.hasnans:
        raise Mismatch("string", None)


def _first(series: Any) -> Any:
    """A value to show: the first that is not null."""
    present = series.dropna()
    if not len(present):
        return None
    value = present.iloc[0]
    return value.item() if hasattr(value, "item") else value


def fit_values(column: Column, values: Sequence[Any]) -> list[Any]:
    fitted = []
    for row, value in enumerate(values):
        try:
            fitted.append(fit(value, column.type, required=column.required))
        except Mismatch as mismatch:
            mismatch.args = (f"{mismatch} in row {row}",)
            raise
    return fitted
