"""Reading curves: page by page, or sampled."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sqlalchemy import literal, select, text, tuple_

from prefect_ml.entities import Metric, Page
from prefect_ml.errors import InvalidInputError
from prefect_ml.store.paging import check_page_size, decode_token, encode_token
from prefect_ml.store.rows import Rows
from prefect_ml.store.runs import run_row
from prefect_ml.store.tables import metric_keys, metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Row, Select

_MAX_PAGE = 100_000
_ORDER = (metrics.c.step, metrics.c.timestamp, metrics.c.value, metrics.c.is_nan)
_KINDS = (int, int, float, bool)

# Of n points numbered from 0, those where floor(number * (k - 1) / (n - 1)) grows are k points, evenly spaced, with
# the first and the last among them.
_SAMPLE = text("""
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


ALL_STEPS = (-(2**63), 2**63 - 1)


class MetricRows(Rows):
    def get_metric_history(
        self, run_id: str, key: str, max_results: int | None = None, page_token: str | None = None
    ) -> Page[Metric]:
        if max_results is not None:
            check_page_size(max_results, _MAX_PAGE)
        with self.database.read() as connection:
            query = _curve(connection, run_id, key).order_by(*_ORDER)
            if page_token:
                _, last = decode_token((run_id, key), page_token, [_KINDS])
                literals = [literal(value, column.type) for value, column in zip(last, _ORDER, strict=True)]
                query = query.where(tuple_(*_ORDER) > tuple_(*literals))
            if max_results is None:
                return Page([metric(key, row) for row in connection.execute(query)])
            rows = connection.execute(query.limit(max_results + 1)).all()
        page = [metric(key, row) for row in rows[:max_results]]
        follows = len(rows) > max_results
        return Page(page, encode_token((run_id, key), rows[max_results - 1]) if follows else None)

    def sample_metric_history(self, run_id: str, key: str, max_points: int) -> Sequence[Metric]:
        if type(max_points) is not int or max_points < 2:  # noqa: PLR2004  the first and the last
            raise InvalidInputError(f"max_points must be an integer of at least 2, got {max_points!r}.")
        with self.database.read() as connection:
            run = run_row(connection, run_id).id
            rows = sample_rows(connection, run, key_number(connection, key), ALL_STEPS, max_points)
            return [metric(key, row) for row in rows]


def sample_rows(
    connection: Connection, run: int, key: int, steps: tuple[int, int], max_points: int
) -> Sequence[Row[Any]]:
    """At least 2 points evenly over those of a curve between two steps, with the first and the last."""
    values = {"run": run, "key": key, "first": steps[0], "last": steps[1], "k": max_points}
    return connection.execute(_SAMPLE, values).all()


def _curve(connection: Connection, run_id: str, key: str) -> Select[Any]:
    run = run_row(connection, run_id).id
    mine = (metrics.c.run == run) & (metrics.c.key == key_number(connection, key))
    return select(*_ORDER).where(mine)


def key_number(connection: Connection, key: str) -> int:
    """The number of a metric name; -1, which no curve has, when it was never logged."""
    number = connection.execute(select(metric_keys.c.id).where(metric_keys.c.name == key)).scalar()
    return -1 if number is None else int(number)


def metric(key: str, row: Sequence[Any]) -> Metric:
    step, timestamp, value, is_nan = row
    return Metric(key, math.nan if is_nan else value, timestamp, step)
