"""scikit-learn estimators, in skops' format by default."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import ArtifactError, InvalidInputError
from prefect_ml.models.flavors.contract import FlavorInfo
from prefect_ml.models.flavors.own_loaders import add_loader
from prefect_ml.models.flavors.sklearn_types import TRUSTED_TYPES
from prefect_ml.models.flavors.skops_types import estimators_among, import_skops
from prefect_ml.models.pickling import carried
from prefect_ml.models.trust import Trust, unpickle

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SKOPS_FILE = "model.skops"
_PICKLE_FILE = "model.pkl"
_FORMATS = ("skops", "cloudpickle")
# What a model that MLflow saved may name instead of `predict` (`pyfunc_predict_fn`).
_PREDICTORS = ("predict", "predict_proba", "predict_log_proba", "predict_joint_log_proba")


@dataclass(frozen=True)
class SklearnFlavor:
    """Writes MLflow's own `sklearn` section; an MLflow that does not know skops opens it by its pyfunc alone.

    `predictor` is the method that predicts. `only` is the one format that may be written; else it is skops, and
    cloudpickle for what skops cannot hold where a pickle is allowed.
    """

    predictor: str = "predict"
    only: str | None = None

    @property
    def name(self) -> str:
        return "sklearn"

    def reading(self, pyfunc: Mapping[str, Any]) -> SklearnFlavor:
        """The flavor that predicts as the `python_function` section of a folder says."""
        named = pyfunc.get("predict_fn", "predict")
        if named not in _PREDICTORS:
            raise ArtifactError(
                f"The model is to predict by the method {named!r}; those that can are {', '.join(_PREDICTORS)}."
            )
        return SklearnFlavor(str(named))

    def in_format(self, model: object, serialization_format: str) -> SklearnFlavor:  # noqa: ARG002 - it holds any
        """The flavor that writes this format alone; choosing cloudpickle allows it."""
        if serialization_format not in _FORMATS:
            raise InvalidInputError(
                f"Estimators have no format {serialization_format!r}; those that they have are {', '.join(_FORMATS)}."
            )
        return replace(self, only=serialization_format)

    def matches(self, model: object) -> bool:
        return any(
            base.__name__ == "BaseEstimator" and base.__module__ == "sklearn.base" for base in type(model).__mro__
        )

    def save(self, model: Any, folder: Path, *, allow_pickle: bool) -> FlavorInfo:
        if self.only != "cloudpickle":
            problem, extra_types = _dump_skops(model, folder / _SKOPS_FILE)
            if problem is None:
                tops = {type_.split(".")[0] for type_ in extra_types} - {"collections"}
                return _info(model, folder, _SKOPS_FILE, extra_types, {"skops", *tops})
            (folder / _SKOPS_FILE).unlink(missing_ok=True)
            if allow_pickle and self.only is None:
                return _pickled(model, folder)
            raise InvalidInputError(
                f"This {type(model).__name__} cannot be saved in the safe format: {problem}. Save it with "
                "allow_pickle=True or serialization_format='cloudpickle' to use cloudpickle; loading it then needs the "
                "setting PREFECT_ML_TRUSTED_ORIGINS."
            )
        return _pickled(model, folder)

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
        call = getattr(native, self.predictor, None)
        if call is None:
            raise InvalidInputError(
                f"A {type(native).__name__} has no `{self.predictor}`; use the loaded model's `native`."
            )
        return call(data, **(params or {}))


def _pickled(model: Any, folder: Path) -> FlavorInfo:
    import cloudpickle  # noqa: PLC0415 - only where a pickle is asked for

    with carried(model) as modules, (folder / _PICKLE_FILE).open("wb") as stream:
        cloudpickle.dump(model, stream)
    return _info(model, folder, _PICKLE_FILE, [], {"cloudpickle", *modules})


def _info(model: Any, folder: Path, file: str, extra_types: list[str], needed: set[str]) -> FlavorInfo:
    import sklearn  # noqa: PLC0415 - the model's own library, imported already

    by_skops = file == _SKOPS_FILE
    conf = {
        "pickled_model": file,
        "serialization_format": "skops" if by_skops else "cloudpickle",
        "sklearn_version": sklearn.__version__,
        # For MLflow, which reads its trust from here; we never do.
        "skops_trusted_types": extra_types or None,
        "code": None,
    }
    pyfunc: Mapping[str, Any] | None = None
    if hasattr(model, "predict"):
        in_mlflow = {"loader_module": "mlflow.sklearn", "model_path": file, "predict_fn": "predict"}
        pyfunc = add_loader(folder, "skops_loader", file) if by_skops else in_mlflow
    return FlavorInfo(conf, pyfunc, {"sklearn", "numpy", "scipy", *needed})


def _dump_skops(model: Any, path: Path) -> tuple[str | None, list[str]]:
    """Write and check; returns why it cannot be used (None when it can), and the types our list trusts."""
    if importlib.util.find_spec("skops") is None:
        return "skops is not installed (pip install 'prefect-ml[sklearn]')", []
    skops_io = import_skops()
    try:
        skops_io.dump(model, path)
    except Exception as error:  # noqa: BLE001 - skops raises whatever the object's own state raises
        return f"skops cannot write it ({error!r})", []
    types = set(skops_io.get_untrusted_types(file=path))
    unknown = sorted(types - TRUSTED_TYPES)
    if unknown:
        return f"it holds types that are not known to be safe ({', '.join(unknown)})", []
    return None, sorted(types)


def _load_skops(path: Path, trust: Trust) -> Any:
    """Load what is made of known types alone; more only from a trusted origin."""
    try:
        skops_io = import_skops()
    except ModuleNotFoundError as error:
        raise ArtifactError(f"{trust.origin!r} needs skops; pip install 'prefect-ml[sklearn]'.") from error
    try:
        types = set(skops_io.get_untrusted_types(file=path))
    except Exception as error:
        raise ArtifactError(f"The skops file {path.name!r} of {trust.origin!r} is damaged: {error!r}.") from error
    unknown = sorted(types - TRUSTED_TYPES - estimators_among(types))
    if unknown:
        trust.require(f"types that are not known to be safe ({', '.join(unknown)})")
    try:
        return skops_io.load(path, trusted=sorted(types))
    except Exception as error:
        raise ArtifactError(f"The skops file {path.name!r} of {trust.origin!r} cannot be loaded: {error!r}.") from error
