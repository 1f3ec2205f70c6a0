"""What goes into an ONNX session and what comes out, as MLflow's pyfunc does it where that works."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect_ml.errors import InvalidInputError
from prefect_ml.models.infer import data_kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# By the type that onnxruntime gives an input (https://onnxruntime.ai/docs/reference/operators/add-custom-op.html).
_DTYPES = {
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
}


def feed(session: Any, data: Any) -> dict[str, Any]:
    """The arrays of each input, of the types that the graph takes.

    Raises:
        InvalidInputError: inputs are missing, or their values are of another kind.
    """
    inputs = session.get_inputs()
    names = [wanted.name for wanted in inputs]
    given = _by_name(data, names)
    missing = [name for name in names if name not in given]
    if missing:
        raise InvalidInputError(f"The ONNX model takes the inputs {', '.join(names)}; missing: {', '.join(missing)}.")
    return {wanted.name: _fitted(given[wanted.name], wanted) for wanted in inputs}


def named_outputs(session: Any, outputs: Sequence[Any], data: Any) -> Any:
    """The outputs by name, as a frame when a frame came in and each output has one value for each of its rows."""
    import numpy as np  # noqa: PLC0415 - comes with onnxruntime

    named = dict(zip([output.name for output in session.get_outputs()], outputs, strict=True))
    if data_kind(data) != "frame":
        return named
    import pandas as pd  # noqa: PLC0415 - a frame came in

    flat = {name: np.asarray(output).reshape(-1) for name, output in named.items()}
    if any(len(values) != len(data) for values in flat.values()):
        return named
    return pd.DataFrame({name: list(values) if values.dtype == object else values for name, values in flat.items()})


def _by_name(data: Any, names: Sequence[str]) -> Mapping[str, Any]:
    kind = data_kind(data)
    if isinstance(data, dict):
        return data
    if kind == "frame" and len(names) > 1:
        return {name: data[name].to_numpy() for name in names if name in data.columns}
    if len(names) != 1:
        raise InvalidInputError(
            f"The ONNX model takes the inputs {', '.join(names)}; give a frame or a dict that has them by name."
        )
    return {names[0]: data.to_numpy() if kind in ("frame", "series") else data}


def _fitted(values: Any, wanted: Any) -> Any:
    """Numbers become the floats that are wanted, with fewer digits if need be; integers only of types that fit."""
    import numpy as np  # noqa: PLC0415 - comes with onnxruntime

    dtype = np.dtype(_DTYPES[wanted.type]) if wanted.type in _DTYPES else None
    array = np.asarray(values)
    if dtype is None:
        return values
    if array.dtype != dtype:
        to_fraction = dtype.kind == "f" and array.dtype.kind in "biuf"
        to_text = dtype.kind == "O" and array.dtype.kind in "US"
        if not (to_fraction or to_text or np.can_cast(array.dtype, dtype, "safe")):
            raise InvalidInputError(
                f"The input {wanted.name!r} of the ONNX model takes {wanted.type}, but got {array.dtype}."
            )
        array = array.astype(dtype)
    # Converters of scikit-learn models make each column an input of one column.
    column = array.ndim == 1 and len(wanted.shape) == 2 and wanted.shape[1] == 1  # noqa: PLR2004 - rows and a column
    return array.reshape(-1, 1) if column else array
