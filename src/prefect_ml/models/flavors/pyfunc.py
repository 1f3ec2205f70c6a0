"""Folders of other flavors that MLflow wrote: loaded by the loader module that they name."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import ArtifactError, InvalidInputError
from prefect_ml.models.flavors.python import PythonFlavor

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from prefect_ml.models.flavors.contract import FlavorInfo
    from prefect_ml.models.trust import Trust


class PyfuncFlavor:
    """Reads MLflow's `python_function` section (https://mlflow.org/docs/latest/ml/model/#python-function-model-interface)."""

    name = "python_function"

    def matches(self, model: object) -> bool:  # noqa: ARG002 - nothing is saved by it
        return False

    def save(self, model: Any, folder: Path, *, allow_pickle: bool) -> FlavorInfo:  # noqa: ARG002 - it only reads
        raise InvalidInputError("The flavor 'python_function' is only read; save the object with the flavor 'python'.")

    def load(self, folder: Path, conf: Mapping[str, Any], trust: Trust) -> Any:
        module_name = conf.get("loader_module")
        if not isinstance(module_name, str):
            raise ArtifactError(f"The python_function section of {trust.origin!r} names no `loader_module`.")
        trust.require(f"the loader module {module_name!r}")
        if conf.get("code"):
            code = str(resolve(folder, conf["code"]))
            if code not in sys.path:
                sys.path.insert(0, code)
        try:
            loader = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            raise ArtifactError(f"{trust.origin!r} is loaded by {module_name!r}; install {error.name!r}.") from error
        return loader._load_pyfunc(str(resolve(folder, conf["data"]) if conf.get("data") else folder))  # noqa: SLF001 - MLflow's contract

    def predict(self, native: Any, data: Any, params: Mapping[str, Any] | None) -> Any:
        return PythonFlavor().predict(native, data, params)
