"""Columns that a booster was trained on as categories; they reach it as plain values, since no signature has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect_ml.models.infer import data_kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def as_categories(data: Any, columns: Mapping[int, Sequence[Any] | None]) -> Any:
    """The frame with these columns as categories; anything else, and columns that are categories, stay as they are.

    Args:
        data: what is to be predicted on.
        columns: the categories of each column by its position; None takes those that occur.
    """
    if not columns or data_kind(data) != "frame" or max(columns) >= data.shape[1]:
        return data
    import pandas as pd  # noqa: PLC0415 - a frame came in

    plain = [at for at in columns if not isinstance(data.dtypes.iloc[at], pd.CategoricalDtype)]
    if not plain:
        return data
    fitted = data.copy(deep=False)
    for at in plain:
        known = columns[at]
        dtype = pd.CategoricalDtype(None if known is None else list(known))
        fitted.isetitem(at, data.iloc[:, at].astype(dtype))
    return fitted
