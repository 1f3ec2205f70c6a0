"""A request and its answer as rows of a table.

The columns: `_at` (when it was answered, UTC), `_request_id`, `_row` (in the request), `_seconds`, then the model's
inputs as `input.<name>` and its predictions as `output.<name>`, typed as the model took and gave them. What is no
table, as the messages of a chat, is one row with the JSON of the body as `input` and of the answer as `output`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from prefect_ml.models.infer import data_kind
from prefect_ml.serving.inference_answers import answer_columns
from prefect_ml.serving.kserve import KSERVE, MEDIA_TYPE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import pyarrow as pa

    from prefect_ml.serving.observing import Answered
    from prefect_ml.serving.replica import Replica

AT, REQUEST, ROW, SECONDS = "_at", "_request_id", "_row", "_seconds"
INPUT, OUTPUT = "input.", "output."
_MATRIX = 2


def rows_of(request: Answered, leave_out: Collection[str] = ()) -> pa.Table:
    """The rows of a request that was answered 200.

    Args:
        request: with the replica that answered.
        leave_out: names of columns, and of fields anywhere in what is no table, that are not kept.
    """
    import pyarrow as pa  # noqa: PLC0415  an extra, and slow to import

    assert request.replica is not None  # noqa: S101  whoever answered is known
    given = _inputs(request, request.replica)
    if given is None:
        columns: dict[str, Any] = {
            INPUT[:-1]: [_text(request.body, leave_out)],
            OUTPUT[:-1]: [_text(request.answer, leave_out)],
        }
        rows = 1
    else:
        rows = len(next(iter(given.values()))) if given else 0
        kept = {f"{INPUT}{name}": values for name, values in given.items() if name not in leave_out}
        predicted = answer_columns(request, rows)
        columns = kept | {f"{OUTPUT}{name}": values for name, values in predicted.items() if name not in leave_out}
    about = {
        AT: pa.array([request.at] * rows, pa.timestamp("ms", "UTC")),
        REQUEST: pa.array([request.request_id] * rows, pa.string()),
        ROW: pa.array(range(rows), pa.int32()),
        SECONDS: pa.array([request.seconds] * rows, pa.float64()),
    }
    return pa.table(about | columns)


def _inputs(request: Answered, replica: Replica) -> Mapping[str, Any] | None:
    """The columns that the model took; None when it took no table."""
    import pyarrow as pa  # noqa: PLC0415

    if request.content_type == MEDIA_TYPE:
        data = KSERVE.read(replica, request.headers, request.body).data
    else:
        data = replica.decoder.decode(request.content_type, request.body).data
    signature = replica.model.signature
    # An array of plain numbers has been compared with the signature by the decoder.
    if data_kind(data) != "array" and signature is not None:
        data = signature.enforce(data)
    kind = data_kind(data)
    if kind == "frame" or isinstance(data, pa.Table):
        table = data if isinstance(data, pa.Table) else pa.Table.from_pandas(data, preserve_index=False)
        return {str(name): table.column(at).combine_chunks() for at, name in enumerate(table.column_names)}
    if kind == "array" and data.ndim == _MATRIX:
        specs = () if signature is None or signature.inputs is None else signature.inputs
        named = [str(spec.name) for spec in specs if spec.name is not None]
        names = named if len(named) == data.shape[1] else [str(at) for at in range(data.shape[1])]
        return {name: pa.array(data[:, at]) for at, name in enumerate(names)}
    return None


def _text(body: bytes, leave_out: Collection[str]) -> str:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode(errors="replace") if not leave_out else ""
    return orjson.dumps(_without(content, leave_out)).decode()


def _without(value: Any, names: Collection[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(item, names) for key, item in value.items() if key not in names}
    return [_without(item, names) for item in value] if isinstance(value, list) else value
