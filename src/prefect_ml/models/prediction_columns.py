"""What a model predicts, as columns of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import InvalidInputError
from prefect_ml.models.infer import data_kind

if TYPE_CHECKING:
    import pyarrow as pa

_MATRIX = 2


def prediction_columns(predictions: Any, rows: int, name: str = "prediction") -> dict[str, pa.Array]:
    """Arrow arrays of `rows` values each, by the name of their column.

    One value a row is the column `name`. Several are `name_0`, `name_1`, … for a matrix of shape (rows, k), and have
    the names that a DataFrame, a dict of arrays or dicts give them. Arrays of more dimensions are lists.

    Raises:
        InvalidInputError: there is not one prediction for each row, or one that no column can hold.
    """
    import pyarrow as pa  # noqa: PLC0415 - an extra, and slow to import

    try:
        found = {key: _array(values) for key, values in _by_name(predictions, name).items()}
    # Of numbers beyond 64 bits, and of half a surrogate pair, pyarrow says so in Python's own errors.
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        raise InvalidInputError(f"The model's predictions cannot be kept in columns: {error}") from error
    if odd := [f"{len(array)} in {key!r}" for key, array in found.items() if len(array) != rows]:
        raise InvalidInputError(
            f"For {rows} rows the model gave {odd[0]}: it must give one prediction for each row, and depend on that "
            "row alone."
        )
    return found


def _by_name(predictions: Any, name: str) -> Mapping[str, Any]:
    kind = data_kind(predictions)
    if kind == "frame":
        return {str(label): predictions.iloc[:, at] for at, label in enumerate(predictions.columns)}
    if not kind and hasattr(predictions, "toarray"):
        predictions, kind = predictions.toarray(), "array"
    if kind == "array" and predictions.ndim == _MATRIX:
        width = predictions.shape[1]
        return {name if width == 1 else f"{name}_{at}": predictions[:, at] for at in range(width)}
    if isinstance(predictions, Mapping):
        return {str(key): values for key, values in predictions.items()}
    if isinstance(predictions, (list, tuple)) and predictions and all(isinstance(row, Mapping) for row in predictions):
        labels = dict.fromkeys(key for row in predictions for key in row)
        return {str(label): [row.get(label) for row in predictions] for label in labels}
    return {name: predictions}


def _array(values: Any) -> pa.Array:
    import pyarrow as pa  # noqa: PLC0415

    kind = data_kind(values)
    if kind == "array":
        return pa.array(values.tolist() if values.ndim != 1 else values)
    if kind == "series":
        # A column of categories is one of their texts; nobody else's table knows the codes.
        array = pa.Array.from_pandas(values)
        return array.dictionary_decode() if isinstance(array, pa.DictionaryArray) else array
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
        raise InvalidInputError(f"The model gave one {type(values).__name__} instead of a prediction for each row.")
    return pa.array(list(values))
