"""Tensors of KServe's inference protocol, version 2: as JSON, and as bytes behind the JSON.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol and, for the bytes,
https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_binary_data.html
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import InvalidInputError
from prefect_ml.serving.failure import ModelFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping

# numpy's dtype of each datatype; that of BYTES is text or bytes, behind their lengths.
DTYPES = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
    "FP16": "float16", "FP32": "float32", "FP64": "float64",
}  # fmt: skip
DATATYPES = {dtype: datatype for datatype, dtype in DTYPES.items()}
BYTES = "BYTES"
_MOST_VALUES = 1 << 24
_LENGTH = struct.Struct("<I")


def datatype_of(dtype: str) -> str:
    """The datatype of an array with this numpy dtype; BYTES for text, bytes and objects.

    Raises:
        ModelFailedError: the protocol has none, as for times.
    """
    if dtype in DATATYPES:
        return DATATYPES[dtype]
    if dtype == "object" or dtype.startswith(("str", "bytes", "<U", "|S")):
        return BYTES
    raise ModelFailedError(f"The model's answer is of {dtype}, which this protocol has not; ask at /invocations.")


def read_tensor(tensor: Mapping[str, Any], raw: memoryview | None) -> Any:
    """The array of an input.

    Args:
        tensor: the input's JSON object.
        raw: its bytes, where they stand behind the JSON.

    Raises:
        InvalidInputError: its datatype is not known, or its data are not those of its shape.
    """
    import numpy as np  # noqa: PLC0415  only where there are tensors

    name, datatype = tensor.get("name"), tensor.get("datatype")
    shape: Any = tensor.get("shape")
    if not isinstance(name, str) or not _is_shape(shape):
        raise InvalidInputError("Each input has a 'name', a 'datatype', and a 'shape' that is a list of sizes.")
    if datatype != BYTES and datatype not in DTYPES:
        known = ", ".join((*DTYPES, BYTES))
        raise InvalidInputError(f"Input {name[:60]!r} has the datatype {str(datatype)[:60]!r}; known are {known}.")
    count = math.prod(shape)
    if raw is not None:
        array = _texts(raw, name) if datatype == BYTES else _numbers(raw, DTYPES[datatype], name)
    else:
        array = _from_json(tensor.get("data"), datatype, name)
    if array.size != count:
        raise InvalidInputError(f"Input {name[:60]!r} has {array.size} values; its shape {shape} asks for {count}.")
    return np.reshape(array, shape)


def tensor_json(name: str, array: Any) -> dict[str, Any]:
    """An output without its data.

    Raises:
        ModelFailedError: the protocol has no datatype for it.
    """
    return {"name": name, "datatype": datatype_of(array.dtype.name), "shape": list(array.shape)}


def json_data(array: Any) -> list[Any]:
    """The data of an output for JSON, row after row, bytes as the text that they are in UTF-8."""
    flat: list[Any] = array.ravel().tolist()
    if array.dtype.kind not in "OSU":
        return flat
    return [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in flat]


def raw_data(array: Any) -> bytes:
    """The data of an output as bytes, least significant first."""
    if datatype_of(array.dtype.name) != BYTES:
        little = array.dtype.newbyteorder("<")
        return bytes(array.astype(little, copy=False).tobytes())
    parts = []
    for value in array.ravel().tolist():
        content = value if isinstance(value, bytes) else str(value).encode()
        parts += [_LENGTH.pack(len(content)), content]
    return b"".join(parts)


def _is_shape(shape: Any) -> bool:
    sizes = isinstance(shape, list) and all(type(size) is int and 0 <= size <= _MOST_VALUES for size in shape)
    return sizes and math.prod(shape) <= _MOST_VALUES


def _numbers(raw: memoryview, dtype: str, name: str) -> Any:
    import numpy as np  # noqa: PLC0415

    kind = np.dtype(dtype).newbyteorder("<")
    if len(raw) % kind.itemsize:
        raise InvalidInputError(f"Input {name[:60]!r} has {len(raw)} bytes, which are no {dtype} values.")
    return np.frombuffer(raw, kind).astype(dtype)


def _texts(raw: memoryview, name: str) -> Any:
    import numpy as np  # noqa: PLC0415

    values, at = [], 0
    while at < len(raw):
        end = at + _LENGTH.size + (_LENGTH.unpack_from(raw, at)[0] if at + _LENGTH.size <= len(raw) else len(raw))
        if end > len(raw):
            raise InvalidInputError(f"Input {name[:60]!r} ends within a value; each stands behind its length.")
        values.append(_text(bytes(raw[at + _LENGTH.size : end])))
        at = end
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _text(content: bytes) -> str | bytes:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def _from_json(data: Any, datatype: str, name: str) -> Any:
    import numpy as np  # noqa: PLC0415

    flat = list(_flattened(data)) if isinstance(data, list) else None
    if flat is None:
        raise InvalidInputError(
            f"Input {name[:60]!r} has no 'data'; give a list, or bytes and their 'binary_data_size'."
        )
    wanted = {BYTES: (str,), "BOOL": (bool,)}.get(datatype, (int, float) if datatype.startswith("FP") else (int,))
    wrong = [value for value in flat if type(value) not in wanted][:1]
    if wrong:
        raise InvalidInputError(f"Input {name[:60]!r} is of {datatype}, and has the value {wrong[0]!r:.60}.")
    if datatype == BYTES:
        array = np.empty(len(flat), dtype=object)
        array[:] = flat
        return array
    try:
        return np.array(flat, dtype=DTYPES[datatype])
    except OverflowError as error:
        raise InvalidInputError(f"Input {name[:60]!r} has a value that {datatype} cannot hold.") from error


def _flattened(data: list[Any]) -> Any:
    for value in data:
        if isinstance(value, list):
            yield from _flattened(value)
        else:
            yield value
