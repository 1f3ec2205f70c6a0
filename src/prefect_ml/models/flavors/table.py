"""Which flavors there are, and which of them fits."""

from __future__ import annotations

import functools
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from prefect_ml.errors import ArtifactError, InvalidInputError
from prefect_ml.models.flavors.lightgbm import LightgbmFlavor
from prefect_ml.models.flavors.pyfunc import PyfuncFlavor
from prefect_ml.models.flavors.python import PythonFlavor
from prefect_ml.models.flavors.sklearn import SklearnFlavor
from prefect_ml.models.flavors.xgboost import XgboostFlavor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prefect_ml.models.flavors.contract import Flavor

GROUP = "prefect_ml.flavors"

# The first that matches is taken: the boosters' estimators are scikit-learn's too, and the last takes anything.
_BUILT_IN: tuple[Flavor, ...] = (XgboostFlavor(), LightgbmFlavor(), SklearnFlavor(), PythonFlavor())
_FOREIGN = PyfuncFlavor()


@functools.cache
def flavors() -> tuple[Flavor, ...]:
    """Installed flavors in the order in which they are asked; plugins first, since they know more."""
    plugins = [entry.load() for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)]
    return (*plugins, *_BUILT_IN)


def flavor_for(model: object, name: str | None = None) -> Flavor:
    """The flavor to save an object with: the named one, else the first that knows it.

    Raises:
        InvalidInputError: no flavor has this name, or none knows the object.
    """
    for flavor in flavors():
        if flavor.name == name or (name is None and flavor.matches(model)):
            return flavor
    known = ", ".join(flavor.name for flavor in flavors())
    if name is not None:
        raise InvalidInputError(f"There is no flavor {name!r}; known are {known}.")
    raise InvalidInputError(f"A {type(model).__name__} is no model: it has no `predict` and cannot be called.")


def flavor_of(sections: Iterable[str]) -> Flavor:
    """The flavor that loads a folder whose MLmodel file has these flavor sections."""
    present = set(sections)
    for flavor in (*flavors(), _FOREIGN):
        if flavor.name in present:
            return flavor
    known = ", ".join(flavor.name for flavor in (*flavors(), _FOREIGN))
    raise ArtifactError(
        f"The model has only the flavors {', '.join(sorted(present))}; this installation reads {known}."
    )
