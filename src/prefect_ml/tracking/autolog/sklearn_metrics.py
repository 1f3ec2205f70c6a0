"""Metrics of a fitted estimator on the data that it was fitted on; the names are those of MLflow's autologging."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from prefect_ml.tracking.autolog.contract import MOST_METRIC_ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

logger = logging.getLogger(__name__)

_BINARY = 2


class _Rows(NamedTuple):
    x: Any
    y: Any
    weights: Any


def training_metrics(estimator: Any, x: Any, y: Any, weights: Any, *, note: Callable[[str], None]) -> dict[str, float]:
    """Metrics of a classifier or regressor by scikit-learn's own functions, weighted as the fit was.

    Args:
        estimator: fitted.
        x: what it was fitted on.
        y: the targets; without them there are no metrics.
        weights: weights of the rows, or None.
        note: told when not all rows are used.

    Precision, recall, F1 and area are averages over the classes, weighted by how often they occur; the area of more
    than two classes is one against the rest. What does not apply to an estimator or its targets is left out.
    """
    from sklearn.base import is_classifier, is_regressor  # noqa: PLC0415 - the estimator's own library

    if y is None or not (hasattr(x, "shape") or hasattr(x, "__len__")) or not hasattr(estimator, "predict"):
        return {}
    kind = _classification if is_classifier(estimator) else _regression if is_regressor(estimator) else None
    if kind is None:
        return {}
    rows = _some(_Rows(x, y, weights), note)
    found = {}
    for name, compute in kind(estimator, rows):
        try:
            found[f"training_{name}"] = float(compute())
        except (ValueError, TypeError) as error:
            logger.debug("No %s of this %s: %s", name, type(estimator).__name__, error)
    return found


def _some(rows: _Rows, note: Callable[[str], None]) -> _Rows:
    from sklearn.utils import _safe_indexing  # noqa: PLC0415 - the estimator's own library

    count = rows.x.shape[0] if hasattr(rows.x, "shape") else len(rows.x)
    if count <= MOST_METRIC_ROWS:
        return rows
    every = -(-count // MOST_METRIC_ROWS)
    chosen = list(range(0, count, every))
    note(f"metrics on {len(chosen)} of {count} rows")
    return _Rows(*(None if part is None else _safe_indexing(part, chosen) for part in rows))


def _classification(estimator: Any, rows: _Rows) -> Iterator[tuple[str, Callable[[], float]]]:
    from sklearn import metrics  # noqa: PLC0415 - the estimator's own library

    y, weighted = rows.y, {"sample_weight": rows.weights}
    predicted = estimator.predict(rows.x)
    averaged = {**weighted, "average": "weighted", "zero_division": 0}
    yield "accuracy_score", lambda: metrics.accuracy_score(y, predicted, **weighted)
    yield "precision_score", lambda: metrics.precision_score(y, predicted, **averaged)
    yield "recall_score", lambda: metrics.recall_score(y, predicted, **averaged)
    yield "f1_score", lambda: metrics.f1_score(y, predicted, **averaged)
    if not hasattr(estimator, "predict_proba") or getattr(estimator, "classes_", None) is None:
        return
    chances = estimator.predict_proba(rows.x)
    yield "log_loss", lambda: metrics.log_loss(y, chances, labels=estimator.classes_, **weighted)
    if len(estimator.classes_) == _BINARY:
        yield "roc_auc", lambda: metrics.roc_auc_score(y, chances[:, 1], **weighted)
    elif len(estimator.classes_) > _BINARY:
        options = {**weighted, "multi_class": "ovr", "average": "weighted", "labels": estimator.classes_}
        yield "roc_auc", lambda: metrics.roc_auc_score(y, chances, **options)


def _regression(estimator: Any, rows: _Rows) -> Iterator[tuple[str, Callable[[], float]]]:
    from sklearn import metrics  # noqa: PLC0415 - the estimator's own library

    y, weighted = rows.y, {"sample_weight": rows.weights}
    predicted = estimator.predict(rows.x)
    yield "mean_squared_error", lambda: metrics.mean_squared_error(y, predicted, **weighted)
    yield "root_mean_squared_error", lambda: metrics.mean_squared_error(y, predicted, **weighted) ** 0.5
    yield "mean_absolute_error", lambda: metrics.mean_absolute_error(y, predicted, **weighted)
    yield "r2_score", lambda: metrics.r2_score(y, predicted, **weighted)
