"""Lightning (`lightning.pytorch` and `pytorch_lightning`): `Trainer.fit`, by a callback beside the user's."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_ml.tracking.autolog import fit as fits
from prefect_ml.tracking.autolog.calls import observing
from prefect_ml.tracking.autolog.patches import Patches

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from prefect_ml.tracking.autolog.fit import Fit

LIBRARY = "lightning"

_TRAINER_PARAMS = ("max_epochs", "max_steps", "accumulate_grad_batches", "precision", "gradient_clip_val", "world_size")
_STOPPING_PARAMS = ("monitor", "patience", "mode", "min_delta")


def install(module: ModuleType) -> Patches:
    patches = Patches()
    patches.replace(module.Trainer, "fit", observing(observe))
    return patches


def observe(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call `Trainer.fit`, and record it on the first of the processes that train together."""
    trainer: Any = args[0] if args else None
    if not fits.wanted(LIBRARY) or not getattr(trainer, "is_global_zero", False):
        return original(*args, **kwargs)
    fit = fits.opened(LIBRARY)
    if fit is None:
        return original(*args, **kwargs)
    ours: list[Any] = []
    try:
        return fits.recorded(
            fit,
            lambda: original(*args, **kwargs),
            before=lambda: _add(fit, trainer, ours),
            after=lambda _: _record_end(fit, trainer),
        )
    finally:
        with fit.attempt("the end"):
            # A new list: the model's own callbacks may have been added meanwhile.
            trainer.callbacks = [callback for callback in trainer.callbacks if callback not in ours]


def recorder(package: str, fit: Fit) -> Any:
    """A callback of this package (`lightning.pytorch` or `pytorch_lightning`) that records into `fit`."""
    return _recorder_class(package)(package, fit)


def _add(fit: Fit, trainer: Any, ours: list[Any]) -> None:
    callback = recorder(_package(trainer), fit)
    ours.append(callback)
    trainer.callbacks = [*trainer.callbacks, callback]
    given = {name: getattr(trainer, name, None) for name in _TRAINER_PARAMS}
    fit.params({name: value for name, value in given.items() if value is not None})


def _package(trainer: Any) -> str:
    modules = (base.__module__ for base in type(trainer).__mro__)
    return (
        "pytorch_lightning" if any(name.startswith("pytorch_lightning.") for name in modules) else "lightning.pytorch"
    )


class _Recorder:
    """The hooks of a callback: the model and its optimizers at the start, and the metrics of each epoch."""

    def __init__(self, package: str, fit: Fit) -> None:
        self._package = package
        self._fit = fit
        self._seen: dict[str, Any] = {}
        self._recorded: dict[str, tuple[int, float]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        # Strategies that spawn processes pickle it, and the class that it is of has no name in a module.
        return recorder, (self._package, self._fit)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        with self._fit.attempt("the model and its optimizers"):
            _record_start(self._fit, trainer, pl_module)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002 - its signature
        # What the module's own end of the epoch logged came after ours.
        if trainer.current_epoch:
            self._record(trainer, trainer.current_epoch - 1)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002 - its signature
        self._record(trainer, trainer.current_epoch)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002 - its signature
        self._record(trainer, max(trainer.current_epoch - 1, 0))

    def _record(self, trainer: Any, epoch: int) -> None:
        if not trainer.is_global_zero:
            return
        with self._fit.attempt("the metrics of an epoch"):
            if points := self._fresh(dict(trainer.callback_metrics), epoch):
                self._fit.metrics(points, epoch)

    def _fresh(self, metrics: Mapping[str, Any], epoch: int) -> dict[str, float]:
        """What was logged since the last time: a value stays the same object until it is logged again."""
        points = {}
        for name, value in metrics.items():
            per_step = name.endswith("_step") and f"{name.removesuffix('_step')}_epoch" in metrics
            if per_step or self._seen.get(name) is value:
                continue
            self._seen[name] = value
            number = float(value)
            if self._recorded.get(name) != (epoch, number):
                self._recorded[name] = (epoch, number)
                points[name] = number
        return points


@functools.cache
def _recorder_class(package: str) -> type:
    return type("Recorder", (_Recorder, importlib.import_module(package).Callback), {})


def _record_start(fit: Fit, trainer: Any, module: Any) -> None:
    if not trainer.is_global_zero:
        return
    class_ = type(module)
    fit.tags({"model_name": class_.__name__, "model_class": f"{class_.__module__}.{class_.__qualname__}"})
    weights = list(module.parameters())
    trainable = sum(weight.numel() for weight in weights if weight.requires_grad)
    params = {"number_of_params": sum(weight.numel() for weight in weights), "trainable_params": trainable}
    for number, optimizer in enumerate(trainer.optimizers, 1):
        suffix = "" if number == 1 else f"_{number}"
        params[f"optimizer{suffix}"] = type(optimizer).__name__
        params |= {f"{name}{suffix}": value for name, value in optimizer.defaults.items() if value is not None}
    batch_size = getattr(trainer.train_dataloader, "batch_size", None)
    fit.params(params | ({} if batch_size is None else {"batch_size": batch_size}))
    fit.params({name: value for name, value in dict(module.hparams).items() if name not in params})


def _record_end(fit: Fit, trainer: Any) -> None:
    fit.metrics({"epochs": trainer.current_epoch})
    for stopping in trainer.early_stopping_callbacks:
        with fit.attempt("early stopping"):
            fit.params({f"early_stopping_{name}": getattr(stopping, name) for name in _STOPPING_PARAMS})
            found = {"stopped_epoch": stopping.stopped_epoch, "best_score": stopping.best_score}
            fit.metrics({f"early_stopping_{name}": value for name, value in found.items()})
    with fit.attempt("the weights"):
        _record_weights(fit, trainer)


def _record_weights(fit: Fit, trainer: Any) -> None:
    """The state dict by safetensors; of sharded models, and without it, where the trainer's own checkpoint is."""
    if importlib.util.find_spec("safetensors") is not None and trainer.world_size == 1:
        save_file = importlib.import_module("safetensors.torch").save_file

        with tempfile.TemporaryDirectory(prefix="prefect-ml-") as scratch:
            path = Path(scratch) / "model.safetensors"
            state = trainer.lightning_module.state_dict().items()
            # Copies: the format refuses tensors that share memory.
            save_file({name: value.detach().cpu().contiguous().clone() for name, value in state}, path)
            fit.file(path)
        return
    checkpoint = getattr(trainer.checkpoint_callback, "best_model_path", "")
    if checkpoint:
        fit.tags({"checkpoint": checkpoint})
    fit.note("weights not kept (install safetensors)" if trainer.world_size == 1 else "weights of shards not kept")
