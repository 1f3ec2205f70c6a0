"""Files of runs and models: the port `ArtifactStore`, and the stores behind it."""

from __future__ import annotations

from prefect_ml.artifacts.contract import ArtifactStore
from prefect_ml.artifacts.open import open_artifacts

__all__ = ["ArtifactStore", "open_artifacts"]
