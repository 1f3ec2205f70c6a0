"""What replicas count of requests, so that it can be added up over them, and what it says when versions are compared.

Counts are kept in buckets with fixed edges, as in DDSketch (Masson, Rim, Lee: "DDSketch", VLDB 2019): a number is in
the bucket of its magnitude, whose edges are a fixed factor apart. So counts of several processes are added key by key,
and a quantile is exact to that factor.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect_ml.registry.stability import stability_index

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from prefect_ml.entities import EndpointReplica

# Times of 5 % more are in the next bucket, predictions of 2 % more.
_TIME = math.log(1.05)
_VALUE = math.log(1.02)
_SMALLEST, _LARGEST = 1e-9, 1e15
# Different texts, and buckets in all, that are counted one by one; more are counted together. With 20 routes, what a
# replica reports stays below the million characters that the store keeps.
_MOST_TEXTS = 100
_MOST_BUCKETS = 2000
_LONGEST_TEXT = 40
_OTHER = "other"
_ZERO, _NAN, _TEXT = "z", "nan", "t:"
_BINS = 10
# What a standard normal variable stays below in 999 of 1,000 cases.
_NORMAL_999 = 3.0902


@dataclass(frozen=True, slots=True)
class Drift:
    """How far the predictions of two versions are apart.

    Attributes:
        index: the population stability index; 0 when they are alike.
        noise: what chance alone stays below in 999 of 1,000 cases, with so many predictions.
        predictions: of the version that has fewer.
    """

    index: float
    noise: float
    predictions: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """What all replicas of an endpoint counted of routes since they answer by one revision."""

    requests: int
    errors: int
    seconds: Mapping[str, int]
    predictions: Mapping[str, int]
    compared: int
    differing: int

    @property
    def error_rate(self) -> float:
        """Of all requests, how many were not answered 200; 0 without requests."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def p95(self) -> float | None:
        """Seconds below which 95 % of the answers came, to 5 %; None without any."""
        return quantile_of_seconds(self.seconds, 0.95)


def traffic_of(replicas: Iterable[EndpointReplica], uris: Collection[str], revision: int) -> Traffic:
    """What replicas counted of routes under a revision; those that died since count as well."""
    seconds: Counter[str] = Counter()
    predictions: Counter[str] = Counter()
    totals = [0, 0, 0, 0]
    for replica in replicas:
        for report in replica.routes if replica.loaded == revision else ():
            if report.uri in uris:
                seconds.update(report.seconds)
                predictions.update(report.predictions)
                found = (report.requests, report.errors, report.compared, report.differing)
                totals = [total + each for total, each in zip(totals, found, strict=True)]
    requests, errors, compared, differing = totals
    return Traffic(requests, errors, seconds, predictions, compared, differing)


def bucket_of_seconds(seconds: float) -> str:
    """The bucket of a duration."""
    return str(math.ceil(math.log(max(seconds, 1e-6)) / _TIME))


def seconds_of(bucket: str) -> float:
    """The duration in the middle of a bucket."""
    return math.exp((int(bucket) - 0.5) * _TIME)


def quantile_of_seconds(counts: Mapping[str, int], share: float) -> float | None:
    """The duration below which a share of those counted is; None when there are none.

    Args:
        counts: how many are in which bucket.
        share: from 0 to 1.
    """
    wanted = share * sum(counts.values())
    reached = 0
    for bucket, count in sorted(counts.items(), key=lambda each: int(each[0])):
        reached += count
        if reached >= wanted:
            return seconds_of(bucket)
    return None


def add_predictions(counts: dict[str, int], predictions: Sequence[Any]) -> None:
    """Count predictions, one a row: a number by its magnitude, anything else by its text.

    Of several numbers in a row (such as the probabilities of classes), the place of the largest counts; of an object,
    its first value.
    """
    for row in predictions:
        key = _bucket(row)
        if key not in counts and _is_full(counts, key):
            key = _OTHER
        counts[key] = counts.get(key, 0) + 1


def _is_full(counts: Mapping[str, int], key: str) -> bool:
    if len(counts) >= _MOST_BUCKETS:
        return True
    return key.startswith(_TEXT) and sum(known.startswith(_TEXT) for known in counts) >= _MOST_TEXTS


def _bucket(value: Any) -> str:
    match value:
        case bool() | str() | None:
            return f"{_TEXT}{value}"[: _LONGEST_TEXT + len(_TEXT)]
        case int() | float():
            return _number(float(value))
        case dict():
            return _bucket(next(iter(value.values()), None))
        case [only]:
            return _bucket(only)
        case [int() | float(), *_] if all(isinstance(each, int | float) for each in value):
            return f"{_TEXT}[{max(range(len(value)), key=value.__getitem__)}]"
        case _:
            return f"{_TEXT}{type(value).__name__}"


def _number(value: float) -> str:
    if math.isnan(value):
        return _NAN
    size = min(abs(value), _LARGEST)
    if size < _SMALLEST:
        return _ZERO
    return f"{'+' if value > 0 else '-'}{math.floor(math.log(size) / _VALUE)}"


def _order(key: str) -> float:
    """Where the bucket of a number stands among those of all numbers."""
    if key == _ZERO:
        return 0.0
    exponent = int(key[1:])
    # An exponent may be negative, a magnitude is not.
    size = math.exp(exponent * _VALUE)
    return size if key[0] == "+" else -size


def drift(usual: Mapping[str, int], other: Mapping[str, int]) -> Drift | None:
    """How far predictions drifted from the usual ones; None when one side has none.

    The bins of the population stability index are tenths of the usual numbers, and each text by itself. Without drift
    it is distributed as (1/n + 1/m) times a chi-square variable with one degree of freedom less than bins (Yurdakul,
    Naranjo: "Statistical properties of the population stability index", 2020).

    Args:
        usual: how many predictions of the version that is compared with were in which bucket.
        other: the same of the version that is judged.
    """
    n, m = sum(usual.values()), sum(other.values())
    if not n or not m:
        return None
    binned = _binned(usual, other)
    if len(binned) == 1:
        return Drift(0.0, 0.0, min(n, m))
    # Half an observation in each bin, so that an empty one gives no infinity.
    more = 0.5 * len(binned)
    index = stability_index(((expected + 0.5) / (n + more), (found + 0.5) / (m + more)) for expected, found in binned)
    return Drift(index, (1 / n + 1 / m) * chi_square(len(binned) - 1), min(n, m))


def chi_square(degrees: int) -> float:
    """What a chi-square variable stays below in 999 of 1,000 cases, to 4 %.

    By the cube root that is nearly normal (Wilson, Hilferty: "The Distribution of Chi-Square", 1931).
    """
    spread = 2 / (9 * degrees)
    return float(degrees * (1 - spread + _NORMAL_999 * math.sqrt(spread)) ** 3)


def _binned(usual: Mapping[str, int], other: Mapping[str, int]) -> list[tuple[int, int]]:
    """The counts of both in the same bins."""
    keys = set(usual) | set(other)
    texts = sorted(key for key in keys if key in (_OTHER, _NAN) or key.startswith(_TEXT))
    numbers = sorted(keys.difference(texts), key=_order)
    bins: list[list[str]] = [[]]
    total = sum(usual.get(key, 0) for key in numbers)
    filled = 0
    for key in numbers:
        bins[-1].append(key)
        filled += usual.get(key, 0)
        if total and filled * _BINS >= total * len(bins) and len(bins) < _BINS:
            bins.append([])
    groups = [group for group in (*bins, *([text] for text in texts)) if group]
    return [(sum(usual.get(key, 0) for key in group), sum(other.get(key, 0) for key in group)) for group in groups]
