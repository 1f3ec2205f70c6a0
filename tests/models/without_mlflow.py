"""Opens kept model folders in a process in which `mlflow` cannot be imported. Arguments: the folders.

Prints for each folder what its prediction is, how it compares with what MLflow predicted, and whether it was refused
before its origin was trusted.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from prefect_ml.errors import UntrustedModelError
from prefect_ml.models.folder import load_model


def data_of(record: Any) -> Any:
    """The inverse of `plain` in saved_by_mlflow/make.py."""
    if isinstance(record, dict) and "columns" in record:
        return pd.DataFrame(record["columns"])
    if isinstance(record, dict) and "array" in record:
        return np.array(record["array"], dtype=record["dtype"])
    if isinstance(record, dict) and "dict" in record:
        return {key: data_of(item) for key, item in record["dict"].items()}
    return record


def same(found: Any, expected: Any) -> bool:
    """Equal in type, as far as the record keeps it, and in value up to the last digits of a float."""
    if isinstance(expected, pd.DataFrame):
        return isinstance(found, pd.DataFrame) and all(
            same(found[name].tolist(), expected[name].tolist()) for name in [*expected.columns, *found.columns]
        )
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, np.ndarray) and not (isinstance(found, np.ndarray) and found.dtype == expected.dtype):
        return False
    found, expected = np.asarray(found), np.asarray(expected)
    if found.shape != expected.shape:
        return False
    numbers = expected.dtype.kind in "fc"
    return np.allclose(found, expected, rtol=1e-6) if numbers else bool((found == expected).all())


def open_folder(folder: Path) -> dict[str, Any]:
    record = json.loads(folder.with_name(f"{folder.name}.json").read_text())
    refused = False
    try:
        model = load_model(folder, origin="theirs")
    except UntrustedModelError:
        refused = True
        model = load_model(folder, origin="theirs", trusted_origins=["theirs"])
    found = model.predict(data_of(record["input"]))
    return {
        "flavor": model.flavor.name,
        "refused": refused,
        "same": same(found, data_of(record["output"])),
        "native": f"{type(model.native).__module__}.{type(model.native).__qualname__}",
        "found": repr(found)[:500],
    }


def main() -> None:
    warnings.simplefilter("ignore")
    # An import of it fails as if it were not installed; nothing imported it before.
    assert "mlflow" not in sys.modules
    sys.modules["mlflow"] = None  # type: ignore[assignment]
    answers = {}
    for folder in map(Path, sys.argv[1:]):
        try:
            answers[str(folder)] = open_folder(folder)
        except Exception as error:  # noqa: BLE001 - one folder's fault is told beside what the others gave
            answers[str(folder)] = {"error": f"{type(error).__name__}: {error}"}
    loaded = [name for name, module in sys.modules.items() if name.split(".")[0] == "mlflow" and module is not None]
    sys.stdout.write(json.dumps({"answers": answers, "mlflow": loaded}))


if __name__ == "__main__":
    main()
