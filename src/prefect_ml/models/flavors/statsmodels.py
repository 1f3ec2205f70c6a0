"""Fitted models of statsmodels: linear ones by their parameters as JSON, all others by pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import ArtifactError, InvalidInputError
from prefect_ml.models.flavors.contract import FlavorInfo
from prefect_ml.models.flavors.own_loaders import add_loader
from prefect_ml.models.flavors.statsmodels_linear import read_linear, write_linear
from prefect_ml.models.pickling import carried
from prefect_ml.models.trust import Trust, unpickle

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PICKLE_FILE = "model.statsmodels"
_JSON_FILE = "model.json"
_JSON = "prefect-ml-linear"
_RESULTS = ("statsmodels.base.model.Results", "statsmodels.base.wrapper.ResultsWrapper")


class StatsmodelsFlavor:
    """statsmodels itself has no format but pickle.

    What a linear model predicts depends on its parameters alone, so those are saved by default, and loaded as a
    results object that has `params`, `model` and `predict`: what needs the training data, such as `summary`, is not
    kept. With `allow_pickle` the whole results object is pickled, as MLflow's `statsmodels` section has it.
    """

    name = "statsmodels"

    def matches(self, model: object) -> bool:
        return any(f"{base.__module__}.{base.__name__}" in _RESULTS for base in type(model).__mro__)

    def save(self, model: Any, folder: Path, *, allow_pickle: bool) -> FlavorInfo:
        import statsmodels  # noqa: PLC0415 - the model's own library, imported already

        if not self.matches(model):
            raise InvalidInputError(
                f"A {type(model).__name__} is no result of a fit by statsmodels; save what `fit` gave."
            )
        conf: dict[str, Any] = {"statsmodels_version": statsmodels.__version__, "code": None}
        if allow_pickle:
            modules = _pickle(model, folder / _PICKLE_FILE)
            conf |= {"data": _PICKLE_FILE, "serialization_format": "pickle"}
            pyfunc = {"loader_module": "mlflow.statsmodels", "data": _PICKLE_FILE}
            return FlavorInfo(conf, pyfunc, {"statsmodels", "cloudpickle", *modules})
        problem = write_linear(model, folder / _JSON_FILE)
        if problem is not None:
            raise InvalidInputError(
                f"This {type(model).__name__} has no safe format: {problem}. Save it with allow_pickle=True to "
                "pickle it; loading it then needs the setting PREFECT_ML_TRUSTED_ORIGINS."
            )
        conf |= {"data": _JSON_FILE, "serialization_format": _JSON}
        return FlavorInfo(
            conf, add_loader(folder, "statsmodels_loader", _JSON_FILE), {"statsmodels", "numpy", "pandas"}
        )

    def load(self, folder: Path, conf: Mapping[str, Any], trust: Trust) -> Any:
        try:
            import statsmodels  # noqa: F401, PLC0415 - only for models of statsmodels
        except ModuleNotFoundError as error:
            raise ArtifactError(
                f"{trust.origin!r} needs statsmodels; pip install 'prefect-ml[statsmodels]'."
            ) from error
        path = resolve(folder, str(conf.get("data", _PICKLE_FILE)))
        if not path.is_file():
            raise ArtifactError(f"The file {path.name!r} of {trust.origin!r} is missing; download the model again.")
        if conf.get("serialization_format") == _JSON:
            return read_linear(path, trust.origin)
        return unpickle(path, trust)

    def predict(self, native: Any, data: Any, params: Mapping[str, Any] | None) -> Any:
        """What `predict` gives for rows of regressors; for a time series, one row with its columns `start` and `end`.

        Raises:
            InvalidInputError: the data for a time series is not such a row.
        """
        if not _is_time_series(native):
            return native.predict(data, **(params or {}))
        columns = getattr(data, "columns", ())
        if len(data) != 1 or "start" not in columns or "end" not in columns:
            raise InvalidInputError(
                "A time series model predicts from a frame with one row and the columns 'start' and 'end', which are "
                "positions or dates."
            )
        return native.predict(start=data["start"].iloc[0], end=data["end"].iloc[0], **(params or {}))


def _pickle(model: Any, path: Path) -> frozenset[str]:
    """Pickle as `Results.save` does, and classes of one's own with it; returns the modules that it needs."""
    import cloudpickle  # noqa: PLC0415 - only where a pickle is asked for

    with carried(model) as modules, path.open("wb") as stream:
        try:
            cloudpickle.dump(model, stream)
        except Exception as error:
            raise InvalidInputError(f"This {type(model).__name__} cannot be pickled: {error!r}.") from error
    return modules


def _is_time_series(native: Any) -> bool:
    from statsmodels.tsa.base.tsa_model import TimeSeriesModel  # noqa: PLC0415 - imported already

    return isinstance(native.model, TimeSeriesModel)
