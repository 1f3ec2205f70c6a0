"""Data of pandas and numpy as tensors, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect_ml.errors import InvalidInputError
from prefect_ml.models.infer import data_kind


def tensors(data: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of `forward` that data stands for: one tensor, or one for each name of a dict.

    A DataFrame becomes 32-bit floats, as MLflow does it (https://mlflow.org/docs/latest/ml/deep-learning/pytorch/);
    arrays keep their type.

    Raises:
        InvalidInputError: it is neither a DataFrame, an array, nor a dict of arrays.
    """
    if isinstance(data, Mapping):
        return (), {str(name): _tensor(value) for name, value in data.items()}
    return (_tensor(data),), {}


def traced_tensors(example: Any) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    """The arguments to trace with, and the shapes that may change: the first axis, which counts the batch.

    A batch of one row is doubled, since a tracer takes a size of 1 for one that never changes.
    """
    import torch  # noqa: PLC0415 - only for models of PyTorch

    positional, named = tensors(example)
    free = {0: torch.export.Dim.AUTO}
    if named:
        named = {name: _doubled(value) for name, value in named.items()}
        return (), named, {name: free if value.dim() else None for name, value in named.items()}
    positional = tuple(_doubled(value) for value in positional)
    return positional, {}, tuple(free if value.dim() else None for value in positional)


def numbers(outputs: Any, data: Any) -> Any:
    """What a module gave, in numpy's arrays; in a DataFrame with the index of the data when that was one."""
    import torch  # noqa: PLC0415 - only for models of PyTorch

    if isinstance(outputs, torch.Tensor):
        tensor = outputs.detach().cpu()
        # numpy has no type for it
        array = (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()
        return _frame(array, data.index) if data_kind(data) == "frame" and array.ndim in (1, 2) else array
    if isinstance(outputs, Mapping):
        return {str(name): numbers(value, None) for name, value in outputs.items() if value is not None}
    if isinstance(outputs, (tuple, list)):
        return [numbers(value, None) for value in outputs]
    return outputs


def _tensor(data: Any) -> Any:
    import numpy as np  # noqa: PLC0415 - only for models that take arrays
    import torch  # noqa: PLC0415 - only for models of PyTorch

    if isinstance(data, torch.Tensor):
        return data
    if data_kind(data) == "frame":
        try:
            return torch.from_numpy(data.to_numpy(dtype=np.float32, copy=True))
        except (ValueError, TypeError) as error:
            raise InvalidInputError(f"A column of the DataFrame holds no numbers: {error}.") from error
    if not isinstance(data, np.ndarray):
        raise InvalidInputError(
            f"A PyTorch model takes a DataFrame, an array or a dict of arrays, not a {type(data).__name__}."
        )
    try:
        # A tensor shares the memory, which may be read-only.
        return torch.from_numpy(data if data.flags.writeable else data.copy())
    except TypeError as error:
        raise InvalidInputError(f"An array of {data.dtype} cannot become a tensor; give numbers.") from error


def _doubled(value: Any) -> Any:
    import torch  # noqa: PLC0415 - only for models of PyTorch

    return torch.cat([value, value]) if value.dim() and value.shape[0] == 1 else value


def _frame(array: Any, index: Any) -> Any:
    import pandas as pd  # noqa: PLC0415 - only for a model that was given a frame

    return pd.DataFrame(array, index=index if len(index) == len(array) else None)
