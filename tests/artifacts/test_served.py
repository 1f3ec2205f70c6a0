"""What is particular to artifacts behind a server: broken connections, a killed server, corruption, the token."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest
from pydantic import SecretStr

from cutting import CuttingProxy
from prefect_ml.artifacts import open_artifacts, served_client
from prefect_ml.errors import (
    ArtifactError,
    CorruptArtifactError,
    InvalidInputError,
    NotFoundError,
    StoreUnavailableError,
)
from served import TrackingServer

LARGE = os.urandom(12 << 20)


@pytest.fixture
def folder():
    return f"t/{uuid.uuid4().hex}"


@pytest.fixture
def store(served, folder):
    return open_artifacts(f"mlflow-artifacts:/{folder}")


@pytest.fixture
def hasty(monkeypatch):
    """Repeat at once, where the test is not about the pauses."""
    monkeypatch.setattr(served_client, "_FIRST_PAUSE", 0.01)


@pytest.mark.parametrize("source", ["path", "bytes", "writer"])
@pytest.mark.usefixtures("hasty")
def test_an_interrupted_upload_is_repeated(store, served, monkeypatch, tmp_path, source):
    (tmp_path / "f").write_bytes(LARGE)
    with CuttingProxy(served.url, after=5 << 20, cuts=2, upload=True) as proxy:
        monkeypatch.setenv("PREFECT_ML_STORE_URL", proxy.url)
        through = open_artifacts(store.uri)
        if source == "writer":
            with through.writer("f") as writer:
                writer.write(LARGE)
                writer.commit()
        else:
            through.put("f", tmp_path / "f" if source == "path" else LARGE)
        assert proxy.cut == 2
        served_client.client_of(proxy.url, None).close()
    assert store.read("f") == LARGE
    assert [info.name for info in store.list()] == ["f"]
    assert list((served.artifacts / ".prefect-ml/partial").iterdir()) == []


def test_an_interrupted_download_goes_on_where_it_broke(store, served, monkeypatch, tmp_path, hasty):
    store.put("d/f", LARGE)
    with CuttingProxy(served.url, after=2 << 20, cuts=4) as proxy:
        monkeypatch.setenv("PREFECT_ML_STORE_URL", proxy.url)
        open_artifacts(store.uri).download("d", tmp_path / "t")
        assert proxy.cut == 4
        served_client.client_of(proxy.url, None).close()
    assert (tmp_path / "t/f").read_bytes() == LARGE


def test_a_file_that_is_replaced_while_its_download_is_broken_is_not_mixed(store, served, monkeypatch, hasty):
    store.put("f", LARGE)
    with CuttingProxy(served.url, after=6 << 20, cuts=1) as proxy:
        monkeypatch.setenv("PREFECT_ML_STORE_URL", proxy.url)
        with open_artifacts(store.uri).reader("f") as reader:
            pieces = reader.pieces()
            next(pieces)
            store.put("f", LARGE[::-1])
            with pytest.raises(ArtifactError, match="replaced while it was read"):
                list(pieces)
        served_client.client_of(proxy.url, None).close()


@pytest.mark.parametrize("content", [b"small", LARGE], ids=["small", "large"])
@pytest.mark.usefixtures("hasty")
def test_a_file_that_is_corrupt_behind_the_server_is_never_taken(store, served, folder, tmp_path, content):
    store.put("f", content)
    (served.artifacts / folder / "f").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CorruptArtifactError, match="restore it from a copy"):
        store.read("f")
    with pytest.raises(CorruptArtifactError):
        store.download("f", tmp_path / "t")
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_a_digest_is_read_as_it_is(store, served, folder):
    (served.artifacts / folder).mkdir(parents=True)
    (served.artifacts / folder / "theirs").write_bytes(LARGE)
    assert store.read("theirs") == LARGE
    assert store.list()[0].digest is None


def test_an_upload_survives_a_kill_of_the_server(tmp_path, monkeypatch):
    big = tmp_path / "big"
    with big.open("wb") as stream:
        stream.truncate(150 << 20)
    # A busy machine may take longer to start a server than the patience of a client.
    monkeypatch.setattr(served_client, "ATTEMPTS", 90)
    monkeypatch.setattr(served_client, "_LONGEST_PAUSE", 1)
    with TrackingServer(tmp_path / "server") as server:
        monkeypatch.setenv("PREFECT_ML_STORE_URL", server.url)
        store = open_artifacts("mlflow-artifacts:/1")
        store.put("warm", b"1")
        sending = threading.Thread(target=store.put, args=("big", big))
        sending.start()
        scratch = server.artifacts / ".prefect-ml/partial"
        while not any(path.stat().st_size > 10 << 20 for path in scratch.iterdir()):
            time.sleep(0.005)
        server.kill()
        assert not (server.artifacts / "1/big").exists()
        server.start()
        sending.join(120)
        assert store.download("big", tmp_path / "down").stat().st_size == 150 << 20
        served_client.client_of(server.url, None).close()


def test_a_server_that_is_away_is_an_error_that_says_to_try_again(monkeypatch, hasty):
    monkeypatch.setenv("PREFECT_ML_STORE_URL", "http://127.0.0.1:9")
    store = open_artifacts("mlflow-artifacts:/1")
    for call in (lambda: store.put("f", b"1"), lambda: store.read("f"), store.list, lambda: store.delete("f")):
        with pytest.raises(StoreUnavailableError, match="try again"):
            call()
    served_client.client_of("http://127.0.0.1:9", None).close()


def test_the_token_is_sent_and_never_told(tmp_path, monkeypatch):
    with TrackingServer(tmp_path / "server", {"PREFECT_ML_SERVER_TOKEN": "s3cret"}) as server:
        monkeypatch.setenv("PREFECT_ML_STORE_URL", server.url)
        with pytest.raises(ArtifactError, match="PREFECT_ML_SERVER_TOKEN"):
            open_artifacts("mlflow-artifacts:/1").put("f", b"1")
        monkeypatch.setenv("PREFECT_ML_SERVER_TOKEN", "s3cret")
        store = open_artifacts("mlflow-artifacts:/1")
        store.put("f", b"1")
        assert store.read("f") == b"1"
        assert "s3cret" not in repr(store) + store.uri + server.log()
        with pytest.raises(NotFoundError) as missing:
            store.read("g")
        assert "s3cret" not in str(missing.value)
        for token in ("s3cret", None):
            secret = None if token is None else SecretStr(token)
            served_client.client_of(server.url, secret).close()


MEMORY = """
import resource, sys
from pathlib import Path
from prefect_ml.artifacts import open_artifacts
store = open_artifacts(sys.argv[1])
store.put("warm", bytes(20 << 20)); store.download("warm", Path(sys.argv[2] + "1"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store.put("b", Path(sys.argv[2])); store.download("b", Path(sys.argv[2] + "2"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def _peak(pid):
    """KiB of memory that a process had at most."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of another process is read from Linux")
def test_memory_stays_flat_on_both_sides(store, served, tmp_path):
    with (tmp_path / "big").open("wb") as stream:
        stream.truncate(150 << 20)
    store.put("warm", LARGE)
    store.read("warm")
    before = _peak(served.process.pid)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, store.uri, str(tmp_path / "big")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 20_000
    assert _peak(served.process.pid) - before < 20_000
    assert (tmp_path / "big2").stat().st_size == 150 << 20


@pytest.mark.parametrize(
    "uri",
    [
        "mlflow-artifacts:x",
        "mlflow-artifacts://host/x",
        "mlflow-artifacts:///x",
        "mlflow-artifacts:/../x",
        "mlflow-artifacts:/x?y",
        "mlflow-artifacts:/x#y",
        "mlflow-artifacts:/x\\y",
    ],
)
def test_a_uri_that_names_no_folder_of_the_server_is_refused(uri, monkeypatch):
    monkeypatch.setenv("PREFECT_ML_STORE_URL", "http://127.0.0.1:9")
    with pytest.raises(InvalidInputError):
        open_artifacts(uri)


@pytest.mark.parametrize("url", [None, "sqlite:///x.db", "http://user:secret@host:1", "http://host/?x=1", "http://"])
def test_a_store_url_that_is_no_server_is_refused_without_telling_it(url, monkeypatch):
    if url is not None:
        monkeypatch.setenv("PREFECT_ML_STORE_URL", url)
    with pytest.raises(InvalidInputError, match="PREFECT_ML_STORE_URL") as refused:
        open_artifacts("mlflow-artifacts:/1")
    assert "secret" not in str(refused.value)
