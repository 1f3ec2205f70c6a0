"""Any Python object with `predict`, or any callable, by cloudpickle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import ArtifactError, InvalidInputError
from prefect_ml.models.calling import ModelContext, call, set_up, signature_of_hints
from prefect_ml.models.flavors.contract import FlavorInfo
from prefect_ml.models.flavors.own_loaders import add_loader
from prefect_ml.models.own_code import CODE
from prefect_ml.models.pickling import carried
from prefect_ml.models.private_modules import PrivateModules
from prefect_ml.models.trust import Trust, unpickle

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_FILE = "model.pkl"


class PythonFlavor:
    """The last resort: it takes whatever can predict, and loads only from trusted origins.

    Type hints of its `predict` give the signature, and the types that data comes in; a method `load_context(context)`
    is called once after loading.
    """

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
        conf = {
            "pickled_model": _FILE,
            "serialization_format": "cloudpickle",
            "cloudpickle_version": cloudpickle.__version__,
        }
        pyfunc = add_loader(folder, "python_loader", _FILE)
        return FlavorInfo(conf, pyfunc, {"cloudpickle", *modules}, signature_of_hints(model))

    def load(self, folder: Path, conf: Mapping[str, Any], trust: Trust) -> Any:
        name = conf.get("pickled_model")
        if not isinstance(name, str):
            raise ArtifactError(f"The python section of {trust.origin!r} names no file (`pickled_model`).")
        path = resolve(folder, name)
        own = PrivateModules(trust, [resolve(folder, CODE)])
        return set_up(unpickle(path, trust, own.find), ModelContext(folder))

    def predict(self, native: Any, data: Any, params: Mapping[str, Any] | None) -> Any:
        return call(native, data, params)
