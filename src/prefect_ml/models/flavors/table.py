"""Which flavors there are, and which of them fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect_ml.errors import ArtifactError, InvalidInputError
from prefect_ml.models.flavors.added import added_flavors
from prefect_ml.models.flavors.catboost import CatboostFlavor
from prefect_ml.models.flavors.code import CodeFlavor
from prefect_ml.models.flavors.keras import KerasFlavor
from prefect_ml.models.flavors.lightgbm import LightgbmFlavor
from prefect_ml.models.flavors.onnx import OnnxFlavor
from prefect_ml.models.flavors.pyfunc import PyfuncFlavor
from prefect_ml.models.flavors.python import PythonFlavor
from prefect_ml.models.flavors.sklearn import SklearnFlavor
from prefect_ml.models.flavors.statsmodels import StatsmodelsFlavor
from prefect_ml.models.flavors.torch import TorchFlavor
from prefect_ml.models.flavors.transformers import TransformersFlavor
from prefect_ml.models.flavors.xgboost import XgboostFlavor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prefect_ml.models.flavors.contract import Flavor

# The first that matches is taken: the boosters' estimators are scikit-learn's too, and the last takes anything.
_BUILT_IN: tuple[Flavor, ...] = (
    XgboostFlavor(),
    LightgbmFlavor(),
    CatboostFlavor(),
    OnnxFlavor(),
    StatsmodelsFlavor(),
    SklearnFlavor(),
    TransformersFlavor(),
    KerasFlavor(),  # on PyTorch, its models are modules of PyTorch's, too
    TorchFlavor(),
    CodeFlavor(),
    PythonFlavor(),
)
_FOREIGN = PyfuncFlavor()


def flavor_for(model: object, name: str | None = None) -> Flavor:
    """The flavor to save an object with: the named one, else the first that knows it.

    Flavors of other packages are asked before ours, since they know more of their own; one that is broken is passed
    over unless it is named.

    Raises:
        InvalidInputError: no flavor has this name, or none knows the object.
        ArtifactError: the named one is of another package, and broken there.
    """
    added = added_flavors()
    if name is not None:
        chosen = added[name].flavor() if name in added else _built_in(name)
        if chosen is None:
            raise InvalidInputError(f"There is no flavor {name!r}; known are {_known(added)}.")
        return chosen
    fitting = next((flavor for entry in added.values() if (flavor := entry.matching(model))), None)
    fitting = fitting or next((flavor for flavor in _BUILT_IN if flavor.matches(model)), None)
    if fitting is None:
        raise InvalidInputError(f"A {type(model).__name__} is no model: it has no `predict` and cannot be called.")
    return fitting


def in_format(flavor: Flavor, model: object, serialization_format: str) -> Flavor:
    """The flavor that saves an object in one format and no other.

    Raises:
        InvalidInputError: it has no such format.
    """
    choose = getattr(flavor, "in_format", None)
    if choose is None:
        raise InvalidInputError(
            f"Models of the flavor {flavor.name!r} have no choice of formats; leave serialization_format out. "
            "Estimators of scikit-learn and LightGBM have one."
        )
    chosen: Flavor = choose(model, serialization_format)
    return chosen


def flavor_of(sections: Mapping[str, Mapping[str, Any]]) -> Flavor:
    """The flavor that loads a folder whose MLmodel file has these flavor sections.

    Raises:
        ArtifactError: none of them is known here, or one is of another package, and broken there.
    """
    present = set(sections)
    added = added_flavors()
    for name in sorted(present & added.keys()):
        return added[name].flavor()
    for flavor in (*_BUILT_IN, _FOREIGN):
        if flavor.name in present:
            pyfunc = sections.get(_FOREIGN.name, {})
            return flavor.reading(pyfunc) if isinstance(flavor, SklearnFlavor) else flavor
    raise ArtifactError(
        f"The model has only the flavors {', '.join(sorted(present))}; this installation reads {_known(added)}, "
        f"{_FOREIGN.name}. Another package can add a flavor, see docs/models.md."
    )


def _built_in(name: str) -> Flavor | None:
    return next((flavor for flavor in _BUILT_IN if flavor.name == name), None)


def _known(added: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys([*added, *(flavor.name for flavor in _BUILT_IN)]))
