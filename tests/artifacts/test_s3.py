"""What is particular to artifacts in S3: what really lies in the bucket, and what happens when it or the way breaks."""

from __future__ import annotations

import os
import subprocess
import sys

import httpx
import pytest

from cutting import CuttingProxy
from prefect_ml.artifacts import open_artifacts
from prefect_ml.artifacts.contract import DirectPart, DirectTransfer
from prefect_ml.artifacts.s3_client import client_of
from prefect_ml.errors import (
    ArtifactError,
    CorruptArtifactError,
    InvalidInputError,
    InvalidNameError,
    NotFoundError,
    StoreUnavailableError,
)

LARGE = os.urandom(20 << 20)


@pytest.fixture
def store(s3, request):
    return open_artifacts(f"s3://artifacts/{request.node.name}")


@pytest.fixture
def keys(s3, request):
    def look():
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket="artifacts", Prefix=f"{request.node.name}/")
        prefix = len(request.node.name) + 1
        return sorted(entry["Key"][prefix:] for page in pages for entry in page.get("Contents", ()))

    return look


def test_the_digest_of_a_small_file_stands_in_its_metadata(store, s3, keys, request):
    info = store.put("d/f", b"small")
    assert keys() == ["d/f"]
    found = s3.head_object(Bucket="artifacts", Key=f"{request.node.name}/d/f")
    assert found["Metadata"] == {"prefect-ml-digest": info.digest}


def test_a_large_file_is_sent_in_parts_with_its_digest_beside_it(store, s3, keys, request):
    info = store.put("d/f", LARGE)
    assert store.read("d/f") == LARGE
    note, file = keys()
    assert note.startswith("d/.prefect-ml/digests/f/")
    assert s3.get_object(Bucket="artifacts", Key=f"{request.node.name}/{note}")["Body"].read().decode() == info.digest
    assert s3.head_object(Bucket="artifacts", Key=f"{request.node.name}/d/f")["ETag"].endswith('-3"')
    assert [i.name for i in store.list("d")] == ["d/f"]
    above = open_artifacts("s3://artifacts")
    assert above.reader(f"{request.node.name}/d/f").info.digest == info.digest
    store.delete("d/f")
    assert file == "d/f"
    assert keys() == []


def test_nothing_is_left_of_what_is_not_committed(store, s3, keys):
    with store.writer("f") as writer:
        writer.write(LARGE)
    with store.writer("f") as writer:
        writer.write(LARGE)
        with pytest.raises(InvalidInputError):
            writer.commit("sha256:" + "0" * 64)
    assert keys() == []
    assert s3.list_multipart_uploads(Bucket="artifacts").get("Uploads", []) == []


@pytest.mark.parametrize("content", [b"small", LARGE], ids=["small", "large"])
def test_a_changed_byte_is_found(store, s3, request, tmp_path, content):
    store.put("f", content)
    place = {"Bucket": "artifacts", "Key": f"{request.node.name}/f"}
    metadata = s3.head_object(**place)["Metadata"]
    s3.put_object(**place, Body=content[:-1] + bytes([content[-1] ^ 1]), Metadata=metadata)
    with pytest.raises(CorruptArtifactError, match="'f'"):
        store.read("f")
    with pytest.raises(CorruptArtifactError):
        store.download("f", tmp_path / "t")
    assert list(tmp_path.iterdir()) == []


def test_files_are_encrypted_with_the_customers_key(s3, request, monkeypatch):
    monkeypatch.setenv("PREFECT_ML_S3_KMS_KEY", "alias/models")
    store = open_artifacts(f"s3://artifacts/{request.node.name}")
    store.put("small", b"1")
    store.put("large", LARGE)
    upload, _ = store.begin_direct("direct", 1)
    store.abort_direct("direct", upload)
    for name in ("small", "large"):
        found = s3.head_object(Bucket="artifacts", Key=f"{request.node.name}/{name}")
        assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", "alias/models")


def test_lists_and_deletes_more_than_a_page(store, s3, keys, request):
    for number in range(1005):
        s3.put_object(Bucket="artifacts", Key=f"{request.node.name}/d/{number:04}", Body=b"")
    store.put("keep", b"1")
    assert [i.name for i in store.list("d")] == [f"d/{number:04}" for number in range(1005)]
    store.delete("d")
    assert keys() == ["keep"]


def test_what_others_put_there_is_read_without_a_digest_and_folder_marks_are_none(store, s3, request):
    for name in ("d/", "d/f", "d/a//b", "d/.."):
        s3.put_object(Bucket="artifacts", Key=f"{request.node.name}/{name}", Body=b"theirs")
    assert [(i.name, i.is_folder) for i in store.list("d")] == [("d/a", True), ("d/f", False)]
    assert store.read("d/f") == b"theirs"
    assert store.reader("d/f").info.digest is None


