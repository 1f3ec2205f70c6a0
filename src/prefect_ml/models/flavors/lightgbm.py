"""LightGBM boosters in LightGBM's own text format, its estimators in skops' format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import ArtifactError
from prefect_ml.models.flavors.contract import FlavorInfo
from prefect_ml.models.flavors.sklearn import SklearnFlavor

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from prefect_ml.models.trust import Trust

_FILE = "model.lgb"
_BOOSTER = "lightgbm.basic.Booster"
_SKLEARN = SklearnFlavor()


class LightgbmFlavor:
    """Writes MLflow's own `lightgbm` section, so that MLflow opens it by itself."""

    name = "lightgbm"

    def matches(self, model: object) -> bool:
        return _is_booster(model) or any(base.__module__ == "lightgbm.sklearn" for base in type(model).__mro__)

    def save(self, model: Any, folder: Path, *, allow_pickle: bool) -> FlavorInfo:
        import lightgbm  # noqa: PLC0415 - the model's own library, imported already

        conf: dict[str, Any] = {"lgb_version": lightgbm.__version__, "code": None}
        if _is_booster(model):
            model.save_model(folder / _FILE)
            conf |= {"data": _FILE, "model_class": _BOOSTER, "serialization_format": None, "skops_trusted_types": None}
            modules = {"lightgbm", "numpy", "scipy"}
            pyfunc = {"loader_module": "mlflow.lightgbm", "data": _FILE}
        else:
            written = _SKLEARN.save(model, folder, allow_pickle=allow_pickle)
            class_ = f"{type(model).__module__}.{type(model).__qualname__}"
            conf |= {"data": written.conf["pickled_model"], "model_class": class_}
            conf |= {key: written.conf[key] for key in ("serialization_format", "skops_trusted_types")}
            modules = {"lightgbm", *written.modules}
            by_skops = conf["serialization_format"] == "skops"
            in_mlflow = {"loader_module": "mlflow.lightgbm", "data": conf["data"]}
            pyfunc = in_mlflow if written.pyfunc is None or not by_skops else dict(written.pyfunc)
        return FlavorInfo(conf, pyfunc, modules)

    def load(self, folder: Path, conf: Mapping[str, Any], trust: Trust) -> Any:
        try:
            import lightgbm  # noqa: PLC0415 - only for models of LightGBM
        except ModuleNotFoundError as error:
            raise ArtifactError(f"{trust.origin!r} needs LightGBM; pip install lightgbm.") from error
        if conf.get("model_class", _BOOSTER) != _BOOSTER:
            # What MLflow pickled before it knew skops does not say so.
            format_ = conf.get("serialization_format") or "cloudpickle"
            weights = {"pickled_model": conf.get("data"), "serialization_format": format_}
            return _SKLEARN.load(folder, weights, trust)
        path = resolve(folder, str(conf.get("data", _FILE)))
        try:
            return lightgbm.Booster(model_file=path)
        except (lightgbm.basic.LightGBMError, OSError) as error:
            raise ArtifactError(
                f"LightGBM {lightgbm.__version__} cannot load {path.name!r} of {trust.origin!r}: {error}"
            ) from error

    def predict(self, native: Any, data: Any, params: Mapping[str, Any] | None) -> Any:
        return native.predict(data, **(params or {}))


def _is_booster(model: object) -> bool:
    return any(f"{base.__module__}.{base.__name__}" == _BOOSTER for base in type(model).__mro__)
