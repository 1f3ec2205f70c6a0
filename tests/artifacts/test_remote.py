"""What is particular to artifacts through fsspec."""

from __future__ import annotations

import pytest

from prefect_ml.artifacts import open_artifacts
from prefect_ml.artifacts.remote import SCHEMES
from prefect_ml.errors import ArtifactError, CorruptArtifactError, InvalidInputError


@pytest.fixture
def store(memory):
    return open_artifacts("memory://root/team")


def test_a_changed_byte_is_found_however_often_the_file_was_replaced(store, memory):
    for content in (b"one", b"two", b"one"):
        store.put("d/f", content)
        assert store.read("d/f") == content
        memory.pipe_file("/root/team/d/f", b"damaged")
        with pytest.raises(CorruptArtifactError, match="d/f"):
            store.read("d/f")
    store.delete("d/f")
    assert memory.find("/root/team") == []


def test_a_file_keeps_its_digest_seen_from_a_store_above_its_root(store, memory):
    info = store.put("d/f", b"content")
    above = open_artifacts("memory://root")
    assert above.reader("team/d/f").info.digest == info.digest
    assert [i.name for i in above.list("team/d")] == ["team/d/f"]


def test_what_others_put_there_is_read_without_a_digest(store, memory):
    memory.pipe_file("/root/team/theirs", b"theirs")
    assert store.read("theirs") == b"theirs"
    assert store.reader("theirs").info.digest is None


@pytest.mark.parametrize("scheme", sorted(SCHEMES - {"memory"}))
def test_a_cloud_without_its_library_is_an_error_that_says_what_to_install(scheme):
    with pytest.raises(ArtifactError, match=r"pip install (gcsfs|adlfs)"):
        open_artifacts(f"{scheme}://bucket/x")


@pytest.mark.parametrize(
    "uri",
    [
        "http://host/x",
        "https://host/x",
        "ssh://host/x",
        "sftp://host/x",
        "ftp://host/x",
        "github://owner:repo@main/x",
        "zip://x::http://host/y.zip",
        "simplecache::memory://x",
        "memory://x::http://host",
        "memory://",
        "memory://x/../y",
        "memory://x?y",
        "memory://x#y",
        "gs://user:secret@bucket/../x",
        "dbfs:/x",
        "gopher://x",
        "data:text/plain,x",
        "local:///etc",
        "dir://x",
        "reference://x",
    ],
)
def test_every_other_url_is_refused(uri):
    with pytest.raises(InvalidInputError):
        open_artifacts(uri)
