"""Real worlds of MLflow's, written once a session, and empty stores to move them into."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from worlds import QUIET, World

from prefect_ml.store import open_store


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow")
    return World(folder, f"sqlite:///{folder / 'mlflow.db'}")


@pytest.fixture(scope="session")
def mlflow_server(world):
    """The URL of MLflow's own server over that world."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("mlflow"), "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", world.url, "--artifacts-destination", str(world.folder), "--workers", "1"]
    with (world.folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **QUIET}, cwd=world.folder, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield _answering(f"http://127.0.0.1:{port}", process, world.folder / "server.log")
        finally:
            # Its own processes are all in the session that was begun for it.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


def _answering(url: str, process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(f"{url}/health", timeout=2).status_code == 200:
                return url
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory):
    """A SQLite file with all tables."""
    path = tmp_path_factory.mktemp("migrated") / "store.db"
    open_store(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def new_store(migrated_file, tmp_path, monkeypatch):
    """Makes empty stores with artifacts of their own, by name."""
    opened = []

    def make(name: str):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        shutil.copyfile(migrated_file, folder / "store.db")
        monkeypatch.setenv("PREFECT_ML_ARTIFACT_ROOT", str(folder / "artifacts"))
        store = open_store(f"sqlite:///{folder / 'store.db'}")
        opened.append(store)
        return store

    yield make
    for store in opened:
        assert store.database.checked_out == 0, "a connection is left checked out"
        store.close()


@pytest.fixture
def store(new_store):
    return new_store("here")
