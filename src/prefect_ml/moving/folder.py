"""An exported folder as the origin; everything in it is checked, since anybody may have written it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prefect_ml.artifacts.durable import CHUNK
from prefect_ml.artifacts.explained import explained
from prefect_ml.artifacts.names import own_name
from prefect_ml.artifacts.verified import verified
from prefect_ml.entities import ArtifactInfo, Experiment, LoggedModel, Run
from prefect_ml.errors import CorruptArtifactError, InvalidInputError
from prefect_ml.moving import folder_format as form
from prefect_ml.moving.folder_format import TableFact
from prefect_ml.store.moving_contract import MovedExperiment, MovedLoggedModel, MovedModel, MovedRun


class FolderOrigin:
    """`Origin` over a folder that `export` wrote.

    Args:
        root: the folder.

    Attributes:
        digest: of everything in it.

    Raises:
        InvalidInputError: it is no whole export, or one of a newer release.
        CorruptArtifactError: a table does not have the digest that the index says.
        InvalidNameError: an artifact has a name that would leave the folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = Path(root)
        self._index = form.read_index(self._root)
        self.digest = self._index.digest
        self._points: dict[str, list[int]] = defaultdict(list)
        self._runs: dict[str, int] = {}
        self._files: dict[str, list[form.ArtifactLine]] = defaultdict(list)
        for table, fact in self._index.tables.items():
            self._check(table, fact)
        self._read_places()

    @property
    def name(self) -> str:
        return f"the export of {self._index.origin} in {self._root}"

    def close(self) -> None:
        """Nothing stays open."""

    def experiments(self) -> Iterator[MovedExperiment]:
        with form.open_inside(self._root, form.EXPERIMENTS) as stream:
            yield from (moved for _, moved in form.lines_of(stream, form.EXPERIMENTS))

    def runs(self, experiment: Experiment) -> Iterator[Run]:
        with form.open_inside(self._root, form.RUNS) as stream:
            for _, moved in form.lines_of(stream, form.RUNS):
                if moved.run.experiment_id == experiment.experiment_id:
                    yield moved.run

    def complete(self, run: Run) -> Run:
        return run

    def whole(self, run: Run) -> MovedRun:
        moved: MovedRun = self._line(form.RUNS, self._runs[run.run_id])
        places = self._points.get(run.run_id, ())
        points = [point for place in places for point in self._line(form.POINTS, place).points]
        return dataclasses.replace(moved, points=points)

    def logged_models(self, experiment: Experiment) -> Iterator[MovedLoggedModel]:
        with form.open_inside(self._root, form.LOGGED_MODELS) as stream:
            for _, moved in form.lines_of(stream, form.LOGGED_MODELS):
                if moved.model.experiment_id == experiment.experiment_id:
                    yield moved

    def models(self) -> Iterator[MovedModel]:
        with form.open_inside(self._root, form.MODELS) as stream:
            yield from (moved for _, moved in form.lines_of(stream, form.MODELS))

    def files(self, of: Run | LoggedModel) -> ExportedFiles:
        folder = form.folder_of(of)
        return ExportedFiles(self._root, folder, self._files.get(folder, ()))

    def left_behind(self, experiments: Sequence[Experiment]) -> Sequence[str]:  # noqa: ARG002  an export leaves nothing
        return ()

    def _check(self, table: str, fact: TableFact) -> None:
        """Read a table whole, and compare it with what the index says of it."""
        digest, size = hashlib.sha256(), 0
        with form.open_inside(self._root, table) as stream:
            while size <= fact.size and (piece := stream.read(CHUNK)):
                digest.update(piece)
                size += len(piece)
        if (size, digest.hexdigest()) != (fact.size, fact.sha256):
            raise CorruptArtifactError(
                f"The table {table} of {str(self._root)!r} is not the one that was exported; copy it again."
            )

    def _read_places(self) -> None:
        """Note where the runs, their points and their files are told of."""
        with form.open_inside(self._root, form.RUNS) as stream:
            for place, moved in form.lines_of(stream, form.RUNS):
                self._runs[moved.run.run_id] = place
        with form.open_inside(self._root, form.POINTS) as stream:
            for place, part in form.lines_of(stream, form.POINTS):
                self._points[part.run_id].append(place)
        with form.open_inside(self._root, form.ARTIFACTS) as stream:
            for _, line in form.lines_of(stream, form.ARTIFACTS):
                own_name(line.name)
                self._files[line.of].append(line)

    def _line(self, table: str, place: int) -> Any:
        with form.open_inside(self._root, table) as stream:
            stream.seek(place)
            return form.parsed(table, stream.readline(form.LONGEST_LINE), 0)


class ExportedFiles:
    """`Files` of an export: no more bytes are read of one than it should have, and the last piece after its digest."""

    def __init__(self, root: Path, folder: str, lines: Sequence[form.ArtifactLine]) -> None:
        self._root = root
        self._folder = folder
        self._lines = {line.name: line for line in lines}

    def infos(self) -> Iterator[ArtifactInfo]:
        for line in self._lines.values():
            yield ArtifactInfo(line.name, is_folder=False, size=line.size, digest=line.digest)

    def pieces(self, name: str) -> Iterator[bytes]:
        line = self._lines[name]
        return verified(self._raw(line), line.digest, name, str(self._root))

    def _raw(self, line: form.ArtifactLine) -> Iterator[bytes]:
        place = f"artifacts/{self._folder}/{line.name}"
        left = line.size
        with explained(f"read {place!r} of the export"), form.open_inside(self._root, place) as stream:
            while piece := stream.read(CHUNK):
                left -= len(piece)
                if left < 0:
                    raise InvalidInputError(f"The file {place!r} is longer than the {line.size} bytes of the export.")
                yield piece
