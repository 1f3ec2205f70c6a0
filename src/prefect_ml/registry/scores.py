"""How good predictions are, for one set of rows or for thousands of resamples of it at once.

Each metric is a function of the weights of the rows: ones give the metric itself, the counts of a resample the metric
of that resample. Definitions are scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from prefect_ml.errors import InvalidInputError

Needs = Literal["label", "number", "score", "chance"]
Numbers = NDArray[np.float64]
# Weights of the rows, one row of numbers a resample, to the metric of each resample; NaN where it has none.
Scorer = Callable[[Numbers], Numbers]

_MOST_CLASSES = 200
# Weights that are in memory at a time, in numbers.
_CHUNK = 1 << 22
_SMALLEST_CHANCE = float(np.finfo(np.float64).eps)


class Kind(NamedTuple):
    """What a metric needs of a model, and whether more of it is better."""

    needs: Needs
    more_is_better: bool


KINDS = {
    "accuracy": Kind("label", True),
    "f1": Kind("label", True),
    "precision": Kind("label", True),
    "recall": Kind("label", True),
    "auc": Kind("score", True),
    "log_loss": Kind("chance", False),
    "mae": Kind("number", False),
    "rmse": Kind("number", False),
    "r2": Kind("number", True),
}


class Gain(NamedTuple):
    """How much better the candidate is, with the interval that its resamples lie in.

    Attributes:
        value: of the whole set.
        lower: the interval's lower end.
        upper: the interval's upper end.
        undefined: resamples for which the metric has no value, which are left out.
    """

    value: float
    lower: float
    upper: float
    undefined: int


def scorer(metric: str, truth: NDArray[Any], predicted: NDArray[Any], positive: Any = None) -> Scorer:
    """The metric of predictions as a function of the weights of the rows.

    Args:
        metric: a key of `KINDS`.
        truth: the labels.
        predicted: labels, numbers, scores of the positive label (auc) or chances of the true label (log_loss).
        positive: the positive label; the greater one of two when None. With more labels, f1, precision and recall are
            means over the labels.

    Raises:
        InvalidInputError: the labels do not suit the metric.
    """
    if metric in ("mae", "rmse", "r2"):
        return _numeric(metric, _numbers(truth, "label"), _numbers(predicted, "prediction"))
    if metric == "auc":
        is_positive = alike(truth, _positive(truth, positive))
        return _auc(is_positive.astype(np.float64), _numbers(predicted, "score"))
    if metric == "log_loss":
        losses = -np.log(np.clip(_numbers(predicted, "probability"), _SMALLEST_CHANCE, 1.0))
        return _mean(losses)
    truth, predicted = comparable(truth, predicted)
    if metric == "accuracy":
        return _mean((truth == predicted).astype(np.float64))
    return _by_label(metric, truth, predicted, positive)


def value_of(score: Scorer, rows: int) -> float:
    """The metric of all rows."""
    return float(score(np.ones((1, rows)))[0])


def bootstrap(
    candidate: Scorer,
    champion: Scorer,
    rows: int,
    *,
    more_is_better: bool,
    resamples: int,
    confidence: float,
    seed: int,
) -> Gain:
    """Resample the rows, the same ones for both, and see where the gain lies.

    Raises:
        InvalidInputError: the metric has no value for most resamples.
    """
    sign = 1.0 if more_is_better else -1.0
    gains = np.concatenate([sign * (candidate(w) - champion(w)) for w in _resampled(rows, resamples, seed)])
    known = gains[np.isfinite(gains)]
    if known.size <= resamples // 2:
        raise InvalidInputError(
            f"The metric has no value for {resamples - known.size} of {resamples} resamples; give more rows."
        )
    outside = (1.0 - confidence) / 2.0
    lower, upper = np.quantile(known, [outside, 1.0 - outside])
    value = sign * (value_of(candidate, rows) - value_of(champion, rows))
    return Gain(value, float(lower), float(upper), int(resamples - known.size))


def comparable(one: NDArray[Any], other: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Two arrays of labels as numbers when both are, else as text."""
    if one.dtype.kind in "biuf" and other.dtype.kind in "biuf":
        return one.astype(np.float64), other.astype(np.float64)
    return one.astype(str), other.astype(str)


