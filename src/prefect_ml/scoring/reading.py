"""Reading the rows of a chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect_ml.errors import ArtifactError
from prefect_ml.scoring.places import open_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    import pyarrow.parquet as pq

    from prefect_ml.scoring.plan import Chunk

_BATCH = 16_384


def read_chunk(chunk: Chunk, columns: Sequence[str], schema: pa.Schema) -> pa.Table:
    """The rows of a chunk, with these columns, typed as the schema says; a column that its file lacks is null.

    Raises:
        ArtifactError: the file is gone, changed or damaged.
    """
    import pyarrow as pa  # noqa: PLC0415 - only those who score pay for its import
    import pyarrow.parquet as pq  # noqa: PLC0415

    system, _ = open_files(chunk.place)
    try:
        with system.open_input_file(chunk.path) as stream:
            # Without a buffer ahead, so that no more of a row group is held than what is read.
            file = pq.ParquetFile(stream, pre_buffer=False, buffer_size=1 << 20)
            there = [name for name in columns if name in file.schema_arrow.names]
            batches = _batches(file, chunk, there)
            table = pa.Table.from_batches(batches, pa.schema([file.schema_arrow.field(name) for name in there]))
    except (OSError, pa.ArrowInvalid) as error:
        raise ArtifactError(f"The {chunk} cannot be read: {error}") from error
    if table.num_rows != chunk.rows:
        raise ArtifactError(f"The {chunk} are not all there: the file was changed. Start the scoring again.")
    fields = [schema.field(name) for name in columns]
    arrays = [
        table.column(field.name).cast(field.type) if field.name in there else pa.nulls(table.num_rows, field.type)
        for field in fields
    ]
    return pa.table(dict(zip(columns, arrays, strict=True)), pa.schema(fields))


def _batches(file: pq.ParquetFile, chunk: Chunk, columns: Sequence[str]) -> list[pa.RecordBatch]:
    """What overlaps of the row groups with the chunk."""
    groups: list[int] = []
    at = first = 0
    for number in range(file.num_row_groups):
        length = file.metadata.row_group(number).num_rows
        if at < chunk.stop and at + length > chunk.start:
            if not groups:
                first = at
            groups.append(number)
        at += length
    found: list[pa.RecordBatch] = []
    at = first
    for batch in file.iter_batches(_BATCH, row_groups=groups, columns=list(columns)):
        start, stop = max(chunk.start - at, 0), min(chunk.stop - at, batch.num_rows)
        if start < stop:
            found.append(batch.slice(start, stop - start))
        at += batch.num_rows
        if at >= chunk.stop:
            break
    return found
