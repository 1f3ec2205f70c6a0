"""A folder is in a repository where git says so, and nowhere else."""

from __future__ import annotations

import subprocess
from pathlib import Path

from prefect_ml.tracking.capture.repository import in_repository


def git(*words: str | Path) -> bool:
    return subprocess.run(["git", *map(str, words)], capture_output=True, check=False).returncode == 0  # noqa: S607


def test_a_repository_is_seen_where_git_finds_one(tmp_path):
    work, bare, tree = tmp_path / "work", tmp_path / "bare.git", tmp_path / "tree"
    below, alone, link = work / "a" / "b", tmp_path / "alone" / ".github", tmp_path / "link"
    assert git("init", "--quiet", work)
    assert git("init", "--quiet", "--bare", bare)
    named = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    assert git("-C", work, *named, "commit", "--quiet", "--allow-empty", "-m", "first")
    assert git("-C", work, "worktree", "add", "--quiet", tree)
    below.mkdir(parents=True)
    alone.mkdir(parents=True)
    link.symlink_to(below)
    for folder in (work, below, bare, bare / "refs", tree, link, alone, tmp_path):
        assert in_repository(folder) == git("-C", folder, "rev-parse", "--git-dir"), folder
    assert in_repository(str(link))
    assert not in_repository(alone)
