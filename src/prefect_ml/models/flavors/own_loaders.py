"""Loader modules that go along with a model, so that mlflow.pyfunc opens a format that MLflow itself does not know."""

from __future__ import annotations

import importlib.resources
from typing import TYPE_CHECKING

from prefect_ml.models.own_code import CODE

if TYPE_CHECKING:
    from pathlib import Path


def add_loader(folder: Path, module: str, data: str) -> dict[str, str]:
    """Copy a module of this package below `code/`; returns the `python_function` section that names it.

    Args:
        folder: the model folder.
        module: the name of a module here that imports nothing of ours, and has `_load_pyfunc(path)`.
        data: the file in the model folder that it opens.
    """
    name = f"prefect_ml_{module}"
    text = (importlib.resources.files(__package__) / f"{module}.py").read_text()
    (folder / CODE).mkdir(exist_ok=True)
    (folder / CODE / f"{name}.py").write_text(text)
    return {"loader_module": name, "data": data, "code": CODE}
