"""The files of the inference log: how they are named and written, and how those of a time are found and read.

`<root>/<model>/<version>/<day>/<time>-<id>.parquet`, day and time of the writing in UTC; a model without a version has
the version "0". Rows are some time older than their file, at most as much as a file takes to be written.
"""

from __future__ import annotations

import datetime as dt
import io
import uuid
from typing import TYPE_CHECKING
from urllib.parse import quote

from prefect_ml.errors import ArtifactError
from prefect_ml.serving.inference_rows import AT

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from prefect_ml.artifacts.contract import ArtifactStore

_DAY, _TIME = "%Y-%m-%d", "%H%M%S"
# How long rows may wait for their file, for those who look for them by time.
_LATE = dt.timedelta(hours=1)
_DAYS = 400


def folder_of(name: str, version: str) -> str:
    """The folder of a version's files below the root of the log."""
    escaped = quote(name, safe=" ")
    return f"{escaped.removesuffix('.').rstrip() or '_'}/{version or '0'}"


class Gathered:
    """Rows of one version that wait for their file.

    Args:
        name: of the model.
        version: of it, "" for none.
        digest: of its files.
        due: when they are written at the latest, by `time.monotonic`.

    Attributes:
        rows: how many.
        requests: how many they are of.
        failed: whether writing failed, and waits until it is due again.
    """

    def __init__(self, name: str, version: str, digest: str, due: float) -> None:
        self._name, self._version, self._digest = name, version, digest
        self._tables: list[pa.Table] = []
        self.due = due
        self.rows = self.requests = 0
        self.failed = False

    def add(self, table: pa.Table, most: int) -> int:
        """Add the rows of a request; the number of older requests that gave way so that at most `most` rows stay."""
        self._tables.append(table)
        self.rows += table.num_rows
        lost = 0
        while self.rows > most and len(self._tables) > 1:
            self.rows -= self._tables.pop(0).num_rows
            lost += 1
        self.requests = len(self._tables)
        return lost

    def write(self, root: ArtifactStore) -> None:
        """Write the rows as one file, or as one for each kind of rows that no columns hold together.

        A file appears whole or not at all, and what is in one does not wait any more.
        """
        import pyarrow.parquet as pq  # noqa: PLC0415  an extra, and slow to import

        about = {"prefect_ml.model": self._name, "prefect_ml.version": self._version, "prefect_ml.digest": self._digest}
        together = _together(self._tables)
        for at, table in enumerate(together, 1):
            buffer = io.BytesIO()
            pq.write_table(table.replace_schema_metadata(about), buffer, compression="zstd")
            now = dt.datetime.now(dt.UTC)
            folder = f"{folder_of(self._name, self._version)}/{now.strftime(_DAY)}"
            root.put(f"{folder}/{now.strftime(_TIME)}-{uuid.uuid4().hex[:12]}.parquet", buffer.getvalue())
            self._tables = together[at:]
            self.rows -= table.num_rows


def _together(tables: list[pa.Table]) -> list[pa.Table]:
    """One table of all, or as few as hold them: a column of texts in one request may have been numbers in another."""
    import pyarrow as pa  # noqa: PLC0415  an extra, and slow to import

    if (whole := _joined(tables)) is not None:
        return [whole]
    alike: dict[str, list[pa.Table]] = {}
    for table in tables:
        alike.setdefault(str(table.schema), []).append(table)
    found: list[pa.Table] = []
    for table in map(pa.concat_tables, alike.values()):
        for at, other in enumerate(found):
            if (both := _joined([other, table])) is not None:
                found[at] = both
                break
        else:
            found.append(table)
    return found


def _joined(tables: list[pa.Table]) -> pa.Table | None:
    import pyarrow as pa  # noqa: PLC0415  as above

    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException:
        return None


def read_log(root: ArtifactStore, name: str, version: str, start: dt.datetime, end: dt.datetime) -> Iterator[pa.Table]:
    """The rows of a version that were answered from `start` until before `end`, file by file.

    Args:
        root: of the log.
        name: of the model.
        version: of it.
        start: with a time zone.
        end: with a time zone.

    Raises:
        ArtifactError: a file is none of the log, or damaged.
    """
    import pyarrow as pa  # noqa: PLC0415  an extra, and slow to import
    import pyarrow.compute as pc  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    folder = folder_of(name, version)
    for day in _days(start, end + _LATE):
        for file in root.list(f"{folder}/{day}"):
            if not file.name.endswith(".parquet"):
                continue
            content = root.read(file.name)
            try:
                table = pq.read_table(pa.BufferReader(content))
                at = table.column(AT)
                kind = pa.timestamp("ms", "UTC")
                inside = pc.and_(pc.greater_equal(at, pa.scalar(start, kind)), pc.less(at, pa.scalar(end, kind)))
                found = table.filter(inside)
            except (pa.ArrowException, KeyError, OSError) as error:
                raise ArtifactError(
                    f"{file.name} is no file of the inference log, or damaged: {error}. Move it away to go on without."
                ) from error
            if found.num_rows:
                yield found


def _days(start: dt.datetime, end: dt.datetime) -> list[str]:
    first, last = start.astimezone(dt.UTC).date(), end.astimezone(dt.UTC).date()
    count = min((last - first).days, _DAYS)
    return [(last - dt.timedelta(days=back)).strftime(_DAY) for back in range(count, -1, -1)]
