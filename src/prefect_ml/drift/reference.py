"""What a window is compared with: a sample that the training kept, an earlier window, or a table somewhere."""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.contract import ArtifactStore
from prefect_ml.errors import ArtifactError, InvalidInputError, NotFoundError
from prefect_ml.models.infer import data_kind
from prefect_ml.models.prediction_columns import prediction_columns
from prefect_ml.scoring.places import find_inputs, kind_of, open_files
from prefect_ml.serving.columnar_bodies import PREDICTION
from prefect_ml.serving.inference_files import read_log
from prefect_ml.serving.inference_rows import INPUT, OUTPUT
from prefect_ml.store.places import open_place

if TYPE_CHECKING:
    import pyarrow as pa

    from prefect_ml.store.contract import Store
    from prefect_ml.tracking.run import ActiveRun

FOLDER, FILE = "drift", "reference.parquet"
MOST_ROWS = 10_000
_SEED = 0


def keep_reference(run: ActiveRun, data: Any, predictions: Any = None, *, rows: int = MOST_ROWS) -> None:
    """Keep a sample of training data with its run, as the artifact `drift/reference.parquet`.

    Args:
        run: that trains, `prefect_ml.current_run()`.
        data: DataFrame, or matrix of shape (rows, columns), as the model takes it.
        predictions: what the model predicts for it, if that is watched as well.
        rows: at most; drawn at random, the same each time.

    Raises:
        InvalidInputError: the data are no table, or there is not one prediction for each row.
    """
    import numpy as np  # noqa: PLC0415 - only those who look for drift pay for its import
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    if data_kind(data) == "frame":
        table = pa.Table.from_pandas(data, preserve_index=False)
    elif data_kind(data) == "array" and data.ndim == 2:  # noqa: PLR2004 - a matrix
        table = pa.table({str(at): data[:, at] for at in range(data.shape[1])})
    else:
        raise InvalidInputError("A reference is a DataFrame or a matrix with a row for each example.")
    table = table.rename_columns([f"{INPUT}{name}" for name in table.column_names])
    if predictions is not None:
        for name, values in prediction_columns(predictions, table.num_rows, PREDICTION).items():
            table = table.append_column(f"{OUTPUT}{name}", values)
    if table.num_rows > rows:
        chosen = np.random.default_rng(_SEED).choice(table.num_rows, rows, replace=False)
        table = table.take(np.sort(chosen))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        pq.write_table(table.replace_schema_metadata(None), path, compression="zstd")
        run.log_artifact(path, FOLDER)


def kept_reference(store: Store, name: str, version: int) -> pa.Table:
    """The sample that the run of a version kept.

    Raises:
        ArtifactError: what is kept is damaged.
        NotFoundError: the version has no run, or that kept none.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    run_id = store.get_model_version(name, version).run_id or ""
    try:
        content = open_place(store, store.get_run(run_id).artifact_uri).read(f"{FOLDER}/{FILE}")
    except NotFoundError as error:
        raise NotFoundError(
            f"The run of version {version} of {name!r} kept no reference: call prefect_ml.drift.reference."
            "keep_reference when it is trained, or compare with an earlier window or a table."
        ) from error
    try:
        return pq.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        raise ArtifactError(f"The reference of version {version} of {name!r} cannot be read: {error}.") from error


def read_table(place: str) -> pa.Table:
    """At most `MOST_ROWS` rows of the Parquet files at a place, from all over them.

    Raises:
        NotFoundError: there is none.
        InvalidInputError: they are not Parquet.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    sample = Sample()
    for file in find_inputs(place):
        if kind_of(file.path) != "parquet":
            raise InvalidInputError(f"A reference is of Parquet files, and {file.name} is none.")
        system, _ = open_files(place)
        try:
            with system.open_input_file(file.path) as stream:
                for batch in pq.ParquetFile(stream).iter_batches(MOST_ROWS):
                    sample.add(_as_table(batch))
        except pa.ArrowException as error:
            raise InvalidInputError(f"{file.name} cannot be read as Parquet: {error}.") from error
    return sample.table()


def read_window(log: ArtifactStore, name: str, version: int, start: dt.datetime, end: dt.datetime) -> pa.Table:
    """At most `MOST_ROWS` rows of the inference log of a version, from all over a time.

    Raises:
        ArtifactError: a file of the log is none, or damaged.
    """
    sample = Sample()
    for table in read_log(log, name, str(version), start, end):
        sample.add(table)
    return sample.table()


class Sample:
    """A random sample of tables that are seen one after the other; memory does not grow with their number.

    Each row gets a random number, and those with the least stay. The same tables give the same sample.
    """

    def __init__(self, rows: int = MOST_ROWS) -> None:
        import numpy as np  # noqa: PLC0415

        self._rows = rows
        self._random = np.random.default_rng(_SEED)
        self._tables: list[pa.Table] = []
        self._ranks: list[Any] = []
        self._held = 0

    def add(self, table: pa.Table) -> None:
        self._tables.append(table)
        self._ranks.append(self._random.random(table.num_rows))
        self._held += table.num_rows
        if self._held > 2 * self._rows:
            self._thin()

    def table(self) -> pa.Table:
        """The sample, in the order of the rows; without columns when nothing was added."""
        import pyarrow as pa  # noqa: PLC0415

        if not self._tables:
            return pa.table({})
        if self._held > self._rows:
            self._thin()
        return _together(self._tables)

    def _thin(self) -> None:
        import numpy as np  # noqa: PLC0415

        ranks = np.concatenate(self._ranks)
        kept = np.sort(np.argsort(ranks, kind="stable")[: self._rows])
        self._tables = [_together(self._tables).take(kept)]
        self._ranks, self._held = [ranks[kept]], len(kept)


def _together(tables: list[pa.Table]) -> pa.Table:
    """All rows in one table; a column whose tables have no type in common is text."""
    import pyarrow as pa  # noqa: PLC0415

    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException:
        names = dict.fromkeys(name for table in tables for name in table.column_names)
        mixed = [
            name for name in names if _has_no_type([table for table in tables if name in table.column_names], name)
        ]
        return pa.concat_tables([_with_texts(table, mixed) for table in tables], promote_options="permissive")


def _has_no_type(tables: list[pa.Table], name: str) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    try:
        pa.concat_tables([table.select([name]) for table in tables], promote_options="permissive")
    except pa.ArrowException:
        return True
    return False


def _with_texts(table: pa.Table, names: list[str]) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415

    for at, name in enumerate(table.column_names):
        if name in names:
            values = table.column(at).to_pylist()
            texts = pa.array([None if value is None else str(value) for value in values], pa.string())
            table = table.set_column(at, name, texts)
    return table


def _as_table(batch: pa.RecordBatch) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415

    return pa.Table.from_batches([batch])
