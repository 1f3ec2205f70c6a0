"""Artifacts that wait on this machine because they could not be put where they belong."""

from __future__ import annotations

import logging
import shutil
import uuid
from typing import TYPE_CHECKING

from prefect_ml.artifacts import open_artifacts
from prefect_ml.artifacts.durable import FILE_MODE, make_folder
from prefect_ml.errors import ArtifactError, InactiveError, NotFoundError, PrefectMLError
from prefect_ml.models.mlmodel import FILE as MLMODEL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from prefect_ml.artifacts.contract import ArtifactStore
    from prefect_ml.store.contract import Store

logger = logging.getLogger(__name__)

_WAITING = "waiting-"


def put(artifacts: ArtifactStore, name: str, source: Path | bytes) -> None:
    """Put a file or a folder; the MLmodel file of a model folder last, so that no half model can be read."""
    if isinstance(source, bytes) or not source.is_dir():
        artifacts.put(name, source)
        return
    files = sorted(path for path in source.rglob("*") if path.is_file())
    prefix = f"{name}/" if name else ""
    for path in sorted(files, key=lambda path: path.name == MLMODEL):
        artifacts.put(prefix + path.relative_to(source).as_posix(), path)


def stage(folder: Path, name: str, source: Path | bytes) -> None:
    """Keep a file or folder below a run's journal folder until `deliver_staged`; whole or not at all."""
    made = folder / f".{uuid.uuid4().hex}"
    try:
        put(open_artifacts(str(made)), name, source)
        _name(made)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def replace_waiting(folder: Path, name: str, source: Path | bytes) -> None:
    """Let what waits under names that were put since go, so that it does not replace what is newer."""
    for waiting in _waiting(folder):
        for path in _targets(waiting, name, source):
            path.unlink(missing_ok=True)


def _targets(waiting: Path, name: str, source: Path | bytes) -> list[Path]:
    if isinstance(source, bytes) or not source.is_dir():
        return [waiting / name]
    return [waiting / name / path.relative_to(source) for path in source.rglob("*") if path.is_file()]


def _name(made: Path) -> None:
    """Let it wait behind those that wait already."""
    number = max(map(_number, _waiting(made.parent)), default=0) + 1
    made.rename(made.parent / f"{_WAITING}{number}-{made.name[1:]}")


def _waiting(folder: Path) -> list[Path]:
    """Those that wait, the oldest first."""
    return sorted(folder.glob(f"{_WAITING}*"), key=_number)


def _number(waiting: Path) -> int:
    """Its place in the order; 0 where the name gives none."""
    number, _, name = waiting.name.removeprefix(_WAITING).partition("-")
    return int(number) if name else 0


def keep_found(folder: Path, contents: Mapping[str, bytes], store: Store | None) -> None:
    """Put small files into a run's artifacts; they wait in its journal folder when the store is away (None).

    Never raises.
    """
    try:
        if store is None or not _put_all(folder.name, contents, store):
            stage_small(folder, contents)
    except (PrefectMLError, OSError) as error:
        logger.warning("Run %s goes on without its %s: %s", folder.name, " and ".join(contents), error)


def _put_all(run_id: str, contents: Mapping[str, bytes], store: Store) -> bool:
    try:
        artifacts = open_artifacts(store.get_run(run_id).artifact_uri)
        for name, content in contents.items():
            artifacts.put(name, content)
    except (PrefectMLError, OSError) as error:
        logger.info("%s of run %s will be put into its artifacts later: %s", " and ".join(contents), run_id, error)
        return False
    return True


def stage_small(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Keep small files as `stage` does, at once: like the journal, they outlive this process, not a power cut.

    Args:
        folder: of the run's journals.
        contents: by the names of the artifacts, which were checked.

    Raises:
        OSError: there is no space; nothing is kept.
    """
    made = folder / f".{uuid.uuid4().hex}"
    try:
        for name, content in contents.items():
            path = made / name
            make_folder(path.parent)
            path.touch(mode=FILE_MODE)
            path.write_bytes(content)
        _name(made)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def deliver_staged(store: Store, folder: Path) -> None:
    """Put what waits where it belongs.

    Raises:
        StoreUnavailableError: it goes on waiting.
    """
    for waiting in _waiting(folder):
        try:
            target = open_artifacts(store.get_run(folder.name).artifact_uri)
            for name in sorted(_files(open_artifacts(str(waiting))), key=lambda name: name.endswith(MLMODEL)):
                target.put(name, waiting / name)
        except (ArtifactError, NotFoundError, InactiveError) as error:
            logger.warning("An artifact of run %s still waits in %s: %s", folder.name, waiting, error)
        else:
            # Another process may deliver the same at the same time.
            shutil.rmtree(waiting, ignore_errors=True)


def _files(artifacts: ArtifactStore, name: str = "") -> Iterator[str]:
    for info in artifacts.list(name):
        if info.is_folder:
            yield from _files(artifacts, info.name)
        else:
            yield info.name
