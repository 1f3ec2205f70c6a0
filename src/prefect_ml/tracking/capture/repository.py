"""Whether a folder is in a git repository, without asking git, which takes a process."""

from __future__ import annotations

import os
from pathlib import Path


def in_repository(folder: str | Path) -> bool:
    """Whether git may find a repository at a folder or above it: a `.git` (gitrepository-layout(5)), or a bare one."""
    real = Path(os.path.realpath(folder))
    return any((each / ".git").exists() or _is_bare(each) for each in (real, *real.parents))


def _is_bare(folder: Path) -> bool:
    return (folder / "HEAD").exists() and (folder / "objects").is_dir() and (folder / "refs").is_dir()
