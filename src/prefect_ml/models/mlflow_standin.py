"""The few names of MLflow that models saved by it refer to, where MLflow is not installed.

A custom model's class has `mlflow.pyfunc.PythonModel` below it, and code calls `mlflow.models.set_model`. What else a
pickle names of MLflow, such as a signature, is kept as an object without behaviour.
"""

from __future__ import annotations

import importlib.util
import types
from typing import Any

from prefect_ml.models.from_code import set_model


class PythonModel:
    """What a custom model is a subclass of."""

    def load_context(self, context: Any) -> None:
        """Nothing to load."""


class FunctionPythonModel(PythonModel):
    """What MLflow makes of a function; `func` comes with the pickle."""

    func: Any

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:  # noqa: ARG002 - MLflow's form
        return self.func(model_input)


class _Kept:
    """An object of a class that is not here."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.arguments, self.named = arguments, named

    def __setstate__(self, state: Any) -> None:
        self.state = state


_NAMES: dict[str, dict[str, Any]] = {
    "mlflow": {},
    "mlflow.models": {"set_model": set_model},
    "mlflow.models.model": {"set_model": set_model},
    "mlflow.pyfunc": {"PythonModel": PythonModel},
    "mlflow.pyfunc.model": {"PythonModel": PythonModel, "_FunctionPythonModel": FunctionPythonModel},
}


def standin_modules() -> dict[str, types.ModuleType]:
    """Modules by name for code that imports MLflow; none where it is installed."""
    if importlib.util.find_spec("mlflow") is not None:
        return {}
    made = {}
    for name, content in _NAMES.items():
        made[name] = types.ModuleType(name)
        vars(made[name]).update(content)
        made[name].__path__ = []
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(made[parent], last, made[name])
    return made


def standin(module: str, name: str) -> Any:
    """What a pickle means by a name of MLflow.

    Raises:
        LookupError: it is no name of MLflow's, or MLflow is installed.
    """
    if module.split(".", maxsplit=1)[0] != "mlflow" or importlib.util.find_spec("mlflow") is not None:
        raise LookupError(module)
    return _NAMES.get(module, {}).get(name) or type(name, (_Kept,), {"__module__": module})
