"""The folder that an export writes and an import reads.

```
index.json            written last: a folder without it is an export that was broken off
experiments.jsonl     a MovedExperiment a line
runs.jsonl            a MovedRun a line, without its points
points.jsonl          {"run_id", "points": [[key, value, timestamp, step], …]}, a part of a run's points a line
logged_models.jsonl   a MovedLoggedModel a line
models.jsonl          a MovedModel a line
artifacts.jsonl       {"of", "name", "size", "digest"}, a file a line
artifacts/<of>/…      the files; <of> is runs/<run id> or logged_models/<model id>
```

Lines are JSON of the entities, in which NaN and infinities are the texts "NaN", "Infinity" and "-Infinity". `VERSION`
grows when an older release could misread what a newer one writes; a new field with a default does not change it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from prefect_ml.artifacts.durable import open_to_read
from prefect_ml.artifacts.explained import explained
from prefect_ml.artifacts.names import resolve
from prefect_ml.entities import LoggedModel, Metric, Run
from prefect_ml.errors import CorruptArtifactError, InvalidInputError
from prefect_ml.store.moving_contract import MovedExperiment, MovedLoggedModel, MovedModel, MovedRun

VERSION = 1
INDEX = "index.json"
EXPERIMENTS = "experiments.jsonl"
RUNS = "runs.jsonl"
POINTS = "points.jsonl"
LOGGED_MODELS = "logged_models.jsonl"
MODELS = "models.jsonl"
ARTIFACTS = "artifacts.jsonl"
TABLES = (EXPERIMENTS, RUNS, POINTS, LOGGED_MODELS, MODELS, ARTIFACTS)

# Points of a line, and what a line and an index may have in bytes: a hostile folder fills no memory.
POINTS_OF_A_LINE = 5000
LONGEST_LINE = 64 << 20
LONGEST_INDEX = 1 << 20


@dataclass(frozen=True, slots=True)
class PointsLine:
    """A part of a run's points."""

    run_id: str
    points: list[Metric]


@dataclass(frozen=True, slots=True)
class ArtifactLine:
    """A file of a run or logged model."""

    of: str
    name: str
    size: int
    digest: str


class TableFact(BaseModel):
    """What the index says of a file of lines."""

    model_config = ConfigDict(frozen=True)

    lines: int = Field(ge=0)
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Index(BaseModel):
    """What `index.json` holds; `digest` covers everything else in the folder."""

    model_config = ConfigDict(frozen=True)

    format: Literal["prefect-ml-export"] = "prefect-ml-export"
    version: int
    origin: str = Field(max_length=5000)
    exported_at: int
    tables: dict[str, TableFact]
    digest: str

    @property
    def computed(self) -> str:
        """The digest that the facts have together; artifacts are in it by the digests of their lines."""
        lines = "".join(f"{fact.sha256}  {name}\n" for name, fact in sorted(self.tables.items()))
        return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


LINES: dict[str, Any] = {
    EXPERIMENTS: MovedExperiment,
    RUNS: MovedRun,
    POINTS: PointsLine,
    LOGGED_MODELS: MovedLoggedModel,
    MODELS: MovedModel,
    ARTIFACTS: ArtifactLine,
}


@cache
def adapter(table: str) -> TypeAdapter[Any]:
    """Reads the lines of a table."""
    kind = LINES[table]
    return TypeAdapter(kind)


def folder_of(of: Run | LoggedModel) -> str:
    """Where below `artifacts` the files of a run or logged model are."""
    return f"runs/{of.run_id}" if isinstance(of, Run) else f"logged_models/{of.model_id}"


def open_inside(root: Path, name: str) -> BinaryIO:
    """Open a file of an export, through no link and never outside of it."""
    path = resolve(root, name)
    with explained(f"read {name!r} of the export"):
        return open_to_read(path)


def read_index(root: Path) -> Index:
    """The index of an export.

    Raises:
        InvalidInputError: there is none that this release understands.
        CorruptArtifactError: it does not fit its own digest.
    """
    if not (root / INDEX).exists():
        raise InvalidInputError(
            f"The folder {str(root)!r} is no whole export: it has no {INDEX}. Export again, or give another folder."
        )
    with open_inside(root, INDEX) as stream:
        text = stream.read(LONGEST_INDEX + 1)
    try:
        if len(text) > LONGEST_INDEX:
            raise InvalidInputError(f"The {INDEX} of {str(root)!r} is too long to be one; export again.")
        index = Index.model_validate_json(text)
    except ValidationError as error:
        raise InvalidInputError(f"The {INDEX} of {str(root)!r} is none of an export: {_first(error)}.") from error
    if index.version > VERSION:
        raise InvalidInputError(
            f"The export in {str(root)!r} has format {index.version}, which is newer than this release reads "
            f"({VERSION}); upgrade prefect-ml."
        )
    if set(index.tables) != set(TABLES) or index.digest != index.computed:
        raise CorruptArtifactError(f"The {INDEX} of {str(root)!r} does not fit its own digest; export again.")
    return index


def lines_of(stream: BinaryIO, table: str) -> Iterator[tuple[int, Any]]:
    """Each line of a table with the place where it begins.

    Raises:
        InvalidInputError: a line is too long, or nothing that the table has.
    """
    number, place = 0, 0
    while line := stream.readline(LONGEST_LINE):
        number += 1
        if not line.endswith(b"\n"):
            raise InvalidInputError(f"Line {number} of {table} does not end, or is too long; export again.")
        yield place, parsed(table, line, number)
        place += len(line)


def parsed(table: str, line: bytes, number: int) -> Any:
    """What a line says."""
    try:
        return adapter(table).validate_json(line)
    except ValidationError as error:
        raise InvalidInputError(f"Line {number} of {table} cannot be read: {_first(error)}.") from error


def _first(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, found['loc']))}: {found['msg']}".strip(": ")
