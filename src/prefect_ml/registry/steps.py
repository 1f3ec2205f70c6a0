"""What changes the registry, as one module: `prefect_ml.flowruns.announced` has the same and tells Prefect of it."""

from __future__ import annotations

from prefect_ml.registry.promotion import decide, move, request_promotion, request_rollback, rollback
from prefect_ml.registry.register import register_model

__all__ = ["decide", "move", "register_model", "request_promotion", "request_rollback", "rollback"]
