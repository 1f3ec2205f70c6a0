"""Bodies of Arrow and Parquet: tables in requests, predictions in answers.

What comes from a client is bounded before it is read: in rows and cells, by what the file says of itself, and Arrow
only as it lies in the body, since a compressed buffer may claim any size.
"""

from __future__ import annotations

import importlib.util
import io
import struct
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import InvalidInputError
from prefect_ml.http.refusal import RefusedError
from prefect_ml.models.prediction_columns import prediction_columns

if TYPE_CHECKING:
    import pyarrow as pa

STREAM = "application/vnd.apache.arrow.stream"
FILE = "application/vnd.apache.arrow.file"
PARQUET = "application/vnd.apache.parquet"
MEDIA_TYPES = (STREAM, FILE, PARQUET)

# Cells of a table, and bytes of a Parquet file once it is unpacked.
_MOST_CELLS = 1 << 24
_MOST_BYTES = 1 << 29
# An Arrow file is a stream behind its magic word, padded to eight bytes.
_FILE_MAGIC = b"ARROW1\0\0"
# The kinds of messages, and the fields of their flatbuffers (Arrow's Message.fbs).
_DICTIONARY, _BATCH = 2, 3
_HEADER_TYPE, _HEADER = 1, 2
_DICTIONARY_DATA = 1
_COMPRESSION = 3
# The name of the column of predictions that have no names of their own.
PREDICTION = "prediction"


def read_table(media_type: str, body: bytes) -> pa.Table:
    """The table in a body.

    Raises:
        InvalidInputError: it is none, or larger than it may be.
        RefusedError: 415 where pyarrow is not installed.
    """
    import_arrow()
    import pyarrow as pa  # noqa: PLC0415  only for those who send it

    try:
        table = _parquet(body) if media_type == PARQUET else _arrow(media_type, body)
        table.validate(full=True)
        _bound(table.num_rows, table.num_columns)
        for field in table.schema:
            _check_type(field.type, field.name)
    except InvalidInputError:
        raise
    # A name that is no UTF-8 is a ValueError.
    except (pa.ArrowException, OSError, ValueError, struct.error, IndexError) as error:
        raise InvalidInputError(f"Invalid input. The body is no table of {media_type}: {error}.") from error
    return table


def write_predictions(predictions: Any, rows: int, media_type: str) -> bytes:
    """Predictions as a table of one row for each; a column alone is called `prediction`.

    Raises:
        InvalidInputError: there is not one prediction for each row, or they fit no columns.
    """
    import pyarrow as pa  # noqa: PLC0415

    table = pa.table(prediction_columns(predictions, rows, PREDICTION))
    sink = io.BytesIO()
    if media_type == PARQUET:
        import pyarrow.parquet as pq  # noqa: PLC0415

        pq.write_table(table, sink)
    else:
        new = pa.ipc.new_stream if media_type == STREAM else pa.ipc.new_file
        with new(sink, table.schema) as writer:
            writer.write_table(table)
    return sink.getvalue()


def accepted(accept: bytes) -> str:
    """The first of our media types that an Accept header names; "" for JSON, which whatever else means."""
    for part in accept.decode("latin-1").lower().split(","):
        media_type = part.partition(";")[0].strip()
        if media_type in MEDIA_TYPES:
            import_arrow()
            return media_type
        if media_type in ("application/json", "application/*", "*/*"):
            return ""
    return ""


def import_arrow() -> None:
    """Find pyarrow.

    Raises:
        RefusedError: 415, it is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise RefusedError(
            415, "UNSUPPORTED_MEDIA_TYPE", "Arrow and Parquet need pyarrow, which this server has not; send JSON."
        )


def _arrow(media_type: str, body: bytes) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415

    if media_type == FILE:
        if not body.startswith(_FILE_MAGIC):
            raise InvalidInputError("Invalid input. The body is no Arrow file; it begins with 'ARROW1'.")
        body = body[len(_FILE_MAGIC) :]
    for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(body)):
        if _compressed(message.metadata.to_pybytes()):
            raise InvalidInputError("Invalid input. Send the Arrow table without compression of its buffers.")
    with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
        batches, rows = [], 0
        for batch in reader:
            rows += batch.num_rows
            _bound(rows, batch.num_columns)
            batches.append(batch)
        return pa.Table.from_batches(batches, reader.schema)


def _parquet(body: bytes) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    with pq.ParquetFile(pa.BufferReader(body)) as file:
        about = file.metadata
        _bound(about.num_rows, about.num_columns)
        unpacked = sum(about.row_group(at).total_byte_size for at in range(about.num_row_groups))
        if unpacked > _MOST_BYTES:
            raise InvalidInputError(f"Invalid input. Unpacked, the file is over {_MOST_BYTES:,} bytes; send less.")
        batches, size = [], 0
        for batch in file.iter_batches(batch_size=1 << 14):
            size += batch.nbytes
            if size > _MOST_BYTES:
                raise InvalidInputError(f"Invalid input. The table has more than {_MOST_BYTES:,} bytes; send less.")
            batches.append(batch)
        return pa.Table.from_batches(batches, file.schema_arrow)


def _bound(rows: int, columns: int) -> None:
    if rows * max(columns, 1) > _MOST_CELLS:
        raise InvalidInputError(f"Invalid input. The table has more than {_MOST_CELLS:,} cells; send fewer rows.")


def _check_type(type_: Any, name: str) -> None:
    """Only types whose values lie in the body once each: others let a small body make a table that no memory holds."""
    import pyarrow.types as kinds  # noqa: PLC0415

    if kinds.is_nested(type_):
        for at in range(type_.num_fields):
            inner = type_.field(at).type
            if kinds.is_null(inner):
                raise InvalidInputError(f"Invalid input. Column {name[:60]!r} has the type {type_}; send values.")
            _check_type(inner, name)
    views = ("is_run_end_encoded", "is_list_view", "is_large_list_view")
    if any(getattr(kinds, each)(type_) for each in views if hasattr(kinds, each)):
        raise InvalidInputError(f"Invalid input. Column {name[:60]!r} has the type {type_}; send a plain one.")


def _compressed(message: bytes) -> bool:
    """Whether the header of an Arrow message says that its buffers are compressed."""
    root = _u32(message, 0)
    kind_at = _field(message, root, _HEADER_TYPE)
    header_at = _field(message, root, _HEADER)
    if not kind_at or not header_at:
        return False
    kind = message[kind_at]
    batch = header_at + _u32(message, header_at)
    if kind == _DICTIONARY:
        data_at = _field(message, batch, _DICTIONARY_DATA)
        batch = data_at + _u32(message, data_at) if data_at else 0
    return kind in (_DICTIONARY, _BATCH) and bool(batch) and bool(_field(message, batch, _COMPRESSION))


def _field(buffer: bytes, table: int, number: int) -> int:
    """Where a field of a flatbuffer's table lies; 0 when it is not there."""
    vtable = table - struct.unpack_from("<i", buffer, table)[0]
    (size,) = struct.unpack_from("<H", buffer, vtable)
    at = 4 + 2 * number
    if at + 2 > size:
        return 0
    (offset,) = struct.unpack_from("<H", buffer, vtable + at)
    return int(table + offset) if offset else 0


def _u32(buffer: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", buffer, at)[0])
