"""The points of a curve in an order, from behind a point on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from prefect_ml.store.driver import execute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

BY_STEP = ("step", "timestamp", "value", "is_nan")
BY_TIME = ("timestamp", "step", "value", "is_nan")

_KINDS = {"step": int, "timestamp": int, "value": float, "is_nan": bool}
_CURVE = "SELECT step, timestamp, value, is_nan FROM metrics WHERE run = ? AND key = ?"
_BACKWARDS = (
    "SELECT 1 FROM (SELECT timestamp, lag(timestamp) OVER (ORDER BY step, timestamp, value, is_nan) AS before"
    " FROM metrics WHERE run = ? AND key = ?) AS pairs WHERE timestamp < before LIMIT 1"
)

Point = tuple[int, int, float, bool]


class History(NamedTuple):
    """A curve of a run, by the numbers of run and metric."""

    connection: Connection
    run: int
    key: int

    def points(self, order: Sequence[str], behind: Sequence[Any] | None, most: int | None) -> list[Point]:
        """Points as (step, timestamp, value, is_nan): at most so many from behind the given values of the order on.

        Straight from the driver, since there may be a million of them.
        """
        columns = ", ".join(order)
        sql = _CURVE
        parameters: list[Any] = [self.run, self.key]
        if behind is not None:
            sql += f" AND ({columns}) > (?, ?, ?, ?)"
            parameters += behind
        sql += f" ORDER BY {columns}"
        if most is not None:
            sql += " LIMIT ?"
            parameters.append(most)
        found: list[Point] = self._ask(sql, parameters)
        return found

    def goes_back_in_time(self) -> bool:
        """Whether a later step has an earlier time anywhere, so that the two orders differ."""
        return bool(self._ask(_BACKWARDS, [self.run, self.key]))

    def _ask(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        marks = sql if self.connection.dialect.name == "sqlite" else sql.replace("?", "%s")
        return execute(self.connection, marks, parameters)


def kinds(order: Sequence[str]) -> list[type]:
    """The types of an order's values."""
    return [_KINDS[name] for name in order]


def values(order: Sequence[str], point: Point) -> list[Any]:
    """A point's values in an order; SQLite's truth is a number."""
    named = dict(zip(BY_STEP, point, strict=True))
    return [bool(named[name]) if name == "is_nan" else named[name] for name in order]
