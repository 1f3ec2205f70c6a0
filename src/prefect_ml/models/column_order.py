"""Bringing the columns of a DataFrame into another order without cutting it into pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

# From this one on, a frame that shares its values with another copies them when it is written to.
_COPIES_ON_WRITE = 3


def in_order(frame: Any, positions: Sequence[int], names: Any) -> Any:
    """The columns at these positions, each of which occurs once, in their order; the others are left out.

    pandas itself slices each run of neighbours out of its block, so that 600 columns of two kinds by turns become 400
    blocks. Here each block stays whole.

    Args:
        frame: a DataFrame.
        positions: of its columns.
        names: the Index of the result.
    """
    import numpy as np  # noqa: PLC0415 - a frame came in, so it is there

    wanted = np.array(positions, dtype=np.intp)
    kept = np.sort(wanted)
    if len(kept) < frame.shape[1]:
        frame = frame.take(kept, axis=1)
    order = np.searchsorted(kept, wanted)
    moved = _moved(frame, order) if _can_move(frame) else frame.take(order, axis=1)
    moved.columns = names
    return moved


def _can_move(frame: Any) -> bool:
    import pandas as pd  # noqa: PLC0415 - a frame came in, so it is there

    manager = getattr(frame, "_mgr", None)
    parts = ("blocks", "_blknos", "_blklocs")
    # Of a single block, pandas takes the values for the frame's, whatever places its columns have.
    if getattr(manager, "is_single_block", True):
        return False
    return int(pd.__version__.partition(".")[0]) >= _COPIES_ON_WRITE and all(hasattr(manager, part) for part in parts)


def _moved(frame: Any, order: Any) -> Any:
    """As `frame.take(order, axis=1)`, in as many blocks as the frame has, and sharing what needs not be turned round.

    Of pandas it needs what `_can_move` asks for. The columns of a block stay in the order of the frame's, as pandas
    takes for granted where there is one block.
    """
    moved = frame.copy(deep=False)
    manager = moved._mgr  # noqa: SLF001 - no public way leaves the blocks whole
    places = order.argsort()
    for block in manager.blocks:
        mine = places[block.mgr_locs.as_array]
        if len(mine) > 1 and (mine[1:] < mine[:-1]).any():
            turned = mine.argsort()
            block.values, mine = block.values[turned], mine[turned]  # noqa: PD011 - of a block, not of a frame
        block.mgr_locs = type(block.mgr_locs)(mine)
    manager._blknos = manager._blklocs = None  # noqa: SLF001 - which it makes anew
    return moved
