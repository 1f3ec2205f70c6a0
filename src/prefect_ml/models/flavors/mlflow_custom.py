"""A custom model that MLflow saved, with the context that its methods are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prefect_ml.models.calling import ModelContext


@dataclass(frozen=True)
class CustomModel:
    """The object, and its artifacts and configuration."""

    model: Any
    context: ModelContext
