"""The population stability index: how far two histograms over the same bins are apart.

It is the symmetric Kullback-Leibler divergence (N. Siddiqi, Credit Risk Scorecards, 2006, chapter 8); by custom, 0.1 is
a small shift and 0.25 one to act upon.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def stability_index(shares: Iterable[tuple[float, float]]) -> float:
    """The index, from 0 for equal histograms.

    Args:
        shares: of each bin, the shares that it has of both, none of them 0: whoever counts says what is in the place of
            an empty bin, which would make the index infinite.
    """
    return math.fsum((other - one) * math.log(other / one) for one, other in shares)
