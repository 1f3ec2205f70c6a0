"""Writing an export: what is wanted of an origin, as a folder that is whole once it has its index."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from pydantic_core import to_json

from prefect_ml.artifacts.durable import FILE_MODE, make_folder, settle, sync_folder, temporary
from prefect_ml.artifacts.explained import explained
from prefect_ml.artifacts.names import own_name, resolve
from prefect_ml.artifacts.verified import Tally
from prefect_ml.entities import LoggedModel, Run
from prefect_ml.errors import AlreadyExistsError
from prefect_ml.moving import folder_format as form
from prefect_ml.moving.origin import Origin, Wanted
from prefect_ml.moving.report import Kind, Notes, Report
from prefect_ml.moving.selection import Chosen, Selection

# In a folder that an export has begun to write: it may be emptied by the next one.
_BEGUN = ".prefect-ml-export"


def export(origin: Origin, folder: Path, wanted: Wanted | None = None) -> Report:
    """Write what is wanted of an origin (everything by default) into a folder.

    Args:
        origin: what is read.
        folder: a new or empty one, or one in which an export was broken off, which begins anew.
        wanted: what is written.

    Raises:
        AlreadyExistsError: the folder has something else in it.
        NotFoundError: something that is wanted by name is not there.
    """
    folder = Path(folder)
    notes = Notes(origin.name, str(folder))
    selection = Selection(origin, wanted or Wanted())
    with explained(f"write the export {str(folder)!r}"):
        _begin(folder)
        with ExitStack() as stack:
            tables = {name: stack.enter_context(_Table.open(folder, name)) for name in form.TABLES}
            experiments = []
            for chosen in selection.experiments():
                experiments.append(chosen.experiment.experiment)
                _write_experiment(origin, folder, tables, chosen, notes)
            for moved in selection.models:
                tables[form.MODELS].add(moved)
                notes.count(Kind.MODELS, "copied")
                notes.count(Kind.VERSIONS, "copied", len(moved.versions))
            facts = {name: table.finish() for name, table in tables.items()}
        _finish(folder, origin.name, facts)
    for count in notes.report.counts.values():
        count.found = count.copied
    return notes.finish(origin.left_behind(experiments))


class _Table:
    """A file of lines that is being written."""

    def __init__(self, name: str, stream: BinaryIO) -> None:
        self._name = name
        self._stream = stream
        self._tally = Tally()
        self._lines = 0

    @classmethod
    @contextmanager
    def open(cls, folder: Path, name: str) -> Iterator[_Table]:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(folder / name, flags, FILE_MODE), "wb") as stream:
            yield cls(name, stream)

    def add(self, value: object) -> None:
        line = to_json(value, inf_nan_mode="strings") + b"\n"
        self._stream.write(line)
        self._tally.add(line)
        self._lines += 1

    def finish(self) -> form.TableFact:
        settle(self._stream)
        return form.TableFact(lines=self._lines, size=self._tally.size, sha256=self._tally.hex)


def _begin(folder: Path) -> None:
    """Make the folder, or empty it when an export was broken off in it."""
    make_folder(folder)
    found = [path for path in folder.iterdir() if path.name != _BEGUN]
    begun = (folder / _BEGUN).exists()
    if found and (not begun or (folder / form.INDEX).exists()):
        raise AlreadyExistsError(f"The folder {str(folder)!r} is not empty; give a new one.")
    (folder / _BEGUN).touch(FILE_MODE)
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _write_experiment(origin: Origin, folder: Path, tables: dict[str, _Table], chosen: Chosen, notes: Notes) -> None:
    tables[form.EXPERIMENTS].add(chosen.experiment)
    notes.count(Kind.EXPERIMENTS, "copied")
    for run in chosen.runs:
        whole = origin.whole(origin.complete(run))
        tables[form.RUNS].add(dataclasses.replace(whole, points=()))
        remaining = iter(whole.points)
        while part := list(islice(remaining, form.POINTS_OF_A_LINE)):
            tables[form.POINTS].add(form.PointsLine(run.run_id, part))
        notes.wrote_points(len(whole.points))
        notes.count(Kind.RUNS, "copied")
        _write_files(origin, folder, tables[form.ARTIFACTS], run, notes)
    for moved in chosen.logged_models:
        tables[form.LOGGED_MODELS].add(moved)
        notes.count(Kind.LOGGED_MODELS, "copied")
        _write_files(origin, folder, tables[form.ARTIFACTS], moved.model, notes)


def _write_files(origin: Origin, folder: Path, table: _Table, of: Run | LoggedModel, notes: Notes) -> None:
    root = form.folder_of(of)
    files = origin.files(of)
    written = []
    for info in files.infos():
        own_name(info.name)
        path = resolve(folder, f"artifacts/{root}/{info.name}")
        tally = Tally()
        with temporary(path.parent) as (partial, handle):
            for piece in files.pieces(info.name):
                handle.write(piece)
                tally.add(piece)
            settle(handle)
            partial.replace(path)
        tally.check(info.name, info.digest)
        table.add(form.ArtifactLine(root, info.name, tally.size, tally.digest))
        written.append(type(info)(info.name, is_folder=False, size=tally.size, digest=tally.digest))
    notes.holds(root.rpartition("/")[2], written)


def _finish(folder: Path, origin: str, facts: dict[str, form.TableFact]) -> None:
    at = time.time_ns() // 1_000_000
    index = form.Index(version=form.VERSION, origin=origin, exported_at=at, tables=facts, digest="")
    index = index.model_copy(update={"digest": index.computed})
    with temporary(folder) as (partial, handle):
        handle.write(index.model_dump_json(indent=1).encode() + b"\n")
        settle(handle)
        partial.replace(folder / form.INDEX)
    (folder / _BEGUN).unlink()
    sync_folder(folder)
