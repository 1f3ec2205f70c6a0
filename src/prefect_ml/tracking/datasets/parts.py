"""Several data sets that are one: a dict or tuple of arrays or tables.

Two in a tuple are features and targets, as in `(X, y)`.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from prefect_ml.tracking.datasets.facts import Facts
from prefect_ml.tracking.datasets.sampling import Fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prefect_ml.models.schema import Tensor

_PAIR = 2
_MOST_NAMES = 100
_LONGEST_NAME = 100


def join(parts: Mapping[str, Facts], *, named: bool) -> Facts:
    """The facts of parts together.

    Args:
        parts: at least one, by name.
        named: whether the names are the user's.
    """
    fingerprint = Fingerprint("parts")
    fingerprint.add(named, len(parts))
    for name, part in sorted(parts.items()):
        fingerprint.add(name, part.digest)
    found = list(parts.values())
    rows = {part.rows for part in found}
    kinds = {part.kind for part in found}
    return replace(
        _schema(parts, named=named),
        kind=kinds.pop() if len(kinds) == 1 else "parts",
        digest=fingerprint.digest,
        rows=rows.pop() if len(rows) == 1 else None,
        elements=_sum([part.elements for part in found]),
        size=_sum([part.size for part in found]),
        more={"parts": [name[:_LONGEST_NAME] for name in islice(parts, _MOST_NAMES)]},
        unread=[f"{name}: {what}" for name, part in parts.items() for what in part.unread],
    )


def _schema(parts: Mapping[str, Facts], *, named: bool) -> Facts:
    found = list(parts.values())
    if all(part.tensors for part in found):
        if not named and len(found) == _PAIR:
            return Facts("", "", tensors=found[0].tensors, targets=found[1].tensors)
        return Facts("", "", tensors=[_called(name, part) for name, part in parts.items()])
    if all(part.columns for part in found):
        columns: list[Mapping[str, Any]] = [column for part in found for column in part.columns or ()]
        return Facts("", "", columns=columns, columns_count=len(columns))
    return Facts("", "")


def _called(name: str, part: Facts) -> Tensor:
    [tensor] = part.tensors or ()
    return replace(tensor, name=name)


def _sum(numbers: Sequence[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None
