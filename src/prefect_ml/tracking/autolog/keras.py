"""Keras 3: `Model.fit`, by a callback beside the user's."""

from __future__ import annotations

import functools
import importlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_ml.tracking.autolog import fit as fits
from prefect_ml.tracking.autolog.calls import Call, observing
from prefect_ml.tracking.autolog.patches import Patches

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from prefect_ml.tracking.autolog.fit import Fit

LIBRARY = "keras"

_FIT_PARAMS = ("epochs", "initial_epoch", "steps_per_epoch", "validation_split", "validation_freq", "shuffle")
_STOPPING_PARAMS = ("monitor", "patience", "min_delta", "restore_best_weights")
_DEFAULT_BATCH = 32


def install(module: ModuleType) -> Patches:
    patches = Patches()
    # Each backend has a trainer class of its own.
    owner = next(base for base in module.Model.__mro__ if "fit" in vars(base))
    patches.replace(owner, "fit", observing(observe))
    return patches


def observe(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call `Model.fit`, and record it on the first of the processes that train together."""
    if not fits.wanted(LIBRARY) or _silent():
        return original(*args, **kwargs)
    fit = fits.opened(LIBRARY)
    if fit is None:
        return original(*args, **kwargs)
    call = Call.of(original, args, kwargs)
    theirs: Any = call.given.get("callbacks")
    ours: list[Any] = []
    with fit.attempt("the metrics of epochs"):
        call = _listening(fit, call, ours)
    try:
        return fits.recorded(
            fit,
            call.make,
            before=lambda: _record_call(fit, call.given),
            after=lambda _: _record_end(fit, call.given),
        )
    finally:
        if ours and hasattr(theirs, "callbacks"):
            theirs.callbacks = [callback for callback in theirs.callbacks if callback not in ours]


def _silent() -> bool:
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    return bool(
        distributed and distributed.is_available() and distributed.is_initialized() and distributed.get_rank() != 0
    )


def _listening(fit: Fit, call: Call, ours: list[Any]) -> Call:
    if not call.given:
        return call
    theirs: Any = call.given.get("callbacks")
    ours.append(_recorder_class()(fit))
    if hasattr(theirs, "callbacks"):
        # A list of callbacks that the user made is used as it is, so ours goes there for the time of the fit.
        ours[0].set_model(call.given["self"])
        theirs.callbacks = [*theirs.callbacks, ours[0]]
        return call
    listed = theirs if isinstance(theirs, list | tuple) else [] if theirs is None else [theirs]
    return call.having("callbacks", [*listed, ours[0]])


@functools.cache
def _recorder_class() -> type:
    base: Any = importlib.import_module("keras").callbacks.Callback

    class Recorder(base):  # type: ignore[misc] # a class that is known when it is imported
        """Records the built model at the start, and the metrics of each epoch."""

        def __init__(self, fit: Fit) -> None:
            super().__init__()
            self._fit = fit

        def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002 - its signature
            with self._fit.attempt("the model and its optimizer"):
                _record_model(self._fit, self.model)

        def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
            if logs:
                self._fit.metrics(logs, epoch)

    return Recorder


def _record_call(fit: Fit, given: Mapping[str, Any]) -> None:
    batch_size = given.get("batch_size") or getattr(given.get("x"), "batch_size", None)
    arrays = hasattr(given.get("x"), "shape")
    params = {name: given[name] for name in _FIT_PARAMS if given.get(name) is not None}
    if batch_size or arrays:
        params["batch_size"] = batch_size or _DEFAULT_BATCH
    fit.params(params)
    x = given.get("x")
    fit.input(x, given.get("y"))
    fit.evaluations(lambda: _validation(given.get("validation_data")), x)


def _validation(data: Any) -> list[tuple[str, Any, Any]]:
    return [("validation", data[0], data[1])] if isinstance(data, tuple) else []


def _record_model(fit: Fit, model: Any) -> None:
    class_ = type(model)
    fit.tags({"model_name": model.name, "model_class": f"{class_.__module__}.{class_.__qualname__}"})
    options = {name: value for name, value in model.optimizer.get_config().items() if value is not None}
    named = {"optimizer": type(model.optimizer).__name__, "loss": model.loss, "number_of_params": model.count_params()}
    fit.params(options | named)


def _record_end(fit: Fit, given: Mapping[str, Any]) -> None:
    model, callbacks = given["self"], given.get("callbacks")
    for callback in getattr(callbacks, "callbacks", callbacks) or ():
        if type(callback).__name__ == "EarlyStopping":
            with fit.attempt("early stopping"):
                _record_stopping(fit, callback)
    with fit.attempt("the model"), tempfile.TemporaryDirectory(prefix="prefect-ml-") as scratch:
        path = Path(scratch) / "model.keras"
        model.save(path)
        fit.file(path)


def _record_stopping(fit: Fit, stopping: Any) -> None:
    fit.params({f"early_stopping_{name}": getattr(stopping, name) for name in _STOPPING_PARAMS})
    found = {name: getattr(stopping, name, None) for name in ("stopped_epoch", "best_epoch", "best")}
    fit.metrics({f"early_stopping_{name}": value for name, value in found.items() if value is not None})
