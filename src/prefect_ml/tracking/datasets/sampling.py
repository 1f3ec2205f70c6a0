"""Where a data set is looked at, and the digest of what is seen there."""

from __future__ import annotations

import functools
import hashlib
import itertools
from typing import Final

from prefect_ml.tracking.datasets.cells import encode

# Rows of a table that are looked at, when there are few columns.
MOST_ROWS: Final = 1000
# Cells of all columns.
MOST_CELLS: Final = 10_000
# Columns whose cells are looked at; names and types count of all.
MOST_COLUMNS: Final = 250
# Characters of texts and bytes of a column that are looked at; then its other rows are not.
MOST_TEXT: Final = 1_000_000
_FIRST_STAGE: Final = 16
_LARGE_PRIME = 2_654_435_761


@functools.lru_cache(maxsize=256)
def positions(size: int, most: int) -> tuple[int, ...]:
    """At most `most` of the positions below `size`, ascending: all, or the first, the last and one of each stretch.

    Within its stretch a position is scattered, so that data with a period are not met at the same point of it always.
    """
    if size <= most:
        return tuple(range(size))
    if most < 3:  # noqa: PLR2004  none between the first and the last
        return (0, size - 1)[:most]
    inner = most - 2
    bounds = [1 + number * (size - 2) // inner for number in range(most - 1)]
    scattered = (
        low + (number * _LARGE_PRIME & 0xFFFFFFFF) % (high - low)
        for number, (low, high) in enumerate(itertools.pairwise(bounds))
    )
    return (0, *scattered, size - 1)


@functools.lru_cache(maxsize=256)
def stages(rows: int, columns: int) -> tuple[tuple[int, ...], ...]:
    """The rows of a table that are looked at, in stages that double; each is spread over the whole table.

    Who has seen enough of a column leaves the later stages out. How long that takes may depend on the content alone,
    never on how it is kept in memory, so that equal tables have equal digests.

    Args:
        rows: how many there are.
        columns: how many of each are looked at.
    """
    found = positions(rows, max(min(MOST_ROWS, MOST_CELLS // max(columns, 1)), 2))
    spread = [found[at] for at in sorted(range(len(found)), key=lambda at: at * _LARGE_PRIME & 0xFFFFFFFF)]
    parts, size = [], _FIRST_STAGE
    while spread:
        parts.append(tuple(spread[:size]))
        spread, size = spread[size:], 2 * size
    return tuple(parts)


class Fingerprint:
    """A digest in the making; what is added is told apart from its neighbours.

    Args:
        kind: of the data, which differs in equal content of another kind.
    """

    def __init__(self, kind: str) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self.add(kind)

    def add(self, *values: object) -> None:
        """Add plain values."""
        for value in values:
            self.add_bytes(encode(value))

    def add_bytes(self, data: bytes) -> None:
        self._hash.update(len(data).to_bytes(8, "little"))
        self._hash.update(data)

    @property
    def digest(self) -> str:
        """32 hexadecimal digits."""
        return self._hash.hexdigest()
