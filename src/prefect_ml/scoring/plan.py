"""How a data set is cut into chunks that can be read, scored and written each by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import InvalidInputError
from prefect_ml.scoring.places import open_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from prefect_ml.scoring.places import InputFile


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of a Parquet file.

    Attributes:
        number: its place among the chunks, from 0.
        place: opens the file system, as `InputFile.place`.
        path: of the file.
        name: of the file or query that the rows come from, as people know it.
        start: first row in the file.
        stop: row after the last.
        first: what people count the first row as: from 0, in what `name` says.
        digest: of what the rows are read from.
    """

    number: int
    place: str
    path: str
    name: str
    start: int
    stop: int
    first: int
    digest: str

    @property
    def rows(self) -> int:
        return self.stop - self.start

    def row(self, index: int) -> int:
        """The number of a row, as people count it."""
        return self.first + index

    def __str__(self) -> str:
        return f"rows {self.first} to {self.first + self.rows - 1} of {self.name}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Chunks in the order of their rows, and what they are of.

    Attributes:
        chunks: none when there are no rows.
        schema: the columns of all of them: a column that is typed differently from file to file has the wider type.
        inputs: for each file or query its `name`, `digest` and `rows`.
    """

    chunks: Sequence[Chunk]
    schema: pa.Schema
    inputs: Sequence[Mapping[str, Any]]

    @property
    def rows(self) -> int:
        return sum(chunk.rows for chunk in self.chunks)


def plan_parquet(files: Sequence[InputFile], rows: int) -> Plan:
    """Cut Parquet files into chunks of at most `rows` rows; only their footers are read.

    A chunk ends where a row group ends if that leaves it at least half full, so that few groups are read twice.

    Raises:
        InvalidInputError: a file is no Parquet, or two have columns that do not go together.
    """
    import pyarrow as pa  # noqa: PLC0415 - only those who score pay for its import
    import pyarrow.parquet as pq  # noqa: PLC0415

    chunks: list[Chunk] = []
    schemas, inputs = [], []
    for file in files:
        system, _ = open_files(file.place)
        try:
            with system.open_input_file(file.path) as stream:
                about = pq.ParquetFile(stream)
                groups = [about.metadata.row_group(number).num_rows for number in range(about.num_row_groups)]
                schemas.append(about.schema_arrow.remove_metadata())
        except pa.ArrowInvalid as error:
            raise InvalidInputError(f"{file.name} is no Parquet file: {error}") from error
        for start, stop in _cuts(groups, rows):
            number = len(chunks)
            chunks.append(Chunk(number, file.place, file.path, file.name, start, stop, start, file.digest))
        inputs.append({"name": file.name, "digest": file.digest, "rows": sum(groups)})
    return Plan(chunks, unified(schemas), inputs)


def unified(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """One schema for all.

    Raises:
        InvalidInputError: a column is of types that do not go together.
    """
    import pyarrow as pa  # noqa: PLC0415

    try:
        return pa.unify_schemas(list(dict.fromkeys(schemas)), promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InvalidInputError(f"The files have a column of types that do not go together: {error}") from error


def _cuts(groups: Sequence[int], rows: int) -> list[tuple[int, int]]:
    """Ranges of rows over row groups of these lengths."""
    cuts: list[tuple[int, int]] = []
    start = end = 0
    for length in groups:
        if end + length - start > rows and (end - start) * 2 >= rows:
            cuts.append((start, end))
            start = end
        end += length
        while end - start > rows:
            cuts.append((start, start + rows))
            start += rows
    return [*cuts, (start, end)] if end > start else cuts
