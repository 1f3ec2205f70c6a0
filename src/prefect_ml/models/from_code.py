"""Models that are code: a file, or a folder of files, that says what predicts."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import ArtifactError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect_ml.models.private_modules import PrivateModules

_chosen: ContextVar[list[Any] | None] = ContextVar("prefect_ml_model_of_code", default=None)
# MLflow keeps what its own `set_model` was given in one place of the process.
_mlflows = threading.Lock()


def set_model(model: Any) -> None:
    """Say in a file of code what the model is: a function, or an object with `predict`.

    A file that says nothing has to have a function `predict`. Where the file is run by itself, this does nothing.

    Raises:
        InvalidInputError: it cannot predict.
    """
    if isinstance(model, type) or not (callable(model) or callable(getattr(model, "predict", None))):
        raise InvalidInputError(
            f"set_model takes a function or an object with `predict`, not a {type(model).__name__}"
            f"{' (call the class)' if isinstance(model, type) else ''}."
        )
    slot = _chosen.get()
    if slot is not None:
        slot.append(model)


def model_of(entry: Path, modules: PrivateModules) -> Any:
    """Run a file of code and return the model that it sets, else the module with its function `predict`.

    Raises:
        ArtifactError: it fails, or says nothing.
    """
    try:
        with choosing() as slot, _mlflows_choice(slot):
            module = modules.run(entry, entry.stem)
    except (Exception, SystemExit) as error:
        raise ArtifactError(f"The code {entry.name!r} of the model fails: {error!r}.") from error
    if slot:
        return slot[-1]
    if not callable(getattr(module, "predict", None)):
        raise ArtifactError(
            f"The code {entry.name!r} says no model: give it a function `predict`, or call prefect_ml.models.set_model."
        )
    return module


@contextmanager
def choosing() -> Iterator[list[Any]]:
    slot: list[Any] = []
    token = _chosen.set(slot)
    try:
        yield slot
    finally:
        _chosen.reset(token)


@contextmanager
def _mlflows_choice(slot: list[Any]) -> Iterator[None]:
    """Also take what was given to `mlflow.models.set_model`."""
    with _mlflows:
        place = sys.modules.get("mlflow.models.model")
        before = getattr(place, "__mlflow_model__", None)
        if place is not None:
            vars(place)["__mlflow_model__"] = None
        try:
            yield
        finally:
            place = sys.modules.get("mlflow.models.model")
            found = getattr(place, "__mlflow_model__", None)
            if place is not None:
                vars(place)["__mlflow_model__"] = before
            if found is not None:
                slot.append(found)