def test_a_file_goes_up_and_comes_down_past_us(store, s3, tmp_path):
    assert isinstance(store, DirectTransfer)
    upload, requests = store.begin_direct("d/ü %.bin", 3)
    pieces = [LARGE[: 6 << 20], LARGE[6 << 20 : 12 << 20], b"end"]
    parts = []
    for number, (request, piece) in enumerate(zip(requests, pieces, strict=True), 1):
        answer = httpx.put(request.url, content=piece, headers=dict(request.headers)).raise_for_status()
        parts.append(DirectPart(number, answer.headers["etag"]))
    with pytest.raises(NotFoundError):
        store.read("d/ü %.bin")
    store.complete_direct("d/ü %.bin", upload, parts[::-1])
    assert store.read("d/ü %.bin") == b"".join(pieces)
    request, size = store.direct_download("d/ü %.bin")
    answer = httpx.get(request.url, headers={"Range": "bytes=1-4"})
    assert (answer.status_code, answer.content, size) == (206, pieces[0][1:5], (12 << 20) + 3)
    assert answer.headers["content-disposition"] == "attachment"
    assert "testing" not in request.url.replace("X-Amz-Credential=testing", "")


def test_a_direct_upload_is_given_up_or_refused_whole(store, s3, keys):
    upload, (request, _) = store.begin_direct("f", 2)
    httpx.put(request.url, content=b"half").raise_for_status()
    with pytest.raises(InvalidInputError, match="InvalidPart"):
        store.complete_direct("f", upload, [DirectPart(1, "x")])
    store.abort_direct("f", upload)
    store.abort_direct("f", upload)
    assert s3.list_multipart_uploads(Bucket="artifacts").get("Uploads", []) == []
    store.put("folder/x", b"1")
    with pytest.raises(ArtifactError, match="both a file and a folder"):
        store.begin_direct("folder", 1)
    for parts in (0, 10_001):
        with pytest.raises(InvalidInputError, match="parts"):
            store.begin_direct("f", parts)
    with pytest.raises(InvalidNameError):
        store.begin_direct("../f", 1)
    with pytest.raises(NotFoundError):
        store.direct_download("f")
    assert keys() == ["folder/x"]


def test_a_read_goes_on_where_the_connection_broke(store, s3_url, monkeypatch, request):
    store.put("f", LARGE)
    with CuttingProxy(s3_url, after=3 << 20, cuts=3) as proxy:
        monkeypatch.setenv("PREFECT_ML_S3_ENDPOINT", proxy.url)
        again = open_artifacts(f"s3://artifacts/{request.node.name}")
        assert again.read("f") == LARGE
        assert proxy.cut == 3
    client_of(proxy.url).close()


def test_a_storage_that_is_away_is_an_error_that_says_so(s3, monkeypatch):
    monkeypatch.setenv("PREFECT_ML_S3_ENDPOINT", "http://127.0.0.1:9")
    store = open_artifacts("s3://artifacts/x")
    with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:9"):
        store.list()
    client_of("http://127.0.0.1:9").close()


def test_a_bucket_that_is_not_there_is_an_error_that_names_it(s3):
    store = open_artifacts("s3://nowhere-at-all/x")
    with pytest.raises(ArtifactError, match="NoSuchBucket"):
        store.put("f", b"1")


MEMORY = """
import os, resource, sys
from pathlib import Path
from prefect_ml.artifacts import open_artifacts
store = open_artifacts(sys.argv[1])
store.put("warm", bytes(20 << 20)); store.read("warm")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store.put("b", Path(sys.argv[2]))
store.download("b", Path(sys.argv[2] + "2"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_stays_flat(store, tmp_path):
    with (tmp_path / "big").open("wb") as stream:
        stream.truncate(150 << 20)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, store.uri, str(tmp_path / "big")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 20_000  # KiB
    assert (tmp_path / "big2").stat().st_size == 150 << 20


@pytest.mark.parametrize(
    "uri",
    [
        "s3://",
        "s3:///x",
        "s3://UPPER/x",
        "s3://user:secret@bucket/x",
        "s3://bucket/x?versionId=1",
        "s3://bucket/x#y",
        "s3://bucket/../x",
        "s3://bucket/x/../../y",
        "s3://bucket//x",
        "s3://bucket/x\x00",
        "s3:bucket/x",
    ],
)
def test_a_uri_that_names_no_folder_of_a_bucket_is_refused(uri):
    with pytest.raises(InvalidInputError):
        open_artifacts(uri)
