"""Files of the server: up, down, in parts, listed and deleted."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import time
from urllib.parse import quote

import pytest

FILES = "/api/2.0/mlflow-artifacts/artifacts"
LARGE = os.urandom((3 << 20) + 17)


def digest(content):
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def listed(wire, path, prefix=FILES):
    answer = wire.send("GET", f"{prefix}?path={quote(path, safe='')}")
    assert answer.status == 200
    return json.loads(answer.body)


@pytest.mark.parametrize("content", [b"", b"small", LARGE], ids=["empty", "small", "large"])
@pytest.mark.parametrize("prefix", [FILES, f"/ajax-{FILES[1:]}", "/api/prefect-ml/artifacts"])
def test_a_file_goes_up_and_comes_down(wire, folder, prefix, content):
    up = wire.send("PUT", f"{prefix}/{folder}/f.bin", content)
    assert (up.status, up.body) == (200, b"{}")
    assert up.headers["repr-digest"] == digest(content)
    down = wire.send("GET", f"{prefix}/{folder}/f.bin")
    assert (down.status, down.body) == (200, content)
    assert down.headers["content-length"] == str(len(content))
    assert down.headers["repr-digest"] == digest(content)
    assert down.headers["content-type"] == "application/octet-stream"
    assert down.headers["content-disposition"] == "attachment; filename=f.bin"
    assert down.headers["x-content-type-options"] == "nosniff"
    assert down.headers["content-security-policy"].startswith("default-src 'none'; sandbox")
    head = wire.send("HEAD", f"{prefix}/{folder}/f.bin")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(content))


def test_a_body_in_chunks_is_taken(wire, folder):
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (b"one", LARGE, b"two")) + b"0\r\n\r\n"
    with socket.create_connection(wire.address) as raw:
        raw.sendall(
            f"PUT {FILES}/{folder}/f HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + body
        )
        assert raw.recv(100).startswith(b"HTTP/1.1 200")
    assert wire.get(f"{folder}/f").body == b"one" + LARGE + b"two"


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("sent", [0, 10, 2_000_000])
def test_a_cut_upload_leaves_what_was_there(wire, server, folder, framing, sent):
    wire.put(f"{folder}/old", b"old")
    for name in ("old", "new"):
        header = f"Content-Length: {len(LARGE)}" if framing == "length" else "Transfer-Encoding: chunked"
        body = LARGE[:sent] if framing == "length" else b"%x\r\n" % len(LARGE) + LARGE[:sent]
        with socket.create_connection(wire.address) as raw:
            raw.sendall(f"PUT {FILES}/{folder}/{name} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n".encode() + body)
    scratch = server.artifacts / ".prefect-ml/partial"
    deadline = time.monotonic() + 10
    while any(scratch.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(scratch.iterdir()) == []
    assert wire.get(f"{folder}/old").body == b"old"
    assert wire.get(f"{folder}/new").status == 404
    assert [entry["path"] for entry in listed(wire, folder)["files"]] == ["old"]


def test_an_upload_that_is_not_what_its_sender_announced_is_refused(wire, folder):
    wire.put(f"{folder}/f", b"old")
    for header in ("Repr-Digest", "Content-Digest"):
        refused = wire.put(f"{folder}/f", b"changed on the way", **{header: digest(b"new")})
        assert refused.status == 400
        assert b"announced" in refused.body
    assert wire.put(f"{folder}/f", b"x", **{"Repr-Digest": "sha-256=:no:"}).status == 400
    assert wire.get(f"{folder}/f").body == b"old"
    assert wire.put(f"{folder}/f", b"new", **{"Repr-Digest": f"md5=:xx:, {digest(b'new')}"}).status == 200
    assert wire.get(f"{folder}/f").body == b"new"


def test_a_part_of_a_file_is_sent_of_the_version_that_is_meant(wire, folder):
    wire.put(f"{folder}/f", LARGE)
    tag = wire.get(f"{folder}/f").headers["etag"]
    size = len(LARGE)
    for asked, start, stop in (
        ("0-9", 0, 10),
        ("2000000-", 2_000_000, size),
        ("-5", size - 5, size),
        ("0-999999999", 0, size),
    ):
        answer = wire.get(f"{folder}/f", **{"Range": f"bytes={asked}", "If-Range": tag})
        assert (answer.status, answer.body) == (206, LARGE[start:stop])
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
        assert answer.headers["repr-digest"] == digest(LARGE)
    beyond = wire.get(f"{folder}/f", Range=f"bytes={size}-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    for asked in ("bytes=5-2", "bytes=a-b", "bytes=0-1,3-4", "lines=0-1", "bytes=-"):
        assert wire.get(f"{folder}/f", Range=asked).status == 200
    wire.put(f"{folder}/f", b"another version")
    answer = wire.get(f"{folder}/f", **{"Range": "bytes=2-", "If-Range": tag})
    assert (answer.status, answer.body) == (200, b"another version")


NAMES = [
    "a b.txt",
    "100%.txt",
    "%23.txt",
    "%2e%2e.txt",
    "a%2Fb.txt",
    "ü名.txt",
    " leading.txt",
    'say "hi".txt',
    "semi;colon.txt",
    "q?uestion#hash&amp=1+2.txt",
    "!$&'()*,:@.txt",
    "..dots.txt",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_decoded_once_and_comes_back_as_it_was(wire, server, folder, name):
    content = name.encode()
    assert wire.put(f"{folder}/{name}", content).status == 200
    assert (server.artifacts / folder / name).read_bytes() == content
    assert listed(wire, folder) == {"files": [{"path": name, "is_dir": False, "file_size": len(content)}]}
    assert wire.get(f"{folder}/{name}").body == content
    assert wire.send("DELETE", f"{FILES}/{quote(f'{folder}/{name}')}").body == b"{}"
    assert listed(wire, folder) == {}


def test_a_folder_is_listed_with_paths_that_count_from_it(wire, folder):
    for name in ("b.txt", "a/x", "a/y/z"):
        wire.put(f"{folder}/{name}", b"12")
    expected = [{"path": "a", "is_dir": True}, {"path": "b.txt", "is_dir": False, "file_size": 2}]
    assert listed(wire, folder) == {"files": expected}
    assert [entry["path"] for entry in listed(wire, f"{folder}/a")["files"]] == ["x", "y"]
    assert listed(wire, f"{folder}/nothing") == {}
    assert listed(wire, f"{folder}/b.txt") == {}
    assert "t" in [entry["path"] for entry in listed(wire, "")["files"]]


def test_delete_takes_a_folder_and_is_done_when_there_is_nothing(wire, folder):
    wire.put(f"{folder}/d/f", b"1")
    wire.put(f"{folder}/keep", b"1")
    for _ in range(2):
        answer = wire.send("DELETE", f"{FILES}/{folder}/d", headers={"Content-Length": "0"})
        assert (answer.status, answer.body) == (200, b"{}")
    assert [entry["path"] for entry in listed(wire, folder)["files"]] == ["keep"]


def test_what_is_not_there_is_404_and_a_clash_is_409(wire, folder):
    wire.put(f"{folder}/d/f", b"1")
    for name in ("missing", "d", "d/f/x"):
        answer = wire.get(f"{folder}/{name}")
        assert (answer.status, json.loads(answer.body)["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    for name in ("d", "d/f/x"):
        answer = wire.put(f"{folder}/{name}", b"2")
        assert (answer.status, json.loads(answer.body)["error_code"]) == (409, "RESOURCE_CONFLICT")
    assert wire.get(f"{folder}/d/f").body == b"1"


@pytest.mark.parametrize("content", [b"small", LARGE], ids=["small", "large"])
def test_a_corrupt_file_never_ends_in_order(wire, server, folder, content):
    wire.put(f"{folder}/f", content)
    (server.artifacts / folder / "f").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with socket.create_connection(wire.address) as raw:
        raw.sendall(f"GET {FILES}/{folder}/f HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        got = b""
        raw.settimeout(10)
        while piece := raw.recv(1 << 20):
            got += piece
            if content == b"small" and b"\r\n\r\n" in got:
                break
    head, _, body = got.partition(b"\r\n\r\n")
    if content == b"small":
        assert head.startswith(b"HTTP/1.1 500")
        assert b"restore it from a copy" in body
    else:
        assert f"content-length: {len(content)}".encode() in head
        assert body == content[: 3 << 20]


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(wire, folder):
    answer = wire.send("PUT", f"{FILES}/{folder}/f", b"", {"Content-Length": str(1 << 40)})
    assert answer.status == 413
    assert b"PREFECT_ML_SERVER_MAX_FILE" in answer.body


def test_other_methods_are_named(wire, folder):
    for method in ("POST", "PATCH"):
        answer = wire.send(method, f"{FILES}/{folder}/f", b"")
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, PUT, DELETE")


@pytest.mark.parametrize("name", ["%ff", "a%c0%afb", "%ed%a0%80"])
def test_a_name_that_is_no_text_is_refused(wire, folder, name):
    for method in ("GET", "PUT", "DELETE"):
        assert wire.send(method, f"{FILES}/{folder}/{name}", b"").status == 400


def test_the_storage_of_a_folder_cannot_be_reached_past_the_server(wire, folder):
    wire.put(f"{folder}/f", b"1")
    for method, path in (
        ("POST", f"/api/2.0/mlflow-artifacts/mpu/create/{folder}"),
        ("GET", f"/api/2.0/mlflow-artifacts/presigned/{folder}/f"),
    ):
        answer = wire.send(method, path, b'{"path": "f", "num_parts": 2}', {"Content-Type": "application/json"})
        assert (answer.status, json.loads(answer.body)["error_code"]) == (501, "NOT_IMPLEMENTED")
