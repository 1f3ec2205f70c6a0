"""Where a project may be; and what git and the file system are never asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ml.errors import InvalidInputError
from prefect_ml.projects.uri import ProjectKind, ProjectUri

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "location", "revision", "subdirectory"),
    [
        ("https://example.org/a/b.git", "https://example.org/a/b.git", None, ""),
        ("https://example.org/a/b.git@v1.2#sub/x", "https://example.org/a/b.git", "v1.2", "sub/x"),
        (f"ssh://git@example.org:22/a/b@{COMMIT}", "ssh://git@example.org:22/a/b", COMMIT, ""),
        ("git@example.org:a/b.git@feature/x#p", "git@example.org:a/b.git", "feature/x", "p"),
        ("http://127.0.0.1:8000/b#./", "http://127.0.0.1:8000/b", None, ""),
        ("file:///srv/b.git@main", "file:///srv/b.git", "main", ""),
        ("https://[::1]:8000/b.git", "https://[::1]:8000/b.git", None, ""),
    ],
)
def test_a_repository(text, location, revision, subdirectory):
    uri = ProjectUri.parse(text)
    assert uri == ProjectUri(ProjectKind.GIT, location, revision, subdirectory)
    assert ProjectUri.parse(str(uri)) == uri


def test_a_folder_is_taken_as_it_is_and_a_revision_of_it_from_its_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p@1").mkdir()
    assert ProjectUri.parse("p@1") == ProjectUri(ProjectKind.FOLDER, str(tmp_path / "p@1"))
    assert ProjectUri.parse(".#sub") == ProjectUri(ProjectKind.FOLDER, str(tmp_path), None, "sub")
    assert ProjectUri.parse(".@main") == ProjectUri(ProjectKind.GIT, tmp_path.as_uri(), "main")
    assert ProjectUri.parse(".", "main") == ProjectUri(ProjectKind.GIT, tmp_path.as_uri(), "main")


def test_a_name_that_no_file_system_takes_is_a_folder_that_is_not_there():
    assert ProjectUri.parse("x" * 400).kind is ProjectKind.FOLDER


def test_a_bundle():
    uri = ProjectUri.parse(f"bundle:sha256:{'a' * 64}#x")
    assert uri == ProjectUri(ProjectKind.BUNDLE, "a" * 64, None, "x")
    assert ProjectUri.parse(str(uri)) == uri


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "a\nb", "a\x00b", "--upload-pack=touch /tmp/x", "ext::sh -c touch% /tmp/x", "ext://x", "fd::7",
        "ssh://-oProxyCommand=x/y", "ssh://a@-oProxyCommand=x/y", "-oProxyCommand=x:y", "git@-oProxyCommand=x:y",
        "https://user:secret@example.org/a", "https://token@example.org/a", "https://example.org/a?b=c",
        "ftp://example.org/a", "gopher://x/y", "https:///a", "https://exa mple.org/a", "file://host/a",
        "https://example.org/a@--upload-pack=x", "https://example.org/a@a..b", "https://example.org/a@-x",
        "https://example.org/a@x.lock", "https://example.org/a@a b", "https://example.org/a@@{1}",
        "https://example.org/a#../../etc", "https://example.org/a#/../etc", "https://example.org/a#a/%2e%2e/b",
        "https://example.org/a#a\\b", "https://example.org:99999/a", "bundle:sha256:abc", f"bundle:{'a' * 64}@x",
        "https://example.org/" + "a" * 3000, "~nobody-has-this-name/x",
    ],
)  # fmt: skip
def test_what_is_no_project_is_refused(text):
    with pytest.raises(InvalidInputError):
        ProjectUri.parse(text)


def test_two_revisions_are_one_too_many():
    with pytest.raises(InvalidInputError, match="give one"):
        ProjectUri.parse("https://example.org/a@x", "y")
    assert ProjectUri.parse("https://example.org/a@x", "x").revision == "x"


def test_credentials_are_not_repeated_by_the_refusal():
    with pytest.raises(InvalidInputError) as caught:
        ProjectUri.parse("https://user:hunter2@example.org/a")
    assert "hunter2" not in str(caught.value)


@given(st.text(max_size=80))
def test_any_text_is_parsed_or_refused(text):
    try:
        uri = ProjectUri.parse(text)
    except InvalidInputError:
        return
    assert not uri.location.startswith("-")
    assert uri.revision is None or not uri.revision.startswith("-")
    assert ".." not in uri.subdirectory.split("/")
