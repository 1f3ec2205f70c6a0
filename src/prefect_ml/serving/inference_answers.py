"""What was answered, as columns of predictions, whichever form it was sent in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from prefect_ml.errors import InvalidInputError
from prefect_ml.models.prediction_columns import prediction_columns
from prefect_ml.serving import kserve
from prefect_ml.serving.columnar_bodies import MEDIA_TYPES, PREDICTION
from prefect_ml.serving.kserve_answers import read_outputs
from prefect_ml.serving.predicted import read_answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from prefect_ml.serving.observing import Answered


def answer_columns(request: Answered, rows: int) -> Mapping[str, pa.Array]:
    """Predictions by name, `rows` of each; an answer that has not one for each row stands whole in each, as JSON.

    Args:
        request: that was answered 200.
        rows: that the model was asked for.
    """
    import pyarrow as pa  # noqa: PLC0415  an extra, and slow to import

    if request.accept in MEDIA_TYPES:
        table = read_answer(request.accept, request.answer)
        return {name: table.column(name).combine_chunks() for name in table.column_names}
    predictions = _tensors(request.answer) if request.content_type == kserve.MEDIA_TYPE else _json(request.answer)
    try:
        return prediction_columns(_matrix(predictions), rows, PREDICTION)
    except InvalidInputError:
        shown = orjson.dumps(predictions, option=orjson.OPT_SERIALIZE_NUMPY).decode()
        return {PREDICTION: pa.array([shown] * rows, pa.string())}


def _json(answer: bytes) -> Any:
    content = orjson.loads(answer)
    return content["predictions"] if isinstance(content, dict) and "predictions" in content else content


def _tensors(answer: bytes) -> Any:
    """The outputs of KServe's protocol by name; one alone without its name."""
    found = read_outputs(answer)
    return found[kserve.OUTPUT] if found.keys() == {kserve.OUTPUT} else found


def _matrix(predictions: Any) -> Any:
    """Lists of equally many numbers as columns: what was an array of shape (rows, k) before it was JSON."""
    if not isinstance(predictions, list) or not predictions or not all(isinstance(row, list) for row in predictions):
        return predictions
    width = len(predictions[0])
    if not width or any(len(row) != width for row in predictions):
        return predictions
    columns = {f"{PREDICTION}_{at}": [row[at] for row in predictions] for at in range(width)}
    return {PREDICTION: columns[f"{PREDICTION}_0"]} if width == 1 else columns
