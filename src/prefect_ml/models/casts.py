"""Casting many numeric columns of a DataFrame at once, where nothing is lost."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The whole numbers up to which each float holds all of them.
EXACT = {"float32": 2**24, "float64": 2**53}
# Below this many columns of a kind, one after the other is as quick.
_MANY = 4


def cast_many(frame: Any, dtypes: Sequence[Any], wanted: Mapping[int, Any]) -> tuple[Any, set[int]]:
    """The frame with columns of the same numeric dtype cast together, and the positions that are done.

    Columns of a group of which any loses something are left as they are, to be named one by one.

    Args:
        frame: a DataFrame.
        dtypes: of its columns.
        wanted: numpy dtypes by the positions of the columns that have another one.
    """
    groups: dict[tuple[Any, Any], list[int]] = defaultdict(list)
    for position, dtype in wanted.items():
        groups[dtypes[position], dtype].append(position)
    done: dict[int, Any] = {}
    parts = []
    for (have, want), positions in groups.items():
        if len(positions) >= _MANY and castable(getattr(have, "kind", ""), want) and not hasattr(have, "na_value"):
            cast = _cast(frame.iloc[:, positions].to_numpy(), want)
            if cast is not None:
                done.update((position, len(done)) for position in positions)
                parts.append(cast)
    if not done:
        return frame, set()
    return _assembled(frame, parts, list(done)), set(done)


def castable(kind: str, wanted: Any) -> bool:
    """Whether numbers of a numpy kind may become a dtype at all: whole ones anything, others only floats."""
    return kind in ("iuf" if wanted.kind == "f" else "iu" if wanted.kind == "i" else "")


def _cast(values: Any, wanted: Any) -> Any:
    import numpy as np  # noqa: PLC0415 - only needed when there is data

    with np.errstate(all="ignore"):
        cast = values.astype(wanted)
        if values.dtype.kind in "iu" and wanted.kind == "f":
            bound = EXACT[str(wanted)]
            lost = (values > bound) if values.dtype.kind == "u" else (values > bound) | (values < -bound)
        else:
            lost = cast.astype(values.dtype) != values
            if values.dtype.kind == "f":
                lost &= ~np.isnan(values)
            if values.dtype.kind == "u":
                lost |= cast < 0
    return None if lost.any() else cast


def _assembled(frame: Any, parts: Sequence[Any], positions: Sequence[int]) -> Any:
    import pandas as pd  # noqa: PLC0415 - a frame came in, so it is there

    taken = set(positions)
    rest = [i for i in range(len(frame.columns)) if i not in taken]
    order = [0] * len(frame.columns)
    for place, position in enumerate([*rest, *positions]):
        order[position] = place
    new = [pd.DataFrame(part, index=frame.index) for part in parts]
    whole = pd.concat([frame.iloc[:, rest], *new], axis=1) if rest or len(new) > 1 else new[0]
    whole = whole if order == list(range(len(order))) else whole.iloc[:, order]
    whole.columns = frame.columns
    return whole
