"""Which columns of a DataFrame fit as they are, told in one pass over its types and one over its blocks.

Looking at each column costs more than a small model's prediction: 25 ms for 600 columns of pandas. So only those that
are not plainly right are taken out of the frame, to be converted or named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect_ml.models.series import DTYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prefect_ml.models.schema import Column

# pandas' own types of the same size, which have a null; by the names of their classes.
_ALIKE = {
    "boolean": ("BooleanDtype",),
    "integer": ("Int32Dtype",),
    "long": ("Int64Dtype",),
    "string": ("StringDtype", "CategoricalDtype", "ObjectDType"),
    "datetime": ("DateTime64DType", "DatetimeTZDtype"),
}

# Below this many values, asking pandas costs more than looking.
_FEW = 16


class Glance:
    """Judges frames whose columns are in the order of the signature."""

    def __init__(self, columns: Sequence[Column]) -> None:
        import numpy as np  # noqa: PLC0415 - only needed when there is data

        types = [column.type if isinstance(column.type, str) else "" for column in columns]
        none = np.dtype("V1")  # which no column of a frame has
        self._exact = [np.dtype(DTYPES[t]) if t in DTYPES and t != "datetime" else none for t in types]
        self._alike = [frozenset(_ALIKE.get(t, ())) for t in types]
        self._required = [column.required for column in columns]

    def doubtful(self, frame: Any, dtypes: list[Any]) -> list[int]:
        """The positions of the columns that have to be looked at; the others have their type, and values where needed.

        `dtypes` are the frame's.
        """
        if dtypes == self._exact:
            return []
        plain = zip(dtypes, self._exact, self._alike, strict=True)
        odd = {i for i, (got, want, alike) in enumerate(plain) if type(got).__name__ not in alike and got != want}
        blocks = getattr(getattr(frame, "_mgr", None), "blocks", None)
        if blocks is None:  # a pandas that keeps its columns otherwise
            return [i for i, (got, want) in enumerate(zip(dtypes, self._exact, strict=True)) if i in odd or got != want]
        categories = []
        for block in blocks:
            values = block.values
            if not hasattr(values, "isna") and values.dtype.kind != "O":
                continue  # numbers, whose type says all
            # What pandas itself asks before it looks for nulls, where it is there: Arrow knows their number.
            if not getattr(values, "_hasna", True) and type(values.dtype).__name__ != "CategoricalDtype":
                continue
            positions = block.mgr_locs.as_array.tolist()
            if type(values.dtype).__name__ != "CategoricalDtype":
                odd.update(self._odd_of(positions, values))
            elif values.categories.inferred_type in ("string", "empty"):
                categories.append((positions, values))
            else:
                odd.update(positions)
        # A look at all codes at once, since one at each column takes longer than the rest; -1 is a null.
        if categories and _any_null(values.codes for _, values in categories):
            odd.update(i for positions, values in categories for i in self._odd_of(positions, values))
        return sorted(odd)

    def numeric(self, position: int) -> Any:
        """The numpy dtype of a column of whole or other numbers, None for one of anything else."""
        found = self._exact[position]
        return found if found.kind in "if" else None

    def _odd_of(self, positions: list[int], values: Any) -> Iterable[int]:
        """Those of a block's columns that are doubtful for their values; the block may be of one column or of many."""
        kind = type(values.dtype).__name__
        if kind == "ObjectDType":
            return [i for i, row in zip(positions, values, strict=True) if not _is_text(row)]
        nulls = values.isna()
        if not nulls.any():
            return ()
        found = zip(positions, nulls.any(axis=1).tolist(), strict=True) if nulls.ndim > 1 else ((positions[0], True),)
        return [i for i, null in found if null and self._required[i]]


def _any_null(codes: Iterable[Any]) -> bool:
    import numpy as np  # noqa: PLC0415 - a frame came in, so it is there

    return bool((np.concatenate(list(codes)) < 0).any())


def _is_text(values: Any) -> bool:
    """Whether an array of objects holds text alone, without nulls."""
    if len(values) < _FEW:
        return all(type(value) is str for value in values)
    from pandas.api.types import infer_dtype  # noqa: PLC0415 - a frame came in, so it is there

    return infer_dtype(values, skipna=False) == "string"
