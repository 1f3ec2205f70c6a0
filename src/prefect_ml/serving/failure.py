"""How a served model fails."""

from __future__ import annotations

from prefect_ml.errors import PrefectMLError


class ModelFailedError(PrefectMLError):
    """The model raised on data that fits its signature."""
