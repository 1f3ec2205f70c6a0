"""LightGBM boosters in LightGBM's own text format, its estimators in skops' format."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import ArtifactError, InvalidInputError
from prefect_ml.models.flavors.categories import as_categories
from prefect_ml.models.flavors.contract import FlavorInfo
from prefect_ml.models.flavors.sklearn import SklearnFlavor

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from prefect_ml.models.trust import Trust

_FILE = "model.lgb"
_BOOSTER = "lightgbm.basic.Booster"
_POSITIONS = re.compile(r"^\[categorical_feature: (\d+(?:,\d+)*)\]$", re.MULTILINE)
_END = b"end of trees"


@dataclass(frozen=True)
class LightgbmFlavor:
    """Writes MLflow's own `lightgbm` section, so that MLflow opens it by itself.

    `estimators` is what writes those that are scikit-learn's, too.
    """

    estimators: SklearnFlavor = field(default_factory=SklearnFlavor)

    @property
    def name(self) -> str:
        return "lightgbm"

    def in_format(self, model: object, serialization_format: str) -> LightgbmFlavor:
        """The flavor that writes estimators in this format alone."""
        if _is_booster(model):
            raise InvalidInputError("A Booster is saved as LightGBM's own text; leave serialization_format out.")
        return LightgbmFlavor(self.estimators.in_format(model, serialization_format))

    def matches(self, model: object) -> bool:
        return _is_booster(model) or any(base.__module__ == "lightgbm.sklearn" for base in type(model).__mro__)

    def save(self, model: Any, folder: Path, *, allow_pickle: bool) -> FlavorInfo:
        import lightgbm  # noqa: PLC0415 - the model's own library, imported already

        conf: dict[str, Any] = {"lgb_version": lightgbm.__version__, "code": None}
        if _is_booster(model):
            model.save_model(str(folder / _FILE))
            conf |= {"data": _FILE, "model_class": _BOOSTER, "serialization_format": None, "skops_trusted_types": None}
            modules = {"lightgbm", "numpy", "scipy"}
            pyfunc = {"loader_module": "mlflow.lightgbm", "data": _FILE}
        else:
            written = self.estimators.save(model, folder, allow_pickle=allow_pickle)
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
            raise ArtifactError(f"{trust.origin!r} needs LightGBM; pip install 'prefect-ml[lightgbm]'.") from error
        if conf.get("model_class", _BOOSTER) != _BOOSTER:
            # What MLflow pickled before it knew skops does not say so.
            format_ = conf.get("serialization_format") or "cloudpickle"
            weights = {"pickled_model": conf.get("data"), "serialization_format": format_}
            return _with_positions(self.estimators.load(folder, weights, trust))
        path = resolve(folder, str(conf.get("data", _FILE)))
        try:
            _refuse_cut(path)
            return lightgbm.Booster(model_file=path)
        except (lightgbm.basic.LightGBMError, OSError, ValueError) as error:
            raise ArtifactError(
                f"LightGBM {lightgbm.__version__} cannot load {path.name!r} of {trust.origin!r}: {error}"
            ) from error

    def predict(self, native: Any, data: Any, params: Mapping[str, Any] | None) -> Any:
        booster = native if _is_booster(native) else native.booster_
        return native.predict(as_categories(data, _categories(booster)), **(params or {}))


def _refuse_cut(path: Path) -> None:
    """Raise ValueError for a file whose trees do not end where its head says; LightGBM reads on beyond its end.

    The head names the bytes of each tree (`tree_sizes`), and after the last one stands a line that says so.
    """
    with path.open("rb") as stream:
        sizes: list[int] = []
        at = 0
        for line in stream:
            if line.startswith(b"tree_sizes="):
                sizes = [int(size) for size in line.partition(b"=")[2].split()]
            if line.startswith(b"Tree="):
                break
            at += len(line)
        stream.seek(at + sum(sizes))
        if sizes and stream.read(len(_END)) != _END:
            raise ValueError("its trees do not end where its head says, so it was cut or changed")


def _with_positions(estimator: Any) -> Any:
    """The estimator, whose booster knows again which columns are categories, as one does that was read from a file."""
    booster = getattr(estimator, "_Booster", None)
    if booster is not None and booster.pandas_categorical and not booster.params.get("categorical_feature"):
        found = _POSITIONS.search(booster.model_to_string(num_iteration=1))
        booster.params["categorical_feature"] = [int(at) for at in found[1].split(",")] if found else []
    return estimator


def _categories(booster: Any) -> dict[int, Any]:
    """The categories of each column that was trained on as such, by its position."""
    known, positions = booster.pandas_categorical or [], booster.params.get("categorical_feature") or []
    return dict(zip(positions, known, strict=True)) if len(known) == len(positions) else {}


def _is_booster(model: object) -> bool:
    return any(f"{base.__module__}.{base.__name__}" == _BOOSTER for base in type(model).__mro__)
