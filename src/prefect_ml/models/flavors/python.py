"""Any Python object with `predict`, or any callable, by cloudpickle."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import ArtifactError, InvalidInputError
from prefect_ml.models.flavors.contract import FlavorInfo
from prefect_ml.models.pickling import carried
from prefect_ml.models.trust import Trust, unpickle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_FILE = "model.pkl"
_CODE = "code"
_LOADER = "prefect_ml_python_loader"

# MLflow imports this file from the model folder, so the folder opens without prefect-ml.
_LOADER_TEXT = '''"""Opens this model folder for mlflow.pyfunc; needs only cloudpickle."""

import inspect

import cloudpickle


class _Model:
    def __init__(self, native):
        self._call = native.predict if hasattr(native, "predict") else native
        parameters = inspect.signature(self._call).parameters.values()
        self._takes_params = any(p.name == "params" or p.kind is p.VAR_KEYWORD for p in parameters)

    def predict(self, data, params=None):
        return self._call(data, params=params) if params and self._takes_params else self._call(data)


def _load_pyfunc(path):
    with open(path, "rb") as stream:
        return _Model(cloudpickle.load(stream))
'''


class PythonFlavor:
    """The last resort: it takes whatever can predict, and loads only from trusted origins."""

    name = "python"

    def matches(self, model: object) -> bool:
        return not isinstance(model, type) and (callable(getattr(model, "predict", None)) or callable(model))

    def save(self, model: Any, folder: Path, *, allow_pickle: bool) -> FlavorInfo:  # noqa: ARG002 - it has no other way
        import cloudpickle  # noqa: PLC0415 - only where a pickle is made

        if not self.matches(model):
            raise InvalidInputError(f"A {type(model).__name__} is no model: it has no `predict` and cannot be called.")
        with carried(model) as modules:
            try:
                with (folder / _FILE).open("wb") as stream:
                    cloudpickle.dump(model, stream)
            except Exception as error:
                raise InvalidInputError(f"This {type(model).__name__} cannot be pickled: {error!r}.") from error
        (folder / _CODE).mkdir()
        (folder / _CODE / f"{_LOADER}.py").write_text(_LOADER_TEXT)
        conf = {
            "pickled_model": _FILE,
            "serialization_format": "cloudpickle",
            "cloudpickle_version": cloudpickle.__version__,
        }
        pyfunc = {"loader_module": _LOADER, "data": _FILE, "code": _CODE}
        return FlavorInfo(conf, pyfunc, {"cloudpickle", *modules})

    def load(self, folder: Path, conf: Mapping[str, Any], trust: Trust) -> Any:
        name = conf.get("pickled_model")
        if not isinstance(name, str):
            raise ArtifactError(f"The python section of {trust.origin!r} names no file (`pickled_model`).")
        return unpickle(resolve(folder, name), trust)

    def predict(self, native: Any, data: Any, params: Mapping[str, Any] | None) -> Any:
        call = native.predict if hasattr(native, "predict") else native
        return call(data, params=params) if params and _takes_params(call) else call(data)


def _takes_params(call: Callable[..., Any]) -> bool:
    parameters = inspect.signature(call).parameters.values()
    return any(p.name == "params" or p.kind is p.VAR_KEYWORD for p in parameters)
