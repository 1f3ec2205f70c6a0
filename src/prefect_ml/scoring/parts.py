"""The files that a scoring writes: one part for each chunk, what was set aside, and the manifest that ends it.

Each appears whole or never. A part carries in its footer what it depends on, so that whoever continues the scoring
knows which ones are done. Names that begin with "_" are no data for readers of Parquet folders.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from prefect_ml.artifacts.open import open_artifacts
from prefect_ml.errors import AlreadyExistsError, NotFoundError, PrefectMLError
from prefect_ml.scoring import staging
from prefect_ml.scoring.places import open_files

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from prefect_ml.artifacts.contract import ArtifactStore
    from prefect_ml.scoring.plan import Chunk

MANIFEST = "_manifest.json"
ASIDE = "_quarantine"
_KEY = b"prefect_ml.part"
_PART = re.compile(r"part-(\d{6,})\.parquet")


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is there.

    Attributes:
        number: of its chunk.
        key: what it depends on.
        rows: that were scored.
        aside: rows of the chunk that could not be scored.
    """

    number: int
    key: str
    rows: int
    aside: int

    @property
    def name(self) -> str:
        return part_name(self.number)


def part_name(number: int) -> str:
    return f"part-{number:06d}.parquet"


def write_part(output: ArtifactStore, part: Part, table: pa.Table, aside: pa.Table | None) -> None:
    """Write a part after what was set aside of its chunk, so that a part that is there is all of it."""
    name = f"{ASIDE}/{part.name}"
    if aside is not None:
        output.put(name, _parquet(aside))
    elif any(each.name == name for each in output.list(ASIDE)):
        output.delete(name)
    about = orjson.dumps({"key": part.key, "rows": part.rows, "aside": part.aside})
    output.put(part.name, _parquet(table.replace_schema_metadata({_KEY: about})))


def read_part(place: str, number: int) -> Part | None:
    """The part of a chunk, as its footer says; None when it is not there, or was not written here."""
    import pyarrow as pa  # noqa: PLC0415 - only those who score pay for its import
    import pyarrow.parquet as pq  # noqa: PLC0415

    system, root = open_files(place)
    try:
        with system.open_input_file(f"{root}/{part_name(number)}") as stream:
            found = pq.read_metadata(stream)
        about = orjson.loads((found.metadata or {}).get(_KEY, b""))
    except (OSError, pa.ArrowInvalid, ValueError):
        return None
    match about:
        case {"key": str(key), "rows": int(rows), "aside": int(aside)} if rows == found.num_rows:
            return Part(number, key, rows, aside)
        case _:
            return None


def check_output(place: str) -> None:
    """Refuse a folder of something else, before anything is written to it.

    Raises:
        AlreadyExistsError: there are files that no scoring wrote.
    """
    names = _names(open_artifacts(place))
    foreign = {name for name in names - {MANIFEST, ASIDE, staging.FOLDER} if not _PART.fullmatch(name)}
    if foreign:
        raise AlreadyExistsError(
            f"{place!r} holds {min(foreign)!r}, which no scoring wrote: give a folder of its own for the scores."
        )


def begin(place: str, keys: Mapping[int, str], *, overwrite: bool) -> dict[int, Part]:
    """Make the output ready, and find what an earlier scoring left that is as good as new.

    Args:
        place: of the folder of parts, which was checked.
        keys: what the part of each chunk depends on.
        overwrite: whether a finished scoring of other data, or by another model, may be replaced.

    Returns:
        The parts that need no scoring, by the number of their chunk.

    Raises:
        AlreadyExistsError: there is a finished scoring of something else.
    """
    output = open_artifacts(place)
    names = _names(output)
    there = {int(found.group(1)) for name in names if (found := _PART.fullmatch(name))}
    parts = {number: part for number in sorted(there & keys.keys()) if (part := read_part(place, number)) is not None}
    done = {number: part for number, part in parts.items() if part.key == keys[number]}
    if MANIFEST in names and (done.keys() != keys.keys() or there != keys.keys()) and not overwrite:
        raise AlreadyExistsError(
            f"{place!r} holds the finished scores of other data, another model or other options; give another folder, "
            "or allow to overwrite it."
        )
    if MANIFEST in names and done.keys() != keys.keys():
        output.delete(MANIFEST)
    for number in there - keys.keys():
        output.delete(f"{ASIDE}/{part_name(number)}")
        output.delete(part_name(number))
    return done


def _names(output: ArtifactStore) -> set[str]:
    return {each.name for each in output.list() if not each.name.startswith(".")}


def finish(place: str, manifest: Mapping[str, Any]) -> None:
    """Write the manifest, which says that all parts are there, and remove what was staged."""
    output = open_artifacts(place)
    output.put(MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
    if any(each.name == staging.FOLDER for each in output.list()):
        output.delete(staging.FOLDER)


def read_manifest(place: str) -> dict[str, Any] | None:
    """The manifest of a finished scoring; None when there is none."""
    try:
        found: dict[str, Any] = orjson.loads(open_artifacts(place).read(MANIFEST))
    except NotFoundError:
        return None
    return found


class ChunkError(PrefectMLError):
    """A chunk could not be scored; the message names the file and the rows.

    Attributes:
        number: of the chunk.
    """

    number = 0

    @classmethod
    def of(cls, chunk: Chunk, error: Exception, row: int | None = None) -> ChunkError:
        where = f"The {chunk} could not be scored" + ("" if row is None else f", for row {chunk.row(row)}")
        made = cls(f"{where}: {error}")
        made.number = chunk.number
        return made


def _parquet(table: pa.Table) -> bytes:
    import pyarrow.parquet as pq  # noqa: PLC0415

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
