"""scikit-learn estimators, in skops' format by default."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import ArtifactError, InvalidInputError
from prefect_ml.models.flavors.contract import FlavorInfo
from prefect_ml.models.flavors.sklearn_types import TRUSTED_TYPES
from prefect_ml.models.trust import Trust, unpickle

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SKOPS_FILE = "model.skops"
_PICKLE_FILE = "model.pkl"


class SklearnFlavor:
    """Writes MLflow's own `sklearn` section, so that an MLflow that knows skops opens it by itself."""

    name = "sklearn"

    def matches(self, model: object) -> bool:
        return any(
            base.__name__ == "BaseEstimator" and base.__module__ == "sklearn.base" for base in type(model).__mro__
        )

    def save(self, model: Any, folder: Path, *, allow_pickle: bool) -> FlavorInfo:
        problem, extra_types = _dump_skops(model, folder / _SKOPS_FILE)
        if problem is None:
            return _info(model, _SKOPS_FILE, "skops", extra_types)
        (folder / _SKOPS_FILE).unlink(missing_ok=True)
        if not allow_pickle:
            raise InvalidInputError(
                f"This {type(model).__name__} cannot be saved in the safe format: {problem}. Save it with "
                "allow_pickle=True to use cloudpickle; loading it then needs the setting "
                "PREFECT_ML_TRUSTED_ORIGINS."
            )
        import cloudpickle  # noqa: PLC0415 - only where a pickle is asked for

        with (folder / _PICKLE_FILE).open("wb") as stream:
            cloudpickle.dump(model, stream)
        return _info(model, _PICKLE_FILE, "cloudpickle", [])

    def load(self, folder: Path, conf: Mapping[str, Any], trust: Trust) -> Any:
        name = conf.get("pickled_model")
        if not isinstance(name, str):
            raise ArtifactError(f"The sklearn section of {trust.origin!r} names no weights (`pickled_model`).")
        path = resolve(folder, name)
        if not path.is_file():
            raise ArtifactError(f"The weights {name!r} of {trust.origin!r} are missing; download the model again.")
        if conf.get("serialization_format", "pickle") == "skops":
            return _load_skops(path, trust)
        return unpickle(path, trust)

    def predict(self, native: Any, data: Any, params: Mapping[str, Any] | None) -> Any:
        if not hasattr(native, "predict"):
            raise InvalidInputError(f"A {type(native).__name__} has no `predict`; use the loaded model's `native`.")
        return native.predict(data, **(params or {}))


def _info(model: Any, file: str, format_: str, extra_types: list[str]) -> FlavorInfo:
    import sklearn  # noqa: PLC0415 - the model's own library, imported already

    conf = {
        "pickled_model": file,
        "serialization_format": format_,
        "sklearn_version": sklearn.__version__,
        # For MLflow, which reads its trust from here; we never do.
        "skops_trusted_types": extra_types or None,
        "code": None,
    }
    pyfunc = {"loader_module": "mlflow.sklearn", "model_path": file, "predict_fn": "predict"}
    library = "skops" if format_ == "skops" else "cloudpickle"
    return FlavorInfo(conf, pyfunc if hasattr(model, "predict") else None, {"sklearn", "numpy", "scipy", library})


def _dump_skops(model: Any, path: Path) -> tuple[str | None, list[str]]:
    """Write and check; returns why it cannot be used (None when it can), and the types our list trusts."""
    if importlib.util.find_spec("skops") is None:
        return "skops is not installed (pip install 'prefect-ml[sklearn]')", []
    import skops.io  # noqa: PLC0415 - only for scikit-learn models

    try:
        skops.io.dump(model, path)
    except Exception as error:  # noqa: BLE001 - skops raises whatever the object's own state raises
        return f"skops cannot write it ({error!r})", []
    types = set(skops.io.get_untrusted_types(file=path))
    unknown = sorted(types - TRUSTED_TYPES)
    if unknown:
        return f"it holds types that are not known to be safe ({', '.join(unknown)})", []
    return None, sorted(types)


def _load_skops(path: Path, trust: Trust) -> Any:
    """Load what is made of known types alone; more only from a trusted origin."""
    try:
        import skops.io  # noqa: PLC0415 - only for scikit-learn models
    except ModuleNotFoundError as error:
        raise ArtifactError(f"{trust.origin!r} needs skops; pip install 'prefect-ml[sklearn]'.") from error
    try:
        types = set(skops.io.get_untrusted_types(file=path))
    except Exception as error:
        raise ArtifactError(f"The skops file {path.name!r} of {trust.origin!r} is damaged: {error!r}.") from error
    unknown = sorted(types - TRUSTED_TYPES)
    if unknown:
        trust.require(f"types that are not known to be safe ({', '.join(unknown)})")
    try:
        return skops.io.load(path, trusted=sorted(types))
    except Exception as error:
        raise ArtifactError(f"The skops file {path.name!r} of {trust.origin!r} cannot be loaded: {error!r}.") from error
