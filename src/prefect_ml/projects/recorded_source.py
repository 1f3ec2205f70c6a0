"""The source of a run of a tracked flow or script, rebuilt from its record: a commit, and the changes since it."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from prefect_ml.errors import CorruptArtifactError, InvalidInputError, NotFoundError
from prefect_ml.projects.bundle import put_bundle
from prefect_ml.projects.git import apply_patch, checkout, root_of
from prefect_ml.projects.plan import bundles_of
from prefect_ml.projects.uri import ProjectKind, ProjectUri
from prefect_ml.tracking.capture import COMMIT, DIRTY, ENTRY_POINT, REPOSITORY, SOURCE_NAME
from prefect_ml.tracking.capture.findings import PATCH, PATCH_DIGEST
from prefect_ml.tracking.capture.redact import REDACTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect_ml.artifacts import ArtifactStore
    from prefect_ml.entities import Run
    from prefect_ml.settings import Settings

# Of a remote `git@host:path`, the record keeps no user.
_NO_USER = re.compile(r"[\w.-]+:(?!/)", re.ASCII)
_LEFT_OUT = re.compile(r"^# (?P<what>.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class RecordedSource:
    """What a run's code can be had from again.

    Attributes:
        uri: a repository at the commit, or a bundle of the commit with the changes; the folder is the one that the
            command was started in.
        entry_point: as a project names it: a script, `-m` and a module, or `file.py:function`.
        commit: of the repository.
        changes: digest of the changes since the commit; "" when there were none.
    """

    uri: ProjectUri
    entry_point: str
    commit: str
    changes: str = ""

    def __str__(self) -> str:
        return f"commit {self.commit}" + (f" with changes {self.changes}" if self.changes else "")


def rebuild(run: Run, artifacts: ArtifactStore, settings: Settings, repository: str | None = None) -> RecordedSource:
    """The source of a run, from the repository that it was in.

    Args:
        run: of a tracked flow, or of a script.
        artifacts: its own.
        settings: where bundles and commits are kept.
        repository: URL or folder of the repository; by default the one here that the run's file is in, then the
            remote that the run recorded.

    Raises:
        NotFoundError: the run recorded no commit, nobody has it, or the entry point is not in it.
        InvalidInputError: changes were left out of the record, since they were too large or held a secret.
        CorruptArtifactError: the changes are not those that were recorded.
    """
    commit = run.tags.get(COMMIT, "")
    if not commit:
        raise NotFoundError(
            f"The run {run.run_id} recorded no commit, so nobody has its source; run the code from a git repository, "
            "or as a project (`prefect-ml run`)."
        )
    uri, root = _found(run, commit, settings, repository)
    folder, entry_point = _entry_point(run, root)
    patch = _changes(run, artifacts)
    if not patch and not uri.location.startswith("file:"):
        return RecordedSource(ProjectUri(ProjectKind.GIT, uri.location, commit, folder), entry_point, commit)
    with tempfile.TemporaryDirectory(prefix="prefect-ml-source-") as scratch:
        copy = Path(scratch) / "source"
        shutil.copytree(root, copy, symlinks=True, ignore=shutil.ignore_patterns(".git"))
        if patch:
            apply_patch(copy, patch)
        digest = put_bundle(copy, bundles_of(settings))
    changes = f"sha256:{hashlib.sha256(patch).hexdigest()}" if patch else ""
    return RecordedSource(ProjectUri(ProjectKind.BUNDLE, digest, None, folder), entry_point, commit, changes)


def _found(run: Run, commit: str, settings: Settings, repository: str | None) -> tuple[ProjectUri, Path]:
    """The repository that has the commit, and the files of that."""
    problems: list[str] = []
    for place in _places(run, repository):
        try:
            uri = ProjectUri.parse(place, commit)
            return uri, checkout(uri, commit, settings.cache_folder)
        except (InvalidInputError, NotFoundError) as error:
            problems.append(str(error))
    told = " ".join(problems) or "It recorded no remote, and its file is in no repository here."
    raise NotFoundError(f"Nobody has the commit {commit} of the run {run.run_id}; name a --repository. {told}")


def _places(run: Run, repository: str | None) -> Iterator[str]:
    if repository is not None:
        yield repository
        return
    file = Path(run.tags.get(SOURCE_NAME, ""))
    if file.is_absolute() and (root := root_of(file.parent)) is not None:
        yield root.as_uri()
    if remote := run.tags.get(REPOSITORY):
        yield f"git@{remote}" if _NO_USER.match(remote) else remote


def _entry_point(run: Run, root: Path) -> tuple[str, str]:
    """The folder of the repository that the command was started in, and what it started."""
    recorded, file = run.tags.get(ENTRY_POINT, ""), run.tags.get(SOURCE_NAME, "")
    module = recorded.removeprefix("-m ") if recorded.startswith("-m ") else ""
    script, _, function = recorded.partition(":") if not module else ("", "", "")
    name = _name_in(root, file or script)
    if name is None or not recorded:
        what = recorded or file or "nobody knows what"
        raise NotFoundError(f"The run {run.run_id} was started by {what!r}, which is not in its commit.")
    if module:
        path = module.replace(".", "/")
        end = next((each for each in (f"{path}.py", f"{path}/__main__.py") if _ends(name, each)), "")
        if not end:
            raise NotFoundError(f"The module {module!r} of the run {run.run_id} is not in its commit.")
        folder = name.removesuffix(end).strip("/")
        return folder.removesuffix("src").strip("/") if folder.split("/")[-1] == "src" else folder, recorded
    # Relative to where it was started; a file elsewhere is started from the root.
    folder = name.removesuffix(script).strip("/") if _ends(name, script) else ""
    started = name.removeprefix(folder).strip("/")
    return folder, f"{started}:{function}" if function else started


def _name_in(root: Path, file: str) -> str | None:
    """The name of a file in the repository, which was elsewhere then: the longest end of its path that is there."""
    parts = PurePosixPath(file.replace("\\", "/")).parts
    names = ("/".join(parts[start:]) for start in range(len(parts)) if parts[start] != "/")
    return next((name for name in names if ".." not in name.split("/") and (root / name).is_file()), None)


def _ends(name: str, end: str) -> bool:
    return name == end or name.endswith(f"/{end}")


def _changes(run: Run, artifacts: ArtifactStore) -> bytes:
    if run.tags.get(DIRTY) != "true":
        return b""
    try:
        patch = artifacts.read(PATCH)
    except NotFoundError as error:
        raise NotFoundError(
            f"The run {run.run_id} had changes that were not committed, and they were not kept."
        ) from error
    if f"sha256:{hashlib.sha256(patch).hexdigest()}" != run.tags.get(PATCH_DIGEST):
        raise CorruptArtifactError(f"{PATCH} of the run {run.run_id} is not what was recorded.")
    text = patch.decode("utf-8", "replace")
    if (left_out := _LEFT_OUT.search(text)) is not None:
        raise InvalidInputError(f"The changes of the run {run.run_id} are not whole: {left_out['what'][:200]}.")
    if any(line.startswith(("+", "-")) and REDACTED in line for line in text.splitlines()):
        raise InvalidInputError(
            f"The changes of the run {run.run_id} held a secret, which was not kept: nobody has them whole."
        )
    return patch
