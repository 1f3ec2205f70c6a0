"""Reading a metric of several runs at the same steps, evenly over all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect_ml.errors import InvalidInputError
from prefect_ml.store.curve_samples import ALL_STEPS, find_curve
from prefect_ml.store.metrics import key_number, metric
from prefect_ml.store.names import check_step, check_text
from prefect_ml.store.rows import Rows
from prefect_ml.store.runs import run_row

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

    from prefect_ml.entities import Metric
    from prefect_ml.store.curve_samples import Curve

MAX_RUNS = 1000
MAX_POINTS = 100_000
MAX_ALTOGETHER = 1_000_000


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
        if len(wanted) * max_points > MAX_ALTOGETHER:
            raise InvalidInputError(
                f"{len(wanted)} runs with {max_points:,} points each are too many: at most {MAX_ALTOGETHER:,} points "
                "are sampled at a time; ask for fewer."
            )
        with self.database.read() as connection:
            number = key_number(connection, check_text("The name of a metric", key))
            runs = {run_id: run_row(connection, run_id).id for run_id in wanted}
            found = {
                run_id: find_curve(connection, run, number, max_points, (first, last)) for run_id, run in runs.items()
            }
            curves = {run_id: curve for run_id, curve in found.items() if curve is not None}
            chosen = _chosen_steps(list(curves.values()), max_points)
            return [(run_id, _sampled(connection, key, curve, chosen, max_points)) for run_id, curve in curves.items()]


def _sampled(connection: Connection, key: str, curve: Curve, chosen: Sequence[int], max_points: int) -> list[Metric]:
    """The points of a curve at the chosen steps."""
    if curve.whole:
        wanted = set(chosen)
        return [metric(key, point) for point in curve.points if point.step in wanted]
    return [metric(key, point) for point in curve.near(connection, chosen, max_points)]


def _chosen_steps(curves: Sequence[Curve], max_points: int) -> list[int]:
    """At most `max_points` steps evenly over those of all curves, and the last step of each."""
    if not curves:
        return []
    ends = {curve.end.step for curve in curves}
    if all(curve.whole for curve in curves):
        steps = sorted({point.step for curve in curves for point in curve.points})
        return sorted({*(steps[number] for number in _evenly(len(steps), max_points)), *ends})
    first = min(curve.points[0].step for curve in curves)
    return sorted({*(first + number for number in _evenly(max(ends) + 1 - first, max_points)), *ends})


def _evenly(count: int, most: int) -> Iterable[int]:
    """At most so many of the numbers below `count`."""
    return range(count) if count <= most else (number * count // most for number in range(most))
