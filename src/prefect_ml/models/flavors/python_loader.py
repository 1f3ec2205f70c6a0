"""Opens a model of Python for mlflow.pyfunc: an object in a pickle, or a file of code.

A copy of this file goes along with the model, so it imports nothing of prefect-ml, and is run by MLflow alone.
"""

from __future__ import annotations

import importlib.util
import inspect
import pathlib
import typing
from typing import Any


class _Context:
    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.artifacts: dict[str, str] = {}
        self.model_config = None


class _Model:
    def __init__(self, native: Any, folder: pathlib.Path) -> None:
        self._call = native.predict if hasattr(native, "predict") else native
        try:
            parameters = list(inspect.signature(self._call).parameters.values())
        except (TypeError, ValueError):
            parameters = []
        self._takes_params = any(p.name == "params" or p.kind is p.VAR_KEYWORD for p in parameters)
        self._hint = _hint_of(self._call, parameters)
        if callable(getattr(native, "load_context", None)):
            native.load_context(_Context(folder))

    def predict(self, data: Any, params: Any = None) -> Any:
        data = _as_hinted(self._hint, data)
        return self._call(data, params=params) if params and self._takes_params else self._call(data)


def _hint_of(call: Any, parameters: list[inspect.Parameter]) -> Any:
    plain = call if inspect.isroutine(call) else type(call).__call__
    try:
        return typing.get_type_hints(plain, include_extras=True).get(parameters[0].name) if parameters else None
    except (NameError, TypeError, AttributeError):
        return None


def _as_hinted(hint: Any, data: Any) -> Any:
    """A table as rows of the hinted type, or as plain values."""
    item: Any = typing.get_args(hint)[0] if typing.get_origin(hint) is list else hint
    scalar = item in (str, int, float, bool)
    row = hasattr(item, "model_fields") or hasattr(item, "__dataclass_fields__") or typing.is_typeddict(item)
    if not (hasattr(data, "to_dict") and (scalar or row)):
        return data
    if scalar:
        values = data.iloc[:, 0].tolist()
    else:
        from pydantic import TypeAdapter  # noqa: PLC0415 - MLflow has it

        values = [TypeAdapter(item).validate_python(row) for row in data.astype(object).to_dict("records")]
    return values if typing.get_origin(hint) is list else values[0]


def _load_pyfunc(path: str) -> _Model:
    file = pathlib.Path(path)
    if file.suffix == ".pkl":
        import cloudpickle  # noqa: PLC0415 - only for a pickle

        with file.open("rb") as stream:
            return _Model(cloudpickle.load(stream), file.parent)
    return _Model(_run(file), file.parent.parent)


def _run(file: pathlib.Path) -> Any:
    """What the code sets as its model, by prefect-ml or by MLflow, else the module with its `predict`."""
    import mlflow.models.model as theirs  # noqa: PLC0415 - only MLflow runs this

    theirs.__mlflow_model__ = None
    spec: Any = importlib.util.spec_from_file_location(f"prefect_ml_{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    slot: list[Any] = []
    try:
        from prefect_ml.models.from_code import choosing  # noqa: PLC0415 - it may not be installed
    except ImportError:
        spec.loader.exec_module(module)
    else:
        with choosing() as slot:
            spec.loader.exec_module(module)
    return slot[-1] if slot else theirs.__mlflow_model__ or module
