"""Scoring one chunk: read, predict, write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect_ml.artifacts.open import open_artifacts
from prefect_ml.errors import ArtifactError, InvalidInputError, StoreUnavailableError
from prefect_ml.scoring.features import Features
from prefect_ml.scoring.job import model_of
from prefect_ml.scoring.parts import ChunkError, Part, write_part
from prefect_ml.scoring.reading import read_chunk
from prefect_ml.scoring.scores import BadRowsError, score_table

if TYPE_CHECKING:
    import pyarrow as pa

    from prefect_ml.scoring.job import Job
    from prefect_ml.scoring.plan import Chunk
    from prefect_ml.scoring.scores import Scored

# Where a row that was set aside came from, and why it was.
FILE, ROW, REASON = "_file", "_row", "_reason"


def score_chunk(chunk: Chunk, job: Job) -> Part:
    """Score a chunk and write its part.

    Raises:
        ChunkError: the model cannot score it; the message names file and rows.
        ArtifactError: it cannot be read, or the part not be written; trying again may help.
    """
    import pyarrow as pa  # noqa: PLC0415 - only those who score pay for its import

    schema = pa.ipc.read_schema(pa.py_buffer(job.schema))
    model = model_of(job.model)
    features = Features(model.signature, schema, job.features)
    columns = list(dict.fromkeys([*job.keep, *features.columns]))
    table = read_chunk(chunk, columns, schema)
    try:
        scored = score_table(
            model, features, table, params=job.params, name=job.prediction, on_bad_rows=job.on_bad_rows
        )
        joined = _joined(table.select(list(job.keep)), scored)
    except BadRowsError as error:
        raise ChunkError.of(chunk, error, error.row) from error
    except (ArtifactError, StoreUnavailableError):
        raise
    except InvalidInputError as error:
        raise ChunkError.of(chunk, error) from error
    part = Part(chunk.number, job.key(chunk), joined.num_rows, len(scored.bad))
    write_part(open_artifacts(job.output), part, joined, _aside(chunk, table, scored))
    return part


def _joined(kept: pa.Table, scored: Scored) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415

    if scored.good is not None:
        kept = kept.take(scored.good)
    if twice := kept.schema.names & scored.columns.keys():
        raise InvalidInputError(
            f"The predictions and the columns that are kept share the name {min(twice)!r}; keep other columns, or give "
            "the predictions another name."
        )
    if not kept.num_columns:
        return pa.table(dict(scored.columns))
    for name, values in scored.columns.items():
        kept = kept.append_column(name, values)
    return kept


def _aside(chunk: Chunk, table: pa.Table, scored: Scored) -> pa.Table | None:
    import pyarrow as pa  # noqa: PLC0415

    if not scored.bad:
        return None
    rows = [index for index, _ in scored.bad]
    found = table.take(rows)
    found = found.append_column(FILE, pa.array([chunk.name] * len(rows), pa.string()))
    found = found.append_column(ROW, pa.array([chunk.row(row) for row in rows], pa.int64()))
    return found.append_column(REASON, pa.array([reason for _, reason in scored.bad], pa.string()))
