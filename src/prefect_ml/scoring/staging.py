"""Bringing what cannot be read from the middle (CSV, the rows of a query) into Parquet files, one for each chunk.

The rows are read once and in order, some at a time, and lie beside the output until all is scored.
"""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import InvalidInputError
from prefect_ml.scoring.places import open_files
from prefect_ml.scoring.plan import Chunk, Plan, unified

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa

    from prefect_ml.artifacts.contract import ArtifactStore
    from prefect_ml.scoring.places import InputFile

FOLDER = "_staged"
_BLOCK = 4 << 20


def stage_csv(files: Sequence[InputFile], rows: int, output: ArtifactStore) -> Plan:
    """Stage CSV files; every column is text, which is read as what the model takes when a chunk is scored.

    An empty cell is null.

    Raises:
        InvalidInputError: a file is no CSV with a head.
    """
    chunks: list[Chunk] = []
    schemas, inputs = [], []
    for file in files:
        before = len(chunks)
        for first, table in _numbered(_pieces(_csv_batches(file), rows)):
            chunks.append(_staged(table, len(chunks), file.name, first, output))
            schemas.append(table.schema)
        read = sum(chunk.rows for chunk in chunks[before:])
        inputs.append({"name": file.name, "digest": file.digest, "rows": read})
    return Plan(chunks, unified(schemas or [_empty()]), inputs)


def stage_rows(
    name: str, columns: Sequence[str], batches: Iterable[Sequence[Sequence[Any]]], output: ArtifactStore
) -> Plan:
    """Stage the rows of a query, each batch as a chunk; a column has the widest type of its values.

    Raises:
        InvalidInputError: two columns have the same name, or values of a column do not go together.
    """
    import pyarrow as pa  # noqa: PLC0415 - only those who score pay for its import

    if len(set(columns)) < len(columns):
        raise InvalidInputError("The query has columns of the same name; give each its own with AS.")
    chunks: list[Chunk] = []
    schemas, first = [], 0
    whole = hashlib.sha256()
    for batch in batches:
        try:
            arrays = [pa.array(list(values)) for values in zip(*batch, strict=True)]
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise InvalidInputError(f"A column of the query has values of several types: {error}") from error
        table = pa.table(dict(zip(columns, arrays, strict=True)))
        chunk = _staged(table, len(chunks), name, first, output)
        whole.update(chunk.digest.encode())
        first += chunk.rows
        schemas.append(table.schema)
        chunks.append(chunk)
    schema = unified(schemas) if schemas else pa.schema([pa.field(column, pa.null()) for column in columns])
    return Plan(chunks, schema, [{"name": name, "digest": f"sha256:{whole.hexdigest()}", "rows": first}])


def _staged(table: pa.Table, number: int, name: str, first: int, output: ArtifactStore) -> Chunk:
    import pyarrow.parquet as pq  # noqa: PLC0415

    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    file = f"{FOLDER}/chunk-{number:06d}.parquet"
    output.put(file, buffer.getvalue())
    _, root = open_files(output.uri)
    return Chunk(number, output.uri, f"{root}/{file}", name, 0, table.num_rows, first, _content_digest(table))


def _content_digest(table: pa.Table) -> str:
    """Of the values alone, so that the same rows have the same digest whatever wrote the file."""
    import pyarrow as pa  # noqa: PLC0415

    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table.combine_chunks())
    return f"sha256:{hashlib.sha256(sink.getbuffer()).hexdigest()}"


def _csv_batches(file: InputFile) -> Iterator[pa.Table]:
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import csv  # noqa: PLC0415

    system, _ = open_files(file.place)
    parse = csv.ParseOptions(delimiter="\t" if ".tsv" in file.path.lower()[-7:] else ",", newlines_in_values=True)
    read = csv.ReadOptions(block_size=_BLOCK)
    try:
        with system.open_input_stream(file.path) as stream, csv.open_csv(stream, read, parse) as head:
            names = head.schema.names
        texts = csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
        )
        with system.open_input_stream(file.path) as stream, csv.open_csv(stream, read, parse, texts) as batches:
            for batch in batches:
                yield pa.Table.from_batches([batch])
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{file.name} cannot be read as CSV: {error}") from error


def _pieces(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of `rows` rows, the last one shorter."""
    import pyarrow as pa  # noqa: PLC0415

    held: list[pa.Table] = []
    count = 0
    for table in tables:
        held.append(table)
        count += table.num_rows
        while count >= rows:
            whole = pa.concat_tables(held)
            yield whole.slice(0, rows)
            held, count = [whole.slice(rows)], count - rows
    if count:
        yield pa.concat_tables(held)


def _numbered(tables: Iterable[pa.Table]) -> Iterator[tuple[int, pa.Table]]:
    first = 0
    for table in tables:
        yield first, table
        first += table.num_rows


def _empty() -> pa.Schema:
    import pyarrow as pa  # noqa: PLC0415

    return pa.schema([])
