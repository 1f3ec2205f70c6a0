"""Keras 3 models in Keras' own `.keras` archive."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import zipfile
from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import ArtifactError, InvalidInputError
from prefect_ml.models.flavors.contract import FlavorInfo
from prefect_ml.models.flavors.keras_config import Custom, custom_classes, unsafe_part
from prefect_ml.models.infer import data_kind
from prefect_ml.models.trust import Trust, load_keras

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_FOLDER = "data"
_FILE = "model.keras"
_BACKENDS = ("tensorflow", "torch", "jax")


class KerasFlavor:
    """Writes MLflow's own `keras` section, so that MLflow opens it by itself.

    What it loads is not compiled: it predicts; compile it to train it further. `predict` takes a DataFrame, an array,
    or a dict of arrays by the names of the inputs, and gives a DataFrame for a DataFrame, else arrays.
    """

    name = "keras"

    def matches(self, model: object) -> bool:
        bases = type(model).__mro__
        return any(base.__name__ == "Model" and base.__module__.startswith("keras.src.models") for base in bases)

    def save(self, model: Any, folder: Path, *, allow_pickle: bool) -> FlavorInfo:
        import keras  # noqa: PLC0415 - the model's own library, imported already

        data = folder / _FOLDER
        data.mkdir()
        try:
            model.save(data / _FILE)
        except Exception as error:
            raise InvalidInputError(f"Keras cannot save this {type(model).__name__}: {error}") from error
        part = unsafe_part(data / _FILE)
        if part is not None and not allow_pickle:
            raise InvalidInputError(
                f"This {type(model).__name__} holds {part}, which runs what stands in the file. Write it as a layer of "
                "your own, or use allow_pickle=True; loading it then needs the setting PREFECT_ML_TRUSTED_ORIGINS."
            )
        (data / "keras_module.txt").write_text("keras")
        backend = keras.backend.backend()
        conf = {"data": _FOLDER, "keras_version": keras.__version__, "keras_backend": backend}
        own = {custom.module.split(".")[0] for custom in custom_classes(data / _FILE)} - {"__main__"}
        modules = {"keras", "numpy", backend, *own}
        return FlavorInfo({**conf, "save_exported_model": False}, {"loader_module": "mlflow.keras"}, modules)

    def load(self, folder: Path, conf: Mapping[str, Any], trust: Trust) -> Any:
        if conf.get("save_exported_model"):
            raise ArtifactError(f"{trust.origin!r} was exported for TensorFlow; save it in Keras' own format.")
        path = resolve(folder, f"{conf.get('data', _FOLDER)}/{_FILE}")
        if not zipfile.is_zipfile(path):
            raise ArtifactError(f"The weights {path.name!r} of {trust.origin!r} are missing or no archive of Keras 3.")
        _choose_backend(conf.get("keras_backend"))
        try:
            import keras  # noqa: PLC0415 - only for models of Keras
        except ModuleNotFoundError as error:
            raise ArtifactError(
                f"{trust.origin!r} needs Keras and its backend ({error.name} is missing); pip install keras and one of "
                f"{', '.join(_BACKENDS)}."
            ) from error
        for custom in custom_classes(path):
            if keras.saving.get_registered_object(custom.registered_name) is None:
                _register(custom, trust)
        return load_keras(path, unsafe_part(path), trust)

    def predict(self, native: Any, data: Any, params: Mapping[str, Any] | None) -> Any:
        if data_kind(data) != "frame":
            return native.predict(data, verbose=0, **(params or {}))
        import pandas as pd  # noqa: PLC0415 - only for a model that was given a frame

        return pd.DataFrame(native.predict(data.to_numpy(), verbose=0, **(params or {})), index=data.index)


def _register(custom: Custom, trust: Trust) -> None:
    """Import the module whose decorator tells Keras of a class; without it Keras would look it up by itself."""
    trust.require(f"the class {custom.registered_name!r} of the module {custom.module!r}")
    try:
        importlib.import_module(custom.module)
    except Exception as error:
        raise ArtifactError(
            f"{trust.origin!r} has a layer of {custom.module!r}, which cannot be imported: {error!r}."
        ) from error


def _choose_backend(saved_with: Any) -> None:
    """Keras takes its backend once, at its first import; the one that the model was saved with, when it is here."""
    if "keras" in sys.modules or "KERAS_BACKEND" in os.environ or saved_with not in _BACKENDS:
        return
    here = [name for name in (saved_with, *_BACKENDS) if importlib.util.find_spec(name)]
    if here:
        os.environ["KERAS_BACKEND"] = here[0]
