"""Folders that MLflow wrote and no other flavor knows: its custom models, models from code, and loader modules."""

from __future__ import annotations

import importlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import ArtifactError, InvalidInputError
from prefect_ml.models.calling import ModelContext, call, set_up
from prefect_ml.models.flavors.mlflow_custom import CustomModel
from prefect_ml.models.from_code import model_of
from prefect_ml.models.mlflow_standin import standin, standin_modules
from prefect_ml.models.private_modules import PrivateModules
from prefect_ml.models.trust import Trust, unpickle

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from prefect_ml.models.flavors.contract import FlavorInfo

# MLflow's own loaders of custom models; all others are asked to load what they wrote.
_CUSTOM = frozenset({"mlflow.pyfunc.model", "mlflow.pyfunc.loaders.code_model"})


class PyfuncFlavor:
    """Reads MLflow's `python_function` section (https://mlflow.org/docs/latest/ml/model/#python-function-model-interface).

    Custom models open without MLflow: pickled ones and models from code. Their code folder is imported apart from the
    process's modules and from other models'.
    """

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
        code = [resolve(folder, conf["code"])] if conf.get("code") else []
        modules = PrivateModules(trust, code, standin_modules())
        if module_name in _CUSTOM:
            return _custom(folder, conf, trust, modules)
        try:
            own = modules.has(module_name)
            loader: Any = modules.load(module_name) if own else importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            raise ArtifactError(f"{trust.origin!r} is loaded by {module_name!r}; install {error.name!r}.") from error
        return loader._load_pyfunc(str(resolve(folder, conf["data"]) if conf.get("data") else folder))  # noqa: SLF001 - MLflow's contract

    def predict(self, native: Any, data: Any, params: Mapping[str, Any] | None) -> Any:
        if isinstance(native, CustomModel):
            return call(native.model, data, params, native.context)
        return call(native, data, params)


def _custom(folder: Path, conf: Mapping[str, Any], trust: Trust, modules: PrivateModules) -> CustomModel:
    script = conf.get("model_code_path")
    if script:
        # MLflow keeps the path on the machine that wrote it, and the file under its last part.
        model = model_of(resolve(folder, PurePosixPath(str(script)).name), modules)
    else:
        if not isinstance(conf.get("python_model"), str):
            raise ArtifactError(f"The python_function section of {trust.origin!r} names no `python_model`.")

        def find(module: str, name: str) -> Any:
            try:
                return standin(module, name)
            except LookupError:
                return modules.find(module, name)

        path = resolve(folder, conf["python_model"])
        model = unpickle(path, trust, find, compression=conf.get("python_model_compression"))
    artifacts = {
        str(name): str(resolve(folder, str(about["path"]))) for name, about in (conf.get("artifacts") or {}).items()
    }
    context = ModelContext(folder, artifacts, conf.get("config"))
    return CustomModel(set_up(model, context), context)
