"""Fetching a repository at one commit, without anything of the repository's being executed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_ml.artifacts.durable import make_folder
from prefect_ml.errors import InvalidInputError, NotFoundError
from prefect_ml.models.process_group import end_group, without_user_info
from prefect_ml.projects.progress import silent

if TYPE_CHECKING:
    from prefect_ml.projects.progress import Tell
    from prefect_ml.projects.uri import ProjectUri

_SECONDS = 600.0
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)
_SHORT = re.compile(r"[0-9a-f]{7,63}", re.ASCII)
# Only transports that run nothing but git and ssh; no hook, filter or monitor that a repository names.
_CONFIGURATION = {
    "protocol.allow": "never",
    "protocol.https.allow": "always",
    "protocol.http.allow": "always",
    "protocol.ssh.allow": "always",
    "protocol.file.allow": "always",
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.symlinks": "true",
    "core.protectNTFS": "true",
    "core.protectHFS": "true",
    "advice.detachedHead": "false",
    "fetch.recurseSubmodules": "false",
    "submodule.recurse": "false",
    "transfer.fsckObjects": "true",
    "init.defaultBranch": "main",
    "http.followRedirects": "initial",
}


def commit_of(uri: ProjectUri) -> str:
    """The commit that a revision of a repository is now; a whole commit is one for ever, and nobody is asked.

    Raises:
        InvalidInputError: there is no git, or it cannot read the repository.
        NotFoundError: it has no such revision.
    """
    revision = uri.revision
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    listed = _git("ls-remote", "--", uri.location)
    pairs = (line.partition("\t") for line in listed.splitlines())
    refs = {name: commit for commit, tab, name in pairs if tab}
    if revision is None:
        names: tuple[str, ...] = ("HEAD",)
    else:
        # What an annotated tag points at goes before the tag itself.
        names = (f"refs/tags/{revision}^{{}}", f"refs/tags/{revision}", f"refs/heads/{revision}", revision)
    for name in names:
        if (found := refs.get(name)) is not None:
            return found
    if revision is not None and _SHORT.fullmatch(revision):
        if len(full := {commit for commit in refs.values() if commit.startswith(revision)}) == 1:
            return full.pop()
        raise NotFoundError(f"{revision!r} is no branch or tag there; give all 40 digits of a commit.")
    raise NotFoundError(f"The repository {uri.location!r} has no branch, tag or commit {revision or 'HEAD'!r}.")


def checkout(uri: ProjectUri, commit: str, cache: Path, tell: Tell = silent) -> Path:
    """A folder with the files of a commit, made once and then taken from `cache`; nobody may write to it.

    `tell` gets a line before it is fetched.

    Raises:
        InvalidInputError: git cannot fetch it.
        NotFoundError: the repository has no such commit.
    """
    key = hashlib.sha256(uri.location.encode()).hexdigest()[:32]
    target = cache / "projects" / key / commit
    if target.is_dir():
        return target
    tell(f"Fetching {uri.location} at {commit}.")
    make_folder(target.parent)
    partial = target.parent / f".{uuid.uuid4().hex}.partial"
    make_folder(partial)
    try:
        _git("init", "--quiet", "--", str(partial))
        try:
            _git("fetch", "--quiet", "--no-tags", "--depth", "1", "--", uri.location, commit, folder=partial)
        except InvalidInputError:
            # Not every server hands out a commit by its name.
            _git(
                "fetch", "--quiet", "--tags", "--", uri.location, "+refs/heads/*:refs/remotes/origin/*", folder=partial
            )
        try:
            _git("checkout", "--quiet", "--detach", commit, "--", folder=partial)
        except InvalidInputError as error:
            raise NotFoundError(f"The repository {uri.location!r} has no commit {commit}.") from error
        _git("remote", "add", "--", "origin", uri.location, folder=partial)
        _place(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def root_of(folder: Path) -> Path | None:
    """The root of the repository that a folder is in; None when it is in none, or is not there."""
    try:
        found = _git("rev-parse", "--show-toplevel", folder=folder).strip()
    except InvalidInputError:
        return None
    return Path(found) if found else None


def apply_patch(folder: Path, patch: bytes) -> None:
    """Change the files of a folder that is no repository as a patch says; all of it or nothing, and no file elsewhere.

    Raises:
        InvalidInputError: it does not fit these files.
    """
    with tempfile.NamedTemporaryFile(suffix=".patch") as stream:
        stream.write(patch)
        stream.flush()
        # A repository further up would take only what is below it.
        _git("apply", "--whitespace=nowarn", "--", stream.name, folder=folder, ceiling=folder.parent)


def _place(partial: Path, target: Path) -> None:
    try:
        partial.replace(target)
    except OSError:
        # Another process may have been faster; the files are those of one commit.
        if not target.is_dir():
            raise


def _git(*arguments: str, folder: Path | None = None, ceiling: Path | None = None) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_") or k in _KEPT}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "0", "LC_ALL": "C"}
    environment.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
    if ceiling is not None:
        environment["GIT_CEILING_DIRECTORIES"] = str(ceiling.resolve())
    environment["GIT_CONFIG_COUNT"] = str(len(_CONFIGURATION))
    for number, (key, value) in enumerate(_CONFIGURATION.items()):
        environment |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    where = [] if folder is None else ["-C", str(folder)]
    try:
        process = subprocess.Popen(  # noqa: S603 - an argument vector; what people gave was checked, and is after `--`
            ["git", *where, *arguments],  # noqa: S607 - the one on the PATH
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise InvalidInputError("There is no git here to read the project with; install it.") from error
    with process:
        try:
            out, said = (each.decode("utf-8", "replace") for each in process.communicate(timeout=_SECONDS))
        except subprocess.TimeoutExpired as error:
            raise InvalidInputError(
                f"git {arguments[0]} took longer than {_SECONDS:g} seconds and was stopped."
            ) from error
        finally:
            # With what it started, such as ssh, which would wait on.
            end_group(process)
    if process.returncode != 0:
        raise InvalidInputError(f"git {arguments[0]} failed: {' '.join(without_user_info(said).split())[-400:]}")
    return out


_KEPT = {
    "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_ASKPASS",
    "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_PROXY_SSL_CAINFO",
}  # fmt: skip
