"""What a run came from: code, commit and user. Never fails and never slows a run down."""

from __future__ import annotations

import functools
import getpass
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

logger = logging.getLogger(__name__)

# MLflow's names, which its tools read (https://mlflow.org/docs/latest/ml/tracking/#system-tags).
SOURCE_NAME = "mlflow.source.name"
SOURCE_TYPE = "mlflow.source.type"
USER = "mlflow.user"
COMMIT = "mlflow.source.git.commit"
BRANCH = "mlflow.source.git.branch"
REPOSITORY = "mlflow.source.git.repoURL"
DIRTY = "prefect_ml.source.git.dirty"
PYTHON = "prefect_ml.python_version"

_GIT_SECONDS = 5.0
_SCP_LIKE = re.compile(r"[^/@:]+@([^/:]+:.*)")


def process_tags() -> dict[str, str]:
    """What is known without looking anywhere: source, user and Python."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    return {
        SOURCE_NAME: main or (sys.argv[0] if sys.argv and sys.argv[0] else sys.executable),
        SOURCE_TYPE: "NOTEBOOK" if "ipykernel" in sys.modules else "LOCAL",
        USER: user(),
        PYTHON: sys.version.split()[0],
    }


@functools.cache
def user() -> str:
    """The name of who runs this process, "" when the system does not know one."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""


def source_folder(file: str | None = None) -> str:
    """The folder that a source file lies in; the working directory when there is none."""
    found = file or getattr(sys.modules.get("__main__"), "__file__", None)
    parent = Path(found).absolute().parent if found else Path.cwd()
    return str(parent) if parent.is_dir() else str(Path.cwd())


@functools.lru_cache(maxsize=64)
def git_tags(folder: str) -> dict[str, str]:
    """Commit, branch, remote without credentials, and whether there are changes, as first found.

    Empty when the folder is in no repository or there is no git.
    """
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    if not commit:
        return {}
    status = _git(folder, "status", "--porcelain", "--untracked-files=no")
    tags = {
        COMMIT: commit,
        BRANCH: _git(folder, "rev-parse", "--abbrev-ref", "HEAD"),
        REPOSITORY: without_credentials(_git(folder, "config", "--get", "remote.origin.url") or ""),
        DIRTY: None if status is None else str(bool(status)).lower(),
    }
    return {key: value for key, value in tags.items() if value}


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


def _git(folder: str, *arguments: str) -> str | None:
    """What git prints; None when it fails, is not there or takes too long."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(  # noqa: S603 - an argument vector of our own words
            ["git", "-c", "core.fsmonitor=false", "-C", folder, *arguments],  # noqa: S607 - the one on the PATH
            capture_output=True, text=True, errors="replace", timeout=_GIT_SECONDS, check=False,
            env=environment, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        logger.debug("git %s failed: %s", arguments[0], error)
        return None
    return done.stdout.strip() if done.returncode == 0 else None
