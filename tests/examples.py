"""How many examples a property is tried with."""

from __future__ import annotations

import os


def examples(count: int) -> int:
    """So many, and as many times more as PREFECT_ML_TEST_EXAMPLES says: `.ci/long` has the time."""
    return count * int(os.environ.get("PREFECT_ML_TEST_EXAMPLES", "1"))
