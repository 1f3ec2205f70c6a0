"""CatBoost models in CatBoost's own binary format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import ArtifactError, InvalidInputError
from prefect_ml.models.flavors.contract import FlavorInfo

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from prefect_ml.models.trust import Trust

_FILE = "model.cbm"
# A model file names one of these; no other class is ever built from it.
_CLASSES = ("CatBoost", "CatBoostClassifier", "CatBoostRegressor", "CatBoostRanker")
# What CatBoost itself can read of what it writes (https://catboost.ai/docs/en/concepts/python-reference_catboost_load_model).
_FORMATS = ("cbm", "json", "onnx", "coreml")
_UNCHECKED = ("onnx", "coreml")


class CatboostFlavor:
    """Writes MLflow's own `catboost` section, so that MLflow opens it by itself."""

    name = "catboost"

    def matches(self, model: object) -> bool:
        return _class_of(model) is not None

    def save(self, model: Any, folder: Path, *, allow_pickle: bool) -> FlavorInfo:  # noqa: ARG002 - it needs none
        import catboost  # noqa: PLC0415 - the model's own library, imported already

        try:
            model.save_model(str(folder / _FILE), format="cbm")
        except catboost.CatBoostError as error:
            raise InvalidInputError(
                f"CatBoost cannot save this {type(model).__name__}: {error}; fit it before it is saved."
            ) from error
        conf = {
            "catboost_version": catboost.__version__,
            "model_type": _class_of(model) or "CatBoost",
            "save_format": "cbm",
            "data": _FILE,
            "code": None,
        }
        pyfunc = {"loader_module": "mlflow.catboost", "data": _FILE}
        return FlavorInfo(conf, pyfunc, {"catboost", "numpy", "pandas"})

    def load(self, folder: Path, conf: Mapping[str, Any], trust: Trust) -> Any:
        class_, format_ = conf.get("model_type", "CatBoost"), conf.get("save_format", "cbm")
        if class_ not in _CLASSES or format_ not in _FORMATS:
            raise ArtifactError(
                f"{trust.origin!r} is a {class_!r} in the format {format_!r}; CatBoost models of the classes "
                f"{', '.join(_CLASSES)} in the formats {', '.join(_FORMATS)} can be loaded."
            )
        if format_ in _UNCHECKED:
            # An empty file ends the process by SIGSEGV.
            trust.require(f"CatBoost's reader of {format_}, which does not check what it reads,")
        path = resolve(folder, str(conf.get("data", _FILE)))
        if not path.is_file():
            raise ArtifactError(f"The weights {path.name!r} of {trust.origin!r} are missing; download the model again.")
        try:
            import catboost  # noqa: PLC0415 - only for models of CatBoost
        except ModuleNotFoundError as error:
            raise ArtifactError(f"{trust.origin!r} needs CatBoost; pip install 'prefect-ml[catboost]'.") from error
        model = getattr(catboost, class_)()
        try:
            model.load_model(str(path), format=format_)
        except (catboost.CatBoostError, ValueError, TypeError) as error:
            raise ArtifactError(
                f"CatBoost {catboost.__version__} cannot load {path.name!r} of {trust.origin!r}: {str(error)[:300]}"
            ) from error
        return model

    def predict(self, native: Any, data: Any, params: Mapping[str, Any] | None) -> Any:
        return native.predict(data, **(params or {}))


def _class_of(model: object) -> str | None:
    """The class of CatBoost that an object is of, the nearest one for a subclass."""
    names = (base.__name__ for base in type(model).__mro__ if base.__module__ == "catboost.core")
    return next((name for name in names if name in _CLASSES), None)
