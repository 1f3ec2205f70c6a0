"""Types inside fitted estimators that skops does not trust by itself and that only hold data.

Kept in code and reviewed; a model file can never add to it.
"""

from __future__ import annotations

TRUSTED_TYPES: frozenset[str] = frozenset()
