"""Opens a model in skops' format; needs only skops and the libraries of the model.

This file is copied into model folders, where mlflow.pyfunc imports it, so it imports nothing of prefect-ml. Releases of
MLflow before 3 do not know skops, and later ones read the types to trust from the model's MLmodel file, as this does
from its weights: who opens a folder with MLflow runs its code anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import skops.io


class _Model:
    def __init__(self, native: Any) -> None:
        self._native = native

    def get_raw_model(self) -> Any:
        return self._native

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> Any:
        return self._native.predict(data, **(params or {}))


def _load_pyfunc(path: str) -> _Model:
    return _Model(skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path)))