def alike(labels: NDArray[Any], label: Any) -> NDArray[np.bool_]:
    """Which labels are this one."""
    many, one = comparable(labels, np.asarray([label]))
    found: NDArray[np.bool_] = many == one[0]
    return found


def _positive(truth: NDArray[Any], positive: Any) -> Any:
    if positive is not None:
        return positive
    labels = np.unique(truth if truth.dtype.kind in "biuf" else truth.astype(str))
    if len(labels) != 2:  # noqa: PLR2004 - positive and negative
        raise InvalidInputError(
            f"The set has {len(labels)} labels, and this metric needs two; name the `positive` one."
        )
    return labels[1]


def _numbers(values: NDArray[Any], what: str) -> Numbers:
    try:
        found = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"A {what} is no number ({error}); choose a metric for labels.") from error
    if not np.isfinite(found).all():
        raise InvalidInputError(f"{int((~np.isfinite(found)).sum())} of {found.size} {what}s are NaN or infinite.")
    return found


def _mean(values: Numbers) -> Scorer:
    return lambda weights: (weights @ values) / weights.sum(axis=1)


def _numeric(metric: str, truth: Numbers, predicted: Numbers) -> Scorer:
    errors = truth - predicted
    if metric == "mae":
        return _mean(np.abs(errors))
    squared = _mean(errors**2)
    if metric == "rmse":
        return lambda weights: np.sqrt(squared(weights))
    # Around the mean, so that large values lose no digits.
    around = truth - truth.mean()
    first, second = _mean(around), _mean(around**2)

    def r2(weights: Numbers) -> Numbers:
        spread = second(weights) - first(weights) ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(spread > 0, 1.0 - squared(weights) / spread, np.nan)

    return r2


def _auc(positive: Numbers, scores: Numbers) -> Scorer:
    order = np.argsort(scores, kind="stable")
    ranked, positive = scores[order], positive[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))

    def auc(weights: Numbers) -> Numbers:
        ordered = weights[:, order]
        ones = np.add.reduceat(ordered * positive, starts, axis=1)
        zeros = np.add.reduceat(ordered * (1.0 - positive), starts, axis=1)
        below = np.cumsum(zeros, axis=1) - zeros
        pairs = ones.sum(axis=1) * zeros.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(pairs > 0, (ones * (below + 0.5 * zeros)).sum(axis=1) / pairs, np.nan)

    return auc


def _by_label(metric: str, truth: NDArray[Any], predicted: NDArray[Any], positive: Any) -> Scorer:
    labels = np.unique(np.concatenate([truth, predicted]))
    if positive is not None:
        labels = labels[alike(labels, positive)]
        if not labels.size:
            raise InvalidInputError(f"Neither the set nor a prediction has the positive label {positive!r}.")
    elif len(labels) == 2:  # noqa: PLR2004 - positive and negative
        labels = labels[1:]
    if len(labels) > _MOST_CLASSES:
        raise InvalidInputError(f"There are {len(labels)} labels; {metric} takes at most {_MOST_CLASSES}.")
    actual = (truth[:, None] == labels[None, :]).astype(np.float64)
    said = (predicted[:, None] == labels[None, :]).astype(np.float64)
    hits = actual * said

    def score(weights: Numbers) -> Numbers:
        hit, is_one, is_said = weights @ hits, weights @ actual, weights @ said
        whole = {"precision": is_said, "recall": is_one, "f1": (is_said + is_one) / 2.0}[metric]
        # As in scikit-learn, a label that is neither there nor predicted counts as 0.
        each = np.divide(hit, whole, out=np.zeros_like(hit), where=whole > 0)
        mean: Numbers = each.mean(axis=1)
        return mean

    return score


def _resampled(rows: int, resamples: int, seed: int) -> Iterator[Numbers]:
    """How often each row is in each resample, a bounded number of resamples at a time."""
    generator = np.random.default_rng(seed)
    at_once = max(1, min(resamples, _CHUNK // rows))
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        drawn = generator.integers(0, rows, (count, rows)) + np.arange(count)[:, None] * rows
        yield np.bincount(drawn.ravel(), minlength=count * rows).reshape(count, rows).astype(np.float64)
