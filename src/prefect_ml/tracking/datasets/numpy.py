"""Arrays of numpy, alone and several together.

Up to 10,000 elements count of each. Padding of structured dtypes and the bits of a NaN do not count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from prefect_ml.errors import InvalidInputError
from prefect_ml.models.schema import Tensor
from prefect_ml.tracking.datasets.facts import Facts
from prefect_ml.tracking.datasets.sampling import MOST_CELLS, Fingerprint, positions

if TYPE_CHECKING:
    from collections.abc import Sequence

_WORDS = {"U": "str", "S": "bytes", "O": "object", "T": "str"}
_WIDEST = 8


def describe(data: Any) -> Facts:
    if not isinstance(data, np.ndarray):
        raise InvalidInputError(f"{type(data).__name__} is no array of numpy.")
    fingerprint = Fingerprint("numpy")
    fingerprint.add(_dtype(data), data.shape)
    cells = sampled(data)
    if isinstance(cells, bytes):
        fingerprint.add_bytes(cells)
    else:
        fingerprint.add(*cells)
    known = data.dtype.kind in "biufcmMUSOT"
    return Facts(
        kind="numpy",
        digest=fingerprint.digest,
        tensors=[_tensor(data)] if known else None,
        rows=data.shape[0] if data.ndim else 1,
        elements=data.size,
        size=data.nbytes,
        more={"features_shape": list(data.shape)},
    )


def sampled(array: np.ndarray[Any, Any]) -> bytes | Sequence[Any]:
    """The elements of an array that are looked at."""
    at = np.asarray(positions(array.size, MOST_CELLS), dtype=np.intp)
    if isinstance(array, np.ma.MaskedArray):
        return array[np.unravel_index(at, array.shape)].tolist() if array.size else []
    return plain(array.flat[at])


def plain(array: np.ndarray[Any, Any]) -> bytes | Sequence[Any]:
    """A small array as bytes that are the same for equal arrays, or one by one where its bytes are not."""
    kind, width = array.dtype.kind, array.dtype.itemsize
    if kind in "biu":
        return array.tobytes()
    if kind in "mM":
        return array.astype("i8").tobytes()
    if kind == "f" and width <= _WIDEST:
        with np.errstate(all="ignore"):
            same = array.astype(f"<f{width}") + 0
        same[np.isnan(same)] = np.nan
        return same.tobytes()
    # Wider floats have no Python number that holds them.
    return [repr(value) for value in array] if kind in "fc" else array.tolist()


def _dtype(array: np.ndarray[Any, Any]) -> str:
    dtype = array.dtype
    return str(dtype.descr if dtype.names else dtype.str) + ("masked" if isinstance(array, np.ma.MaskedArray) else "")


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    shape = (-1, *array.shape[1:]) if array.ndim else ()
    return Tensor(_WORDS.get(array.dtype.kind) or array.dtype.newbyteorder("=").name, shape)
