"""Comparisons of a filter as SQL, with the same answers on both databases."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, literal_column

from prefect_ml.entities import LifecycleStage, ViewType
from prefect_ml.errors import InvalidInputError
from prefect_ml.store.names import check_text
from prefect_ml.store.tables import INDEXED_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import ColumnElement, Dialect

_PLAIN: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
# Within the number of parameters that both databases take.
MAX_LIST = 10_000
# In a pattern of SQLite's GLOB these stand for themselves only in brackets.
_GLOB = str.maketrans({"*": "[*]", "?": "[?]", "[": "[[]", "%": "*", "_": "?"})


def compare(dialect: Dialect, column: ColumnElement[Any], sign: str, value: Any) -> ColumnElement[bool]:
    """`column sign value`, where the sign is one of = != < <= > >= LIKE ILIKE IN, NOT IN.

    In patterns `%` stands for any text and `_` for one character, and nothing is an escape. LIKE minds the case;
    ILIKE does not for the letters A to Z. A NULL never matches.
    """
    if isinstance(value, str):
        check_text("A value in a filter", value)
    if sign in _PLAIN:
        result: ColumnElement[bool] = _PLAIN[sign](column, value)
        return result
    if sign in ("IN", "NOT IN"):
        if len(value) > MAX_LIST:
            raise InvalidInputError(
                f"A list in a filter has at most {MAX_LIST} values, got {len(value)}; search in parts."
            )
        values = [check_text("A value in a filter", each) for each in value]
        return column.in_(values) if sign == "IN" else column.not_in(values)
    if dialect.name == "postgresql":
        matches = column.like if sign == "LIKE" else column.ilike
        return matches(value, escape="")
    if sign == "LIKE":
        return column.op("GLOB", is_comparison=True)(value.translate(_GLOB))
    return column.op("LIKE", is_comparison=True)(value)


def compare_indexed(dialect: Dialect, column: ColumnElement[Any], sign: str, value: Any) -> ColumnElement[bool]:
    """The same for a value of a param or tag, whose beginning is indexed."""
    if sign != "=":
        return compare(dialect, column, sign, value)
    beginning = func.substr(column, literal_column("1"), literal_column(str(INDEXED_LENGTH)))
    same = beginning == check_text("A value in a filter", value)[:INDEXED_LENGTH]
    # A short value is its beginning. For a long one the column is made an expression, or else SQLite would put the
    # value in place of the column in the first condition, too, and not find the index.
    return same if len(value) < INDEXED_LENGTH else and_(same, column.concat("") == value)


def one_of(column: ColumnElement[Any], values: Sequence[Any]) -> ColumnElement[bool]:
    """The column has one of the values; for a single one as an equality, which keeps an index's order."""
    return column == values[0] if len(values) == 1 else column.in_(values)


def in_view(stage: ColumnElement[Any], view_type: ViewType) -> list[ColumnElement[bool]]:
    """The conditions on a lifecycle stage that a view stands for."""
    stages = {
        ViewType.ACTIVE_ONLY: [stage == LifecycleStage.ACTIVE],
        ViewType.DELETED_ONLY: [stage == LifecycleStage.DELETED],
        ViewType.ALL: [],
    }
    return stages[ViewType(view_type)]
