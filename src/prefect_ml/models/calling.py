"""Calling a Python object that predicts as its own parameters and type hints want it."""

from __future__ import annotations

import inspect
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_ml.models.hints import as_hinted, hints_of
from prefect_ml.models.signature import Signature

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class ModelContext:
    """What an object's `load_context` is given, once, after it was loaded.

    Attributes:
        folder: the model folder.
        artifacts: paths of further files by name; for models that MLflow saved.
        model_config: parameters by name; for models that MLflow saved.
    """

    folder: Path
    artifacts: Mapping[str, str] = field(default_factory=dict)
    model_config: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class _Wants:
    hint: Any
    params: bool
    context: bool


def set_up(native: Any, context: ModelContext) -> Any:
    """Call the object's `load_context`, when it has one; returns the object."""
    own = getattr(native, "load_context", None)
    if callable(own):
        own(context)
    return native


def signature_of_hints(native: Any) -> Signature | None:
    """What type hints say, None when they say nothing of the input.

    Raises:
        SignatureError: they say something that a signature cannot name.
    """
    hints = hints_of(native)
    return None if hints.input is None else Signature.infer(hints.input, hints.output)


def call(native: Any, data: Any, params: Mapping[str, Any] | None, context: ModelContext | None = None) -> Any:
    """The prediction: `params` go to those who take them, and data comes as objects of the hinted types.

    Raises:
        SignatureError: the hint's own checks refuse the data.
    """
    wants = _wants(native)
    if wants.hint is not None:
        data = as_hinted(wants.hint, data)
    function = getattr(native, "predict", native)
    arguments = (context, data) if wants.context else (data,)
    return function(*arguments, params=params) if params and wants.params else function(*arguments)


# By the function, which goes away with its model; reading hints takes longer than most predictions.
_known: weakref.WeakKeyDictionary[Any, _Wants] = weakref.WeakKeyDictionary()


def _wants(native: Any) -> _Wants:
    function = getattr(native, "predict", native)
    key = getattr(function, "__func__", None) or (function if inspect.isroutine(function) else type(function))
    found = _known.get(key)
    if found is None:
        found = _known[key] = _look(native, function)
    return found


def _look(native: Any, function: Any) -> _Wants:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # written in C
        parameters = []
    names = [parameter.name for parameter in parameters]
    takes = "params" in names or any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    # MLflow's older form, `predict(self, context, model_input)`.
    context = names[:1] == ["context"] and len(names) > 1
    return _Wants(None if context else hints_of(native).input, takes, context)
