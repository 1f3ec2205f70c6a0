"""XGBoost boosters and estimators, in XGBoost's own UBJSON."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import ArtifactError, InvalidInputError
from prefect_ml.models.flavors.categories import as_categories
from prefect_ml.models.flavors.contract import FlavorInfo

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from prefect_ml.models.trust import Trust

_FILE = "model.ubj"
_BOOSTER = "xgboost.core.Booster"
# A model file names one of these; no other class is ever built from it.
_CLASSES = {
    _BOOSTER: "Booster",
    **{
        f"xgboost.sklearn.{name}": name
        for name in ("XGBModel", "XGBClassifier", "XGBRegressor", "XGBRanker", "XGBRFClassifier", "XGBRFRegressor")
    },
}


class XgboostFlavor:
    """Writes MLflow's own `xgboost` section, so that MLflow opens it by itself.

    What the file format does not hold is lost as it is with XGBoost's own `save_model`: the training params of an
    estimator, and what a subclass adds.
    """

    name = "xgboost"

    def matches(self, model: object) -> bool:
        return _class_of(model) is not None

    def save(self, model: Any, folder: Path, *, allow_pickle: bool) -> FlavorInfo:  # noqa: ARG002 - it needs none
        import xgboost  # noqa: PLC0415 - the model's own library, imported already

        try:
            model.save_model(folder / _FILE)
        except ValueError as error:
            raise InvalidInputError(
                f"XGBoost cannot save this {type(model).__name__}: {error}; fit it before it is saved."
            ) from error
        class_ = _class_of(model) or _BOOSTER
        conf = {
            "xgb_version": xgboost.__version__,
            "data": _FILE,
            "model_class": class_,
            "model_format": "ubj",
            "code": None,
        }
        wrapped = set() if class_ == _BOOSTER else {"sklearn"}
        pyfunc = {"loader_module": "mlflow.xgboost", "data": _FILE}
        return FlavorInfo(conf, pyfunc, {"xgboost", "numpy", "scipy", *wrapped})

    def load(self, folder: Path, conf: Mapping[str, Any], trust: Trust) -> Any:
        class_ = _CLASSES.get(str(conf.get("model_class", _BOOSTER)))
        if class_ is None:
            raise ArtifactError(
                f"{trust.origin!r} is of the class {conf.get('model_class')!r}; XGBoost models of the classes "
                f"{', '.join(_CLASSES)} can be loaded."
            )
        path = resolve(folder, str(conf.get("data", _FILE)))
        try:
            import xgboost  # noqa: PLC0415 - only for models of XGBoost
        except ModuleNotFoundError as error:
            raise ArtifactError(f"{trust.origin!r} needs XGBoost; pip install 'prefect-ml[xgboost]'.") from error
        try:
            model = getattr(xgboost, class_)()
        except ImportError as error:
            raise ArtifactError(
                f"{trust.origin!r} is an estimator of XGBoost, which needs scikit-learn; pip install "
                "'prefect-ml[xgboost]'."
            ) from error
        try:
            model.load_model(path)
        except (xgboost.core.XGBoostError, OSError, TypeError, ValueError) as error:
            if is_binary(path):
                raise ArtifactError(
                    f"{trust.origin!r} is in XGBoost's old binary format, which XGBoost {xgboost.__version__} does not "
                    f"read. `prefect-ml models convert {shlex.quote(trust.origin)} NEW_FOLDER` writes it anew, by a "
                    "release of XGBoost that does; load or register that folder instead."
                ) from error
            raise ArtifactError(
                f"XGBoost {xgboost.__version__} cannot load {path.name!r} of {trust.origin!r}: {str(error)[:300]}"
            ) from error
        return model

    def predict(self, native: Any, data: Any, params: Mapping[str, Any] | None) -> Any:
        import xgboost  # noqa: PLC0415 - the model's own library, imported already

        booster = native if isinstance(native, xgboost.Booster) else native.get_booster()
        data = as_categories(data, _categories(booster))
        if native is booster:
            data = xgboost.DMatrix(data, enable_categorical=True)
        return native.predict(data, **(params or {}))


def is_binary(path: Path) -> bool:
    """Whether weights are in the format of before JSON and UBJSON, which both begin with a brace."""
    try:
        with path.open("rb") as stream:
            return stream.read(1) not in (b"{", b"")
    except OSError:
        return False


# Asking a booster for its columns takes longer with each of them.
_known: WeakKeyDictionary[Any, dict[int, None]] = WeakKeyDictionary()


def predict_matrix(native: Any, rows: Any) -> Any:
    """What the booster itself predicts of an array of shape (rows, features), without an estimator's conversions."""
    import xgboost  # noqa: PLC0415 - only where one of its models is

    booster = native if isinstance(native, xgboost.Booster) else native.get_booster()
    names, types = booster.feature_names, booster.feature_types
    return booster.predict(xgboost.DMatrix(rows, feature_names=names, feature_types=types))


def _categories(booster: Any) -> dict[int, None]:
    """The positions of the columns that were trained on as categories."""
    found = _known.get(booster)
    if found is None:
        # Since XGBoost 3.1 a model keeps its categories; before, each frame's own were taken by their order.
        types = (booster.feature_types or []) if hasattr(booster, "get_categories") else []
        found = _known[booster] = {at: None for at, type_ in enumerate(types) if type_ == "c"}
    return found


def _class_of(model: object) -> str | None:
    """The class of XGBoost that an object is of, the nearest one for a subclass."""
    names = (f"{base.__module__}.{base.__name__}" for base in type(model).__mro__)
    return next((name for name in names if name in _CLASSES), None)
