"""Where a run came from, without a secret and without a failure."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ml.tracking import capture


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)  # noqa: S607


@pytest.fixture
def repository(tmp_path):
    git(tmp_path, "init", "-q", "-b", "trunk")
    (tmp_path / "train.py").write_text("x = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    git(tmp_path, "remote", "add", "origin", "https://me:token@example.com/team/repo.git?x=secret#y")
    return tmp_path


def test_commit_branch_remote_and_changes(repository):
    tags = capture.git_tags(str(repository))
    assert len(tags[capture.COMMIT]) == 40
    assert tags[capture.BRANCH] == "trunk"
    assert tags[capture.REPOSITORY] == "https://example.com/team/repo.git"
    assert tags[capture.DIRTY] == "false"
    (repository / "train.py").write_text("x = 2\n")
    capture.git_tags.cache_clear()
    assert capture.git_tags(str(repository))[capture.DIRTY] == "true"


def test_without_a_branch_and_an_origin(repository):
    git(repository, "remote", "rename", "origin", "upstream")
    git(repository, "remote", "add", "fork", "https://me:token@example.com/me/repo.git")
    git(repository, "checkout", "-q", "--detach")
    tags = capture.git_tags(str(repository))
    assert capture.BRANCH not in tags
    assert tags[capture.REPOSITORY] == "https://example.com/team/repo.git"
    git(repository, "remote", "remove", "upstream")
    git(repository, "remote", "remove", "fork")
    capture.git_tags.cache_clear()
    assert capture.REPOSITORY not in capture.git_tags(str(repository))


def test_no_repository_and_no_git_are_no_failure(tmp_path, monkeypatch):
    assert capture.git_tags(str(tmp_path)) == {}
    monkeypatch.setenv("PATH", str(tmp_path))
    capture.git_tags.cache_clear()
    assert capture.git_tags(str(tmp_path)) == {}


def test_a_repository_runs_no_code_of_its_own(repository):
    trap = repository / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {repository}/sprung\n")
    trap.chmod(0o755)
    git(repository, "config", "core.fsmonitor", str(trap))
    capture.git_tags.cache_clear()
    assert capture.git_tags(str(repository))
    assert not (repository / "sprung").exists()


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://u:p@host/x.git", "https://host/x.git"),
        ("https://token@host:8443/x.git?a=b#c", "https://host:8443/x.git"),
        ("git@github.com:team/repo.git", "github.com:team/repo.git"),
        ("ssh://git@host/x", "ssh://host/x"),
        ("/srv/repo", "/srv/repo"),
        ("", ""),
    ],
)
def test_remotes_lose_their_credentials(url, kept):
    assert capture.without_credentials(url) == kept


@given(st.text(alphabet="abc:/@[]?#%", max_size=30))
def test_no_remote_makes_it_fail(url):
    assert "secret" not in capture.without_credentials(f"https://u:secret@{url}")


def test_process_tags_have_no_empty_names():
    tags = capture.process_tags()
    assert tags[capture.SOURCE_NAME]
    assert tags[capture.PYTHON]
