"""The files of a project, wherever it is: pinned, so that the same run can be had again."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import NotFoundError
from prefect_ml.projects.bundle import fetch_bundle
from prefect_ml.projects.git import checkout, commit_of
from prefect_ml.projects.progress import silent
from prefect_ml.projects.uri import ProjectKind, ProjectUri

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect_ml.artifacts.contract import ArtifactStore
    from prefect_ml.projects.progress import Tell


@dataclass(frozen=True, slots=True)
class Source:
    """A project's files on this machine.

    Attributes:
        uri: the project; of a repository at the commit that it is.
        folder: the project's own folder, below the root where the URI names a subdirectory.
        root: of the files.
        commit: of a repository; None for a folder and a bundle.
    """

    uri: ProjectUri
    folder: Path
    root: Path
    commit: str | None = None


def fetch_source(uri: ProjectUri, cache: Path, bundles: Callable[[], ArtifactStore], tell: Tell = silent) -> Source:
    """The files of a project: a folder as it is, everything else from `cache`, fetched once.

    Args:
        uri: the project.
        cache: where commits and bundles are kept.
        bundles: opens the store of bundles, where one is asked for.
        tell: gets a line before what takes long.

    Raises:
        InvalidInputError: git cannot read the repository.
        NotFoundError: there is no such folder, revision, subdirectory or bundle.
    """
    match uri.kind:
        case ProjectKind.FOLDER:
            return _at(uri, Path(uri.location), None)
        case ProjectKind.GIT:
            commit = commit_of(uri)
            return _at(uri.pinned(commit), checkout(uri, commit, cache, tell), commit)
        case ProjectKind.BUNDLE:
            return _at(uri, fetch_bundle(uri.location, bundles(), cache), None)


def work_copy(source: Source, folder: Path) -> Path:
    """A copy of the files in `folder`, to run in: the project's own folder in it.

    What is in the cache is shared by all runs, so that none of them may write to it.
    """
    shutil.copytree(source.root, folder, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    return folder / source.folder.relative_to(source.root)


def _at(uri: ProjectUri, root: Path, commit: str | None) -> Source:
    real = root.resolve()
    folder = resolve(real, uri.subdirectory) if uri.subdirectory else real
    if not folder.is_dir():
        raise NotFoundError(f"There is no folder {uri.subdirectory or uri.location!r} in the project.")
    return Source(uri, folder, real, commit)
