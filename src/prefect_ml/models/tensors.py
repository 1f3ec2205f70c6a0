"""Fitting arrays to the tensors of a signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import SignatureError
from prefect_ml.models.infer import data_kind

if TYPE_CHECKING:
    from prefect_ml.models.schema import Tensor

_EXACT = {2: (-(2**11), 2**11), 4: (-(2**24), 2**24), 8: (-(2**53), 2**53)}  # by size of the float in bytes


def fit_tensors(tensors: Sequence[Tensor], data: Any) -> Any:
    """An array, or a dict of arrays where the tensors have names; the same array when it fits already.

    Raises:
        SignatureError: a tensor is missing, or its shape or type does not fit without loss.
    """
    if tensors[0].name is None:
        return _fit_tensor(tensors[0], _whole(data))
    if data_kind(data) == "frame":
        data = {name: data[name].to_numpy() for name in data.columns}
    if not isinstance(data, Mapping):
        if len(tensors) > 1:
            names = ", ".join(repr(tensor.name) for tensor in tensors)
            raise SignatureError(f"The model takes arrays by name ({names}); give a dict of arrays.")
        data = {tensors[0].name: data}
    missing = [repr(tensor.name) for tensor in tensors if tensor.name not in data]
    if missing:
        raise SignatureError(f"The data lacks the array{'s' * (len(missing) > 1)} {', '.join(missing)}.")
    return {tensor.name: _fit_tensor(tensor, data[tensor.name]) for tensor in tensors}


def _whole(data: Any) -> Any:
    if isinstance(data, Mapping):
        raise SignatureError("The model takes one array without a name; give the array or nested lists, not a dict.")
    return data.to_numpy() if data_kind(data) in ("frame", "series") else data


def _fit_tensor(tensor: Tensor, data: Any) -> Any:
    import numpy as np  # noqa: PLC0415 - only needed when there is data

    where = "the array" if tensor.name is None else f"array {tensor.name!r}"
    typed = data_kind(data) == "array"
    try:
        array = data if typed else np.array(data)
    except ValueError as error:
        raise SignatureError(f"{where}: expected shape {_shape(tensor)}, got lists of different lengths.") from error
    fits = array.ndim == len(tensor.shape) and all(
        want in (-1, have) for want, have in zip(tensor.shape, array.shape, strict=True)
    )
    if not fits:
        raise SignatureError(f"{where}: expected shape {_shape(tensor)}, got {array.shape}.")
    if tensor.dtype in ("str", "bytes", "object"):
        if array.dtype.kind not in {"str": "UO", "bytes": "SO", "object": "O"}[tensor.dtype]:
            raise SignatureError(f"{where}: expected {tensor.dtype}, got {array.dtype}.")
        return array
    try:
        wanted = np.dtype(tensor.dtype)
    except TypeError as error:
        raise SignatureError(f"{where}: numpy knows no dtype {tensor.dtype!r}; correct the signature.") from error
    if array.dtype == wanted:
        return array
    if not _castable(array, wanted, typed=typed):
        raise SignatureError(f"{where}: expected {wanted}, got {array.dtype}{_sample(array)}.")
    return array.astype(wanted)


def _castable(array: Any, wanted: Any, *, typed: bool) -> bool:
    """Numpy's safe casts; values of plain lists have no size of their own, so there the values decide."""
    import numpy as np  # noqa: PLC0415 - only needed when there is data

    have, want = array.dtype.kind, wanted.kind
    if have in "iu" and want in "iuf" and array.size:
        low, high = (
            _EXACT.get(wanted.itemsize, _EXACT[8]) if want == "f" else (np.iinfo(wanted).min, np.iinfo(wanted).max)
        )
        return low <= int(array.min()) and int(array.max()) <= high
    if have == "b" or np.can_cast(array.dtype, wanted, "safe"):
        return bool(have != "b")
    if typed or have != "f" or want != "f":
        return not typed and not array.size
    finite = array[np.isfinite(array)]
    return not finite.size or bool(np.abs(finite).max() <= np.finfo(wanted).max)


def _shape(tensor: Tensor) -> str:
    return "(" + ", ".join("any" if n == -1 else str(n) for n in tensor.shape) + ")"


def _sample(array: Any) -> str:
    return f" ({array.flat[0].item()!r:.40})" if array.size and array.dtype.kind != "O" else ""
