"""What is done in the process apart that reads a model for the first time; see `first_reading`, which asks for it."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect_ml.models.folder import LoadedModel, load_model

_ROWS = 64
# Of malloc.h of the GNU C library: what is allocated is filled with one pattern, and what is freed with its complement.
_M_PERTURB = -6
_PATTERNS = (0x5A, 0xA5)


def read(request: Mapping[str, Any]) -> dict[str, Any]:
    """Load the model and predict, twice, and say whether it came to the same.

    What is not in the file comes from memory that happens to lie beside; filled with other values, it predicts
    something else, or ends this process. What the model raises is no matter here.
    """
    _without_core_dumps()
    return {"same": len({_come_to(request, pattern) for pattern in _PATTERNS}) == 1}


def _come_to(request: Mapping[str, Any], pattern: int) -> str:
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_PERTURB, pattern)
    try:
        model = load_model(
            Path(request["folder"]),
            origin=request["origin"],
            trusted_origins=request["trusted"],
            trusted_signers=request["signers"],
            vouched=True,
        )
        with contextlib.suppress(Exception):
            if model.input_example is not None:
                model.predict(model.input_example)
        predicted = _predict_on_anything(model)
    except Exception as error:  # noqa: BLE001 - whatever it is, who loads the model says it
        return type(error).__name__
    return hashlib.sha256(predicted).hexdigest()


def _predict_on_anything(model: LoadedModel) -> bytes:
    """Predictions on rows that reach many branches."""
    import numpy as np  # noqa: PLC0415 - only a process apart comes here
    import pandas as pd  # noqa: PLC0415 - only a process apart comes here

    names = _columns(model.native)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(_ROWS, len(names))) * 10.0 ** rng.integers(-3, 7, (_ROWS, 1))
    rows[rng.random(rows.shape) < 1 / _ROWS] = np.nan
    predicted = np.asarray(model.flavor.predict(model.native, pd.DataFrame(rows, columns=names), None))
    # An array of objects, such as labels, has only addresses.
    return repr(predicted.tolist()).encode() if predicted.dtype.hasobject else predicted.tobytes()


def _columns(native: Any) -> list[str]:
    """The names of the columns that a booster, or an estimator of one, was trained on."""
    booster = native.get_booster() if hasattr(native, "get_booster") else native
    for name in ("feature_names_in_", "feature_names", "feature_names_", "feature_name"):
        found = getattr(booster, name, None)
        found = found() if callable(found) else found
        if found is not None and len(found):
            return [str(column) for column in found]
    width = booster.num_features() if hasattr(booster, "num_features") else booster.n_features_in_
    return [f"f{i}" for i in range(width)]


def _without_core_dumps() -> None:
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - not on every platform

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
