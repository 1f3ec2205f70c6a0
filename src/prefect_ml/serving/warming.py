"""The first predictions of a loaded model: on its own input example, which it must not fail on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from prefect_ml.errors import PrefectMLError
from prefect_ml.models.infer import data_kind
from prefect_ml.serving.decoding import Decoder
from prefect_ml.serving.encoding import encode
from prefect_ml.serving.failure import ModelFailedError
from prefect_ml.serving.matrix import matrix_by_construction, matrix_by_trial

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect_ml.models.folder import LoadedModel

_SHOWN = 300
_EXAMPLE = "input_example.json"


@dataclass(frozen=True, slots=True)
class Warmed:
    """What came of it.

    Attributes:
        matrix: predicts from an array of plain numbers; None where the model wants a table.
        one_row: predicts the first row of the example, to be timed; None when there is none.
    """

    matrix: Callable[[Any], Any] | None
    one_row: Callable[[], object] | None


def warm(model: LoadedModel) -> Warmed:
    """Have a model predict its input example, where it has one.

    Raises:
        ModelFailedError: it fails on it.
    """
    matrix = matrix_by_construction(model)
    rows = None if matrix is None else _example_matrix(model)
    if matrix is not None and rows is not None:
        predict, matrix_rows = matrix, rows
        _replay(lambda: encode(predict(matrix_rows)))
        return Warmed(predict, lambda: encode(predict(matrix_rows[:1])))
    _replay(lambda: model.input_example is None or encode(model.predict(model.input_example)))
    example = model.input_example
    matrix = matrix_by_trial(model)
    if data_kind(example) not in ("frame", "array") or not len(example):
        return Warmed(matrix, None)
    return Warmed(matrix, lambda: encode(model.predict(example[:1])))


def shown(error: Exception) -> str:
    """An error in so many characters as a client may see."""
    text = f"{type(error).__name__}: {error}"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _replay(predict: Callable[[], object]) -> None:
    try:
        predict()
    except Exception as error:
        raise ModelFailedError(f"The model fails on its own input example: {shown(error)}") from error


def _example_matrix(model: LoadedModel) -> Any:
    """The input example as an array, read as a request is; None when it is none of plain numbers."""
    about = model.info.input_example
    if about is None or about.get("artifact_path") != _EXAMPLE or about.get("pandas_orient") != "split":
        return None
    try:
        body = orjson.dumps({"dataframe_split": orjson.loads((model.folder / _EXAMPLE).read_bytes())})
        data = Decoder(model.signature, as_matrix=True).decode("application/json", body).data
    except (OSError, orjson.JSONDecodeError, PrefectMLError):
        return None
    return data if data_kind(data) == "array" else None
