"""A project's folder as one file: what goes into it, and what never comes out of one that somebody else made."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import socket
import sys
import tarfile
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from git_server import git

from prefect_ml.artifacts import open_artifacts
from prefect_ml.errors import CorruptArtifactError, InvalidInputError
from prefect_ml.projects.bundle import digest_of, fetch_bundle, files_of, put_bundle


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "project"
    (made / "sub").mkdir(parents=True)
    (made / "a").write_text("1")
    (made / "sub" / "b").write_text("2")
    return made


@pytest.fixture
def artifacts(tmp_path):
    return open_artifacts(str(tmp_path / "artifacts"))


@pytest.fixture
def fetched(tmp_path, artifacts):
    """Keeps an archive under its digest, as whoever may write artifacts can, and fetches it."""

    def fetch(content: bytes) -> Path:
        digest = hashlib.sha256(content).hexdigest()
        artifacts.put(f"{digest}.tar.gz", io.BytesIO(content))
        return fetch_bundle(digest, artifacts, tmp_path / "cache")

    return fetch


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.PAX_FORMAT) as made:
        for about, content in members:
            about.size = len(content)
            made.addfile(about, io.BytesIO(content))
    return stream.getvalue()


def member(name, kind=tarfile.REGTYPE, target="", content=b"x"):
    about = tarfile.TarInfo(name)
    about.type, about.linkname = kind, target
    return about, content if kind == tarfile.REGTYPE else b""


def test_a_bundle_is_the_same_file_wherever_it_is_packed(folder, artifacts, tmp_path):
    digest = put_bundle(folder, artifacts)
    assert put_bundle(folder, artifacts) == digest == digest_of(folder)
    there = fetch_bundle(digest, artifacts, tmp_path / "cache")
    assert files_of(there) == ["a", "sub/b"]
    assert digest_of(there) == digest
    (folder / "a").write_text("3")
    assert digest_of(folder) != digest


@pytest.mark.parametrize("versioned", [True, False])
def test_what_holds_secrets_or_is_no_source_is_left_out(folder, versioned):
    left_out = [".env", ".env.production", ".netrc", ".git-credentials", ".pypirc", "id_rsa", "key.pem", "tls.key"]
    left_out += ["x.p12", "secrets.toml", ".aws/config", "__pycache__/c.pyc"]
    kept = ["a", "sub/b", ".env.example", "secrets.py"]
    for name in (*left_out, *kept):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("SECRET=1")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        # The path of a socket is short.
        listener.bind(f"/proc/self/cwd/{os.path.relpath(folder / 's')}")
    if versioned:
        git(folder, "init", "--quiet")
        git(folder, "add", "--force", ".")
    assert files_of(folder) == sorted(kept)
    assert len(digest_of(folder)) == 64


@pytest.mark.parametrize("versioned", [True, False])
def test_a_link_to_a_folder_is_kept_as_its_files(folder, versioned, artifacts, tmp_path):
    (folder / "lib").mkdir()
    (folder / "lib" / "common").symlink_to("../sub")
    (folder / "same").symlink_to("a")
    if versioned:
        git(folder, "init", "--quiet")
        (folder / ".gitignore").write_text("ignored\n")
        (folder / "sub" / "ignored").write_text("x")
    there = fetch_bundle(put_bundle(folder, artifacts), artifacts, tmp_path / "cache")
    assert (there / "lib" / "common" / "b").read_text() == "2"
    assert (there / "same").read_text() == "1"
    assert not (there / "lib" / "common" / "ignored").exists()


@pytest.mark.parametrize(
    ("target", "match"),
    [("/etc/hostname", "leaves the project"), ("/etc", "leaves the project"), ("..", "leaves the project"),
     ("nothing", "no file"), ("link", "no file"), (".", "such links in it")],
)  # fmt: skip
def test_a_link_that_cannot_be_kept_is_named(folder, target, match):
    (folder / "link").symlink_to(target)
    with pytest.raises(InvalidInputError, match=match):
        digest_of(folder)


def test_a_file_too_large_is_refused_before_it_is_read(folder):
    with (folder / "data").open("wb") as stream:
        # More than any memory, and nothing on the disk.
        stream.truncate(1 << 40)
    with pytest.raises(InvalidInputError, match="keep data out"):
        digest_of(folder)


@pytest.mark.parametrize(
    "members",
    [
        [member("../out")], [member("/out")], [member("a/../../out")], [member("a\\out")], [member("a\x01")],
        [member("link", tarfile.SYMTYPE, "/tmp"), member("link/out")],  # noqa: S108 - where it must not get to
        [member("link", tarfile.LNKTYPE, "../../out")], [member("null", tarfile.CHRTYPE)],
        [member("pipe", tarfile.FIFOTYPE)], [member("a"), member("a/b")], [member("a/b"), member("a")],
        [member("x" * 300)],
    ],
)  # fmt: skip
def test_what_would_get_out_of_its_folder_or_is_no_file_is_refused(members, fetched, tmp_path):
    with pytest.raises((InvalidInputError, CorruptArtifactError)):
        fetched(archive(*members))
    assert not list(tmp_path.rglob("*out*"))
    assert not list((tmp_path / "cache").rglob("*.partial"))
    assert not list((tmp_path / "cache" / "projects" / "bundles").iterdir())


def test_a_name_that_is_there_twice_is_the_file_that_came_last(fetched):
    assert (fetched(archive(member("a", content=b"1"), member("a", content=b"2"))) / "a").read_bytes() == b"2"


def test_a_little_that_unpacks_to_a_lot_is_refused(fetched, monkeypatch):
    about = tarfile.TarInfo("a")
    about.size = 1 << 40
    with pytest.raises(InvalidInputError, match="more than a bundle may"):
        fetched(gzip.compress(about.tobuf()))
    # A header of extended names, which is read whole before it says whose it is.
    about.type, about.size = tarfile.XHDTYPE, 7 << 30
    for bound in ("_MOST_BYTES", "_MOST_AROUND"):
        monkeypatch.setattr(f"prefect_ml.projects.bundle.{bound}", 1 << 20)
    with pytest.raises(InvalidInputError, match="more than a bundle may"):
        fetched(gzip.compress(about.tobuf() + bytes(4 << 20)))


def test_more_files_than_a_bundle_may_have_are_refused(fetched, monkeypatch):
    monkeypatch.setattr("prefect_ml.projects.bundle._MOST_FILES", 50)
    with pytest.raises(InvalidInputError, match="more than a bundle may"):
        fetched(archive(*(member(f"f{number}", content=b"") for number in range(51))))


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", gzip.compress(b"no archive" * 100), gzip.compress(b"x")[:-4]],
    # what gzip writes holds the time
    ids=["empty", "text", "packed text", "cut short"],
)
def test_what_is_no_archive_is_said_to_be_none(content, fetched):
    with pytest.raises(CorruptArtifactError, match="no bundle"):
        fetched(content)
