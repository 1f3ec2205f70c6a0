"""What git says of a folder, without a byte of the repository's being executed.

A repository's own configuration can name programs (file system monitors, diff drivers, filters, hooks, transports);
each of them is switched off here. What the user or the machine configured, such as Git LFS, stays.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import subprocess
import threading
from urllib.parse import urlsplit, urlunsplit

from prefect_ml.tracking.capture.repository import in_repository

logger = logging.getLogger(__name__)

# MLflow's names, which its tools read (https://mlflow.org/docs/latest/ml/tracking/#system-tags).
COMMIT = "mlflow.source.git.commit"
BRANCH = "mlflow.source.git.branch"
REPOSITORY = "mlflow.source.git.repoURL"
DIRTY = "prefect_ml.source.git.dirty"
UNTRACKED = "prefect_ml.source.git.untracked"

_SECONDS = 5.0
_MOST_BYTES = 16 << 20
_SCP_LIKE = re.compile(r"[^/@:]+@([^/:]+:.*)")
_KEPT_VARIABLES = {"GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_CEILING_DIRECTORIES"}
# Besides programs: no network for the objects of a partial clone, and no index written.
_SAFE = {
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.pager": "cat",
    "diff.autoRefreshIndex": "false",
    "protocol.allow": "never",
}
_DIFF = (
    "diff", "HEAD", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--no-relative", "--unified=3",
    "--src-prefix=a/", "--dst-prefix=b/", "--ignore-submodules=dirty", "--submodule=short",
)  # fmt: skip


@functools.lru_cache(maxsize=64)
def git_tags(folder: str) -> dict[str, str]:
    """Commit, branch if there is one, remote without credentials, whether there are changes, and how many new files.

    As first found; empty when the folder is in no repository or there is no git.
    """
    commit = _line(folder, "rev-parse", "--verify", "HEAD")
    if not commit:
        return {}
    tags = {
        COMMIT: commit,
        BRANCH: _line(folder, "symbolic-ref", "--short", "--quiet", "HEAD"),
        REPOSITORY: without_credentials(_remote(folder)),
    }
    return {key: value for key, value in tags.items() if value} | _status_tags(folder)


@functools.lru_cache(maxsize=8)
def git_diff(folder: str) -> str:
    """The changes of tracked files since HEAD, as first found; at most 16 MB of them, "" when there are none."""
    if git_tags(folder).get(DIRTY) != "true":
        return ""
    return _git(folder, *_DIFF) or ""


def without_credentials(url: str) -> str:
    """A remote's URL without user name, password, query and fragment."""
    if (scp := _SCP_LIKE.fullmatch(url)) is not None:
        return scp.group(1)
    if "://" not in url:
        return url
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _remote(folder: str) -> str:
    """The URL of the remote "origin", else of the one that was added first; "" when there is none."""
    listed = _git(folder, "config", "-z", "--get-regexp", r"^remote\..*\.url$") or ""
    urls = dict(entry.split("\n", 1) for entry in reversed(listed.split("\0")) if "\n" in entry)
    return urls.get("remote.origin.url") or next(reversed(urls.values()), "")


def _status_tags(folder: str) -> dict[str, str]:
    status = _git(
        folder, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=normal", "--ignore-submodules=dirty"
    )
    if status is None:
        return {}
    entries = [entry for entry in status.split("\0") if entry]
    untracked = sum(entry.startswith("??") for entry in entries)
    return {DIRTY: str(len(entries) > untracked).lower(), UNTRACKED: str(untracked)}


def _line(folder: str, *arguments: str) -> str:
    return (_git(folder, *arguments) or "").strip()


def _git(folder: str, *arguments: str) -> str | None:
    """What git prints, up to 16 MB; None when it fails, is not there or takes too long."""
    return _run(folder, arguments, _SAFE | _no_filters(folder)) if in_repository(folder) else None


@functools.lru_cache(maxsize=64)
def _no_filters(folder: str) -> dict[str, str]:
    """Settings that empty the filter programs which the repository itself names."""
    found = _run(folder, ("config", "--local", "-z", "--name-only", "--get-regexp", r"^filter\."), _SAFE) or ""
    worktree = _run(folder, ("config", "--worktree", "-z", "--name-only", "--get-regexp", r"^filter\."), _SAFE) or ""
    names = {name.rpartition(".")[0] for name in (found + worktree).split("\0") if name}
    off = {"clean": "", "smudge": "", "process": "", "required": "false"}
    return {f"{name}.{key}": value for name in sorted(names) for key, value in off.items()}


def _run(folder: str, arguments: tuple[str, ...], configuration: dict[str, str]) -> str | None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_") or k in _KEPT_VARIABLES}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}
    environment["GIT_CONFIG_COUNT"] = str(len(configuration))
    for number, (key, value) in enumerate(configuration.items()):
        environment |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    try:
        process = subprocess.Popen(  # noqa: S603 - an argument vector of our own words
            ["git", "-C", folder, *arguments],  # noqa: S607 - the one on the PATH
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
        )  # fmt: skip
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        logger.debug("git %s failed: %s", arguments[0], error)
        return None
    return _printed(process, arguments[0])


def _printed(process: subprocess.Popen[bytes], what: str) -> str | None:
    late = threading.Timer(_SECONDS, process.kill)
    late.daemon = True
    late.start()
    with process:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        output = process.stdout.read(_MOST_BYTES)
        cut = len(output) == _MOST_BYTES
        if cut:
            process.kill()
    late.cancel()
    if process.returncode != 0 and not cut:
        logger.debug("git %s failed or took more than %s seconds.", what, _SECONDS)
        return None
    return output.decode("utf-8", "replace")
