"""Some points of a curve: by seeks in the order of the table where its steps are even, else by counting them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from prefect_ml.store.bulk import Bulk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Row

ALL_STEPS = (-(2**63), 2**63 - 1)

_BEGINNING = text("""
    SELECT step, timestamp, value, is_nan FROM metrics
    WHERE run = :run AND key = :key AND step BETWEEN :first AND :last
    ORDER BY step, timestamp, value, is_nan LIMIT :most
""")
_END = text("""
    SELECT step, timestamp, value, is_nan FROM metrics
    WHERE run = :run AND key = :key AND step BETWEEN :first AND :last
    ORDER BY step DESC, timestamp DESC, value DESC, is_nan DESC LIMIT 1
""")
# Of each stretch of steps, the latest points at the first step that there is.
_FIRST_OF_EACH = Bulk(
    "WITH found AS (SELECT r, k, (SELECT min(step) FROM metrics WHERE run = r AND key = k AND step BETWEEN f AND l)"
    " AS s FROM {rows}), newest AS (SELECT DISTINCT r, k, s, (SELECT max(timestamp) FROM metrics"
    " WHERE run = r AND key = k AND step = s) AS t FROM found WHERE s IS NOT NULL)"
    " SELECT step, timestamp, value, is_nan FROM newest"
    " JOIN metrics ON run = r AND key = k AND step = s AND timestamp = t ORDER BY step, timestamp, value, is_nan",
    (("r", "bigint"), ("k", "bigint"), ("f", "bigint"), ("l", "bigint")),
)
# Of n points numbered from 0, those where floor(number * (k - 1) / (n - 1)) grows are k points, evenly spaced, with
# the first and the last among them.
_EVENLY = text("""
    WITH size AS (
        SELECT count(*) AS n FROM metrics WHERE run = :run AND key = :key AND step BETWEEN :first AND :last
    ),
    numbered AS (
        SELECT step, timestamp, value, is_nan,
               row_number() OVER (ORDER BY step, timestamp, value, is_nan) - 1 AS number
        FROM metrics WHERE run = :run AND key = :key AND step BETWEEN :first AND :last
    )
    SELECT step, timestamp, value, is_nan FROM numbered, size
    WHERE n <= :k OR number = 0
       OR (number * (:k - 1)) / (n - 1) <> ((number - 1) * (:k - 1)) / (n - 1)
    ORDER BY step, timestamp, value, is_nan
""")


class Curve(NamedTuple):
    """The points of a run's metric between two steps.

    Attributes:
        run: number of the run.
        key: number of the metric.
        first: the first step to look at.
        last: the last one.
        points: the points: all of them when `whole`, else the first ones.
        whole: whether they are all.
        end: the last point.
    """

    run: int
    key: int
    first: int
    last: int
    points: Sequence[Row[Any]]
    whole: bool
    end: Row[Any]

    def steps_from(self, count: int) -> list[int]:
        """So many steps evenly over the curve, with its first and its last one."""
        first = self.points[0].step
        return [first + number * (self.end.step - first) // (count - 1) for number in range(count)]

    def near(self, connection: Connection, steps: Sequence[int], count: int) -> list[Sequence[Any]]:
        """A point at each of the given steps, or between it and the next one, and the last point.

        Where that leaves out most of the curve, because most points are near each other, `count` points are taken
        evenly over all of them.
        """
        if self._crowded():
            return self._evenly(connection, count)
        ends = [step - 1 for step in steps[1:]]
        stretches = [(self.run, self.key, *each) for each in zip(steps, [*ends, self.last], strict=True)]
        found: list[Sequence[Any]] = _FIRST_OF_EACH.execute(connection, None, stretches)
        asked = sum(self.points[0].step <= step <= self.end.step for step in steps)
        if len(found) * 2 < asked:
            return self._evenly(connection, count)
        return found if found and tuple(found[-1]) == tuple(self.end) else [*found, self.end]

    def _crowded(self) -> bool:
        """Whether there are many points at one step, as of a run that gives no steps."""
        return len({point.step for point in self.points}) * 2 < len(self.points)

    def _evenly(self, connection: Connection, count: int) -> list[Sequence[Any]]:
        values = {"run": self.run, "key": self.key, "first": self.first, "last": self.last, "k": max(2, count)}
        return list(connection.execute(_EVENLY, values))


def find_curve(
    connection: Connection, run: int, key: int, most: int, steps: tuple[int, int] = ALL_STEPS
) -> Curve | None:
    """The curve, whole when it has at most `most` points; None when it has no point."""
    values = {"run": run, "key": key, "first": steps[0], "last": steps[1]}
    points = connection.execute(_BEGINNING, values | {"most": most + 1}).all()
    if not points:
        return None
    whole = len(points) <= most
    return Curve(run, key, *steps, points, whole, points[-1] if whole else connection.execute(_END, values).one())
