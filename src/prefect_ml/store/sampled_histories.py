"""Reading a metric of several runs at the same steps, evenly over all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from prefect_ml.errors import InvalidInputError
from prefect_ml.store.bulk import Bulk
from prefect_ml.store.metrics import ALL_STEPS, key_number, metric, sample_rows
from prefect_ml.store.names import check_step, check_text
from prefect_ml.store.rows import Rows
from prefect_ml.store.runs import run_row

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, Row

    from prefect_ml.entities import Metric

MAX_RUNS = 1000
MAX_POINTS = 100_000

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
# Of each stretch of steps, the latest point at the first step that there is: some seeks in the order of the table,
# however long the curve.
_FIRST_OF_EACH = Bulk(
    "WITH found AS (SELECT r, k, (SELECT min(step) FROM metrics WHERE run = r AND key = k AND step BETWEEN f AND l)"
    " AS s FROM {rows}), newest AS (SELECT DISTINCT r, k, s, (SELECT max(timestamp) FROM metrics"
    " WHERE run = r AND key = k AND step = s) AS t FROM found WHERE s IS NOT NULL)"
    " SELECT step, timestamp, value, is_nan FROM newest"
    " JOIN metrics ON run = r AND key = k AND step = s AND timestamp = t ORDER BY step, timestamp, value, is_nan",
    (("r", "bigint"), ("k", "bigint"), ("f", "bigint"), ("l", "bigint")),
)


class _Curve(NamedTuple):
    """A run's points of the metric: all of them when `whole`, else the first ones; and its last one."""

    run: int
    points: Sequence[Row[Any]]
    whole: bool
    last: Row[Any]

    @property
    def crowded(self) -> bool:
        """Whether there are many points at one step, as of a run that gives no steps."""
        return len({point.step for point in self.points}) * 2 < len(self.points)


class SampledHistoryRows(Rows):
    def sample_metric_histories(
        self, run_ids: Sequence[str], key: str, steps: tuple[int, int] | None, max_points: int
    ) -> Sequence[tuple[str, Sequence[Metric]]]:
        """See `RunStore`; a curve of more than `max_points` points is looked at at evenly spaced steps."""
        if type(max_points) is not int or not 1 <= max_points <= MAX_POINTS:
            raise InvalidInputError(f"max_points must be an integer from 1 to {MAX_POINTS}, got {max_points!r}.")
        first, last = (check_step("A step", step) for step in steps or ALL_STEPS)
        wanted = sorted({check_text("A run id", run_id) for run_id in run_ids})
        if len(wanted) > MAX_RUNS:
            raise InvalidInputError(f"Points are sampled of at most {MAX_RUNS} runs, got {len(wanted)}.")
        with self.database.read() as connection:
            within = _Range(connection, key_number(connection, check_text("The name of a metric", key)), first, last)
            numbers = {run_id: run_row(connection, run_id).id for run_id in wanted}
            found = {run_id: within.curve(number, max_points) for run_id, number in numbers.items()}
            curves = {run_id: curve for run_id, curve in found.items() if curve is not None}
            chosen = _chosen_steps(list(curves.values()), max_points)
            return [
                (run_id, [metric(key, point) for point in within.sampled(curve, chosen, max_points)])
                for run_id, curve in curves.items()
            ]


class _Range(NamedTuple):
    """The points of one metric from a first to a last step."""

    connection: Connection
    key: int
    first: int
    last: int

    def curve(self, run: int, max_points: int) -> _Curve | None:
        values = {"run": run, "key": self.key, "first": self.first, "last": self.last}
        points = self.connection.execute(_BEGINNING, values | {"most": max_points + 1}).all()
        if len(points) <= max_points:
            return _Curve(run, points, whole=True, last=points[-1]) if points else None
        return _Curve(run, points, whole=False, last=self.connection.execute(_END, values).one())

    def sampled(self, curve: _Curve, chosen: Sequence[int], max_points: int) -> list[Sequence[Any]]:
        """The points of a curve at the chosen steps, and the last."""
        if curve.whole:
            wanted = set(chosen)
            found: list[Sequence[Any]] = [point for point in curve.points if point.step in wanted]
        elif curve.crowded:
            steps = (self.first, self.last)
            found = list(sample_rows(self.connection, curve.run, self.key, steps, max(2, max_points)))
        else:
            ends = [step - 1 for step in chosen[1:]]
            stretches = [(curve.run, self.key, *each) for each in zip(chosen, [*ends, self.last], strict=True)]
            found = _FIRST_OF_EACH.execute(self.connection, None, stretches)
        return found if found and tuple(found[-1]) == tuple(curve.last) else [*found, curve.last]


def _chosen_steps(curves: Sequence[_Curve], max_points: int) -> list[int]:
    """At most `max_points` steps evenly over those of all curves, and the last step of each."""
    if not curves:
        return []
    ends = {curve.last.step for curve in curves}
    if all(curve.whole for curve in curves):
        steps = sorted({point.step for curve in curves for point in curve.points})
        return sorted({*(steps[number] for number in _evenly(len(steps), max_points)), *ends})
    first = min(curve.points[0].step for curve in curves)
    return sorted({*(first + number for number in _evenly(max(ends) + 1 - first, max_points)), *ends})


def _evenly(count: int, most: int) -> Iterable[int]:
    """At most so many of the numbers below `count`."""
    return range(count) if count <= most else (number * count // most for number in range(most))
