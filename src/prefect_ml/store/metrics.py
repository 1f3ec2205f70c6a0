"""Reading curves: page by page, or sampled."""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from prefect_ml.entities import Metric, Page
from prefect_ml.errors import InvalidInputError
from prefect_ml.store.curve_samples import find_curve
from prefect_ml.store.histories import BY_STEP, BY_TIME, History, kinds, values
from prefect_ml.store.paging import check_page_size, decode_token, encode_token
from prefect_ml.store.rows import Rows
from prefect_ml.store.runs import run_row
from prefect_ml.store.tables import metric_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

_MAX_PAGE = 100_000


class MetricRows(Rows):
    def get_metric_history(
        self,
        run_id: str,
        key: str,
        max_results: int | None = None,
        page_token: str | None = None,
        *,
        by_time: bool = False,
    ) -> Page[Metric]:
        if max_results is not None:
            check_page_size(max_results, _MAX_PAGE)
        search, orders = (run_id, key, by_time), (BY_STEP, BY_TIME)
        part, behind = 0, None
        with self.database.read() as connection:
            history = History(connection, run_row(connection, run_id).id, key_number(connection, key))
            if page_token:
                part, behind = decode_token(search, page_token, [kinds(order) for order in orders])
            most = None if max_results is None else max_results + 1
            points = history.points(orders[part], behind, most)
            follows = max_results is not None and len(points) > max_results
            if by_time and not page_token and not follows:
                points.sort(key=lambda point: (point[1], *point))
            elif by_time and not page_token and history.goes_back_in_time():
                part = 1
                points = history.points(orders[part], None, most)
        page = [
            Metric(key, math.nan if is_nan else value, timestamp, step)
            for step, timestamp, value, is_nan in islice(points, max_results)
        ]
        token = encode_token(search, values(orders[part], points[len(page) - 1]), part) if follows else None
        return Page(page, token)

    def sample_metric_history(self, run_id: str, key: str, max_points: int) -> Sequence[Metric]:
        if type(max_points) is not int or max_points < 2:  # noqa: PLR2004  the first and the last
            raise InvalidInputError(f"max_points must be an integer of at least 2, got {max_points!r}.")
        with self.database.read() as connection:
            curve = find_curve(connection, run_row(connection, run_id).id, key_number(connection, key), max_points)
            if curve is None or curve.whole:
                return [] if curve is None else [metric(key, row) for row in curve.points]
            rows = curve.near(connection, curve.steps_from(max_points), max_points)
            return [metric(key, row) for row in rows]


def key_number(connection: Connection, key: str) -> int:
    """The number of a metric name; -1, which no curve has, when it was never logged."""
    number = connection.execute(select(metric_keys.c.id).where(metric_keys.c.name == key)).scalar()
    return -1 if number is None else int(number)


def metric(key: str, row: Sequence[Any]) -> Metric:
    step, timestamp, value, is_nan = row
    return Metric(key, math.nan if is_nan else value, timestamp, step)
