"""Making a DataFrame of fitted values, many columns of a type at once: pandas takes its time for each single one."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from prefect_ml.models.series import DTYPES, make_series
from prefect_ml.models.values import Mismatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect_ml.models.schema import Column, ValueType

_TOGETHER = frozenset({"boolean", "integer", "long", "float", "double", "string"})


def make_frame(
    columns: Sequence[Column], fitted: Sequence[Sequence[Any]], length: int
) -> tuple[Any, dict[int, Mismatch]]:
    """A DataFrame of numbered columns, and what pandas cannot hold, by position.

    Args:
        columns: of the signature.
        fitted: their values, as `fit` gives them.
        length: of each.
    """
    import pandas as pd  # noqa: PLC0415 - only when a frame is made

    groups: dict[ValueType, list[int]] = defaultdict(list)
    alone: list[int] = []
    for position, (column, values) in enumerate(zip(columns, fitted, strict=True)):
        known = isinstance(column.type, str) and column.type in _TOGETHER
        if known and (column.type in ("float", "double") or None not in values):
            groups[column.type].append(position)
        else:
            alone.append(position)
    wrong: dict[int, Mismatch] = {}
    parts, order = [], []
    for type_, positions in groups.items():
        try:
            parts.append(_block(type_, [fitted[i] for i in positions], length))
            order += positions
        except UnicodeEncodeError:
            alone += positions  # where the one that has it is named
    for position in alone:
        try:
            parts.append(make_series(fitted[position], columns[position].type).to_frame())
            order.append(position)
        except Mismatch as mismatch:
            wrong[position] = mismatch
    if wrong or not parts:
        return pd.DataFrame(index=pd.RangeIndex(length)), wrong
    frame = parts[0] if len(parts) == 1 else pd.concat(parts, axis=1)
    frame.columns = order
    return (frame if order == sorted(order) else frame[sorted(order)]), wrong


def _block(type_: ValueType, columns: list[Sequence[Any]], length: int) -> Any:
    """The columns of one type as a DataFrame, numbered from 0."""
    import numpy as np  # noqa: PLC0415 - only when a frame is made
    import pandas as pd  # noqa: PLC0415 - only when a frame is made

    if type_ != "string":
        return pd.DataFrame(np.array(columns, dtype=DTYPES[str(type_)]).reshape(len(columns), length).T)
    whole = pd.Series([value for values in columns for value in values], dtype="str").array
    return pd.DataFrame({i: whole[i * length : (i + 1) * length] for i in range(len(columns))}, copy=False)
