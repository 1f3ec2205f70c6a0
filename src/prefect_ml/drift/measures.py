"""How far two samples of one column are apart.

The population stability index (see `registry/stability.py`) is computed over the tenths of the reference for numbers
with many values, else over the values themselves, nulls being a value of their own.
"""

from __future__ import annotations

import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from prefect_ml.registry.stability import stability_index

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

_BINS = 10
_TINY = 50
# So many of the most frequent values stand for themselves; all others are one.
_MOST_VALUES = 50
# A share of nothing would make any index infinite.
_LEAST_SHARE = 1e-4


class Apart(NamedTuple):
    """How far a column's samples are apart.

    Attributes:
        psi: population stability index, from 0.
        ks: statistic of Kolmogorov and Smirnov, 0 to 1; None for what is not a number.
        p_value: of it: how likely one at least as large is if both are of one distribution; None with `ks`.
    """

    psi: float
    ks: float | None = None
    p_value: float | None = None


def how_far(reference: pa.ChunkedArray, window: pa.ChunkedArray) -> Apart | None:
    """Compare two samples of a column; None for types that have no order and no equality here, as lists.

    Args:
        reference: what was usual; at least one value.
        window: what came of late; at least one value.
    """
    import pyarrow as pa  # noqa: PLC0415 - only those who look for drift pay for its import
    from scipy.stats import ks_2samp  # noqa: PLC0415 - an extra, and slow to import

    kinds = {_kind(reference.type), _kind(window.type)} - {"null"}
    if kinds <= {"number", "boolean"} and "number" in kinds:
        before, after = _numbers(reference), _numbers(window)
        psi = _psi_of_numbers(before, after)
        known, seen = before[~_isnan(before)], after[~_isnan(after)]
        if not len(known) or not len(seen):
            return Apart(psi)
        # The exact way is slow for large samples, the other one wrong for tiny ones.
        tiny = min(len(known), len(seen)) < _TINY
        with warnings.catch_warnings():
            # Of some tiny samples with ties scipy has no exact value, says so, and takes the other one.
            warnings.filterwarnings("ignore", "ks_2samp", RuntimeWarning)
            found = ks_2samp(known, seen, method="exact" if tiny else "asymp")
        return Apart(psi, float(found.statistic), float(found.pvalue))
    if "other" in kinds:
        return None
    texts = pa.string()
    return Apart(_psi_of_values(reference.cast(texts).to_pylist(), window.cast(texts).to_pylist()))


def _kind(type_: pa.DataType) -> str:
    import pyarrow as pa  # noqa: PLC0415

    is_ = pa.types
    if is_.is_null(type_):
        return "null"
    if is_.is_boolean(type_):
        return "boolean"
    if is_.is_integer(type_) or is_.is_floating(type_) or is_.is_decimal(type_) or is_.is_temporal(type_):
        return "other" if is_.is_interval(type_) else "number"
    if is_.is_dictionary(type_):
        return _kind(type_.value_type)
    texts = is_.is_string(type_) or is_.is_large_string(type_) or is_.is_string_view(type_)
    return "text" if texts else "other"


def _numbers(values: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """As doubles, NaN for null; times count in their own units."""
    import pyarrow as pa  # noqa: PLC0415

    if pa.types.is_temporal(values.type):
        wide = pa.types.is_timestamp(values.type) or values.type.bit_width > 32  # noqa: PLR2004 - bits
        values = values.cast(pa.int64() if wide else pa.int32())
    # The nearest double does for a number that none is: only the order of values matters.
    found: np.ndarray[Any, Any] = values.cast(pa.float64(), safe=False).to_numpy()
    return found


def _psi_of_numbers(before: np.ndarray[Any, Any], after: np.ndarray[Any, Any]) -> float:
    import numpy as np  # noqa: PLC0415

    known = before[~_isnan(before)]
    if len(np.unique(known)) <= _BINS:
        return _psi_of_values([_or_null(x) for x in before.tolist()], [_or_null(x) for x in after.tolist()])
    # Values that are there, since what is between a number and infinity is none.
    edges = np.unique(np.sort(known)[[-(-len(known) * tenth // _BINS) - 1 for tenth in range(1, _BINS)]])
    # NaN comes after all edges: a bin of its own is counted apart.
    counts = []
    for values in (before, after):
        null = _isnan(values)
        inside = np.bincount(np.searchsorted(edges, values[~null], side="left"), minlength=len(edges) + 1)
        counts.append(np.append(inside, null.sum()))
    return _psi(*counts)


def _psi_of_values(before: list[Any], after: list[Any]) -> float:
    import numpy as np  # noqa: PLC0415

    counted = Counter(before), Counter(after)
    frequent = [value for value, _ in (counted[0] + counted[1]).most_common(_MOST_VALUES)]
    counts = []
    for each in counted:
        inside = [each[value] for value in frequent]
        counts.append(np.array([*inside, each.total() - sum(inside)]))
    return _psi(*counts)


def _psi(before: np.ndarray[Any, Any], after: np.ndarray[Any, Any]) -> float:
    import numpy as np  # noqa: PLC0415

    there = (before + after) > 0
    shares = (np.maximum(counts[there] / counts.sum(), _LEAST_SHARE).tolist() for counts in (before, after))
    return stability_index(zip(*shares, strict=True))


def _isnan(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import numpy as np  # noqa: PLC0415

    found: np.ndarray[Any, Any] = np.isnan(values)
    return found


def _or_null(value: float) -> float | None:
    return None if value != value else value  # noqa: PLR0124 - only NaN differs from itself
