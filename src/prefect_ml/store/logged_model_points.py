"""Writing points of logged models: the latest of each metric on each data set stays."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from prefect_ml.errors import NotFoundError
from prefect_ml.store.bulk import Bulk
from prefect_ml.store.points import key_numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

    from prefect_ml.entities import ModelMetric

_FIND = Bulk(
    "SELECT model_id, id FROM logged_models WHERE lifecycle_stage = 'active' AND model_id IN (SELECT k FROM {rows})",
    (("k", "text"),),
)
_RAISE_LATEST = Bulk(
    "INSERT INTO logged_model_metrics AS old"
    " (run, model, key, dataset_name, dataset_digest, step, timestamp, value, is_nan)"
    " SELECT {run}, m, k, n, d, s, t, coalesce(v, 0), v IS NULL FROM {rows} WHERE true"
    " ON CONFLICT (model, key, dataset_name, dataset_digest) DO UPDATE SET run = excluded.run, step = excluded.step,"
    " timestamp = excluded.timestamp, value = excluded.value, is_nan = excluded.is_nan"
    " WHERE (excluded.step, excluded.timestamp, excluded.value, excluded.is_nan)"
    " > (old.step, old.timestamp, old.value, old.is_nan)",
    (
        ("m", "bigint"),
        ("k", "bigint"),
        ("n", "text"),
        ("d", "text"),
        ("s", "bigint"),
        ("t", "bigint"),
        ("v", "float8"),
    ),
)


def write_model_points(connection: Connection, run: int, given: Sequence[ModelMetric]) -> None:
    """Note checked points that a run logged of models.

    Raises:
        NotFoundError: there is no such model, or it is deleted.
    """
    if not given:
        return
    models = _model_numbers(connection, {each.model_id for each in given})
    keys = key_numbers(connection, {each.metric.key for each in given})
    _RAISE_LATEST.execute(
        connection,
        run,
        sorted(
            (
                models[each.model_id],
                keys[each.metric.key],
                each.dataset_name,
                each.dataset_digest,
                each.metric.step,
                each.metric.timestamp,
                None if math.isnan(each.metric.value) else each.metric.value,
            )
            for each in _largest(given)
        ),
    )


def no_logged_model(model_id: str) -> NotFoundError:
    return NotFoundError(
        f"Logged model with ID '{model_id}' not found. Check the id, and that this is the store it was created in."
    )


def _model_numbers(connection: Connection, model_ids: Iterable[str]) -> dict[str, int]:
    wanted = sorted(model_ids)
    found: dict[str, int] = dict(_FIND.execute(connection, None, [(model_id,) for model_id in wanted]))
    for model_id in wanted:
        if model_id not in found:
            raise no_logged_model(model_id)
    return found


def _largest(given: Iterable[ModelMetric]) -> Iterable[ModelMetric]:
    """The largest point of each model, metric and data set."""
    largest: dict[tuple[str, ...], ModelMetric] = {}
    for each in given:
        of = (each.model_id, each.metric.key, each.dataset_name, each.dataset_digest)
        if of not in largest or _rank(each) > _rank(largest[of]):
            largest[of] = each
    return largest.values()


def _rank(given: ModelMetric) -> tuple[int, int, float, bool]:
    _, value, timestamp, step = given.metric
    is_nan = math.isnan(value)
    return step, timestamp, 0.0 if is_nan else value, is_nan
