"""Runs of plain scripts whose process dies, stops, or loses its store; there is no orchestrator to ask."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import pytest

from orchestrator import until
from prefect_ml.entities import RunStatus
from prefect_ml.errors import NotFoundError
from prefect_ml.store import open_store

PLAIN = Path(__file__).with_name("plain.py")
WATCHDOG = "watchdog.py"


class Plain:
    """A process of `plain.py`.

    Args:
        folder: of what it needs.
        settings: more of its environment.
    """

    def __init__(self, folder, **settings):
        self.mark = f"PREFECT_ML_TEST_MARK={uuid.uuid4().hex}"
        self.file = folder / uuid.uuid4().hex
        name, value = self.mark.split("=")
        environment = {
            **os.environ,
            "PREFECT_ML_WATCH": "true",
            "PREFECT_ML_CAPTURE": "",
            "PREFECT_ML_FLUSH_INTERVAL": "0.2",
            "PREFECT_ML_HEARTBEAT_INTERVAL": "0.3",
            **settings,
            name: value,
        }
        self.process = subprocess.Popen([sys.executable, PLAIN, self.file], env=environment, start_new_session=True)

    @property
    def run_id(self):
        path = Path(f"{self.file}.run")
        return until(lambda: path.exists() and path.read_text(), "the run's start")

    def relatives(self):
        """Process ids and command lines of all that live with its mark."""
        found = {}
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdecimal() and self.mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        return found

    def watchdog(self):
        return until(lambda: [pid for pid, line in self.relatives().items() if WATCHDOG in line], "a watchdog")[0]

    def finish(self):
        self.file.touch()
        assert self.process.wait(30) == 0

    def close(self):
        """Let nothing live on, whatever the test found."""
        for pid in self.relatives():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)


@pytest.fixture
def start(tmp_path):
    made = []

    def begin(**settings):
        made.append(Plain(tmp_path, **settings))
        return made[-1]

    yield begin
    for each in made:
        each.close()


@pytest.fixture
def store(home):
    opened = open_store(f"sqlite:///{home / 'store.db'}")
    yield opened
    opened.close()


def is_so(store, run_id, status, seconds=30):
    def look():
        with contextlib.suppress(NotFoundError):
            return store.get_run(run_id).status is status
        return False

    until(look, f"{status} of {run_id}", seconds)
    return store.get_run(run_id)


def alone(plain):
    """Its watchdog goes when all is done."""
    until(lambda: not plain.relatives(), "the end of all processes")


def test_a_clean_end_leaves_no_process(start, store):
    plain = start()
    is_so(store, plain.run_id, RunStatus.RUNNING)
    plain.watchdog()
    plain.finish()
    run = is_so(store, plain.run_id, RunStatus.FINISHED)
    assert abs(run.end_time / 1000 - time.time()) < 5
    alone(plain)


def test_kill_9(start, store):
    plain = start()
    is_so(store, plain.run_id, RunStatus.RUNNING)
    plain.watchdog()
    at = time.time()
    plain.process.kill()
    run = is_so(store, plain.run_id, RunStatus.KILLED)
    assert abs(run.end_time / 1000 - at) < 1
    [attempt] = store.get_attempts(plain.run_id)
    assert (attempt.outcome, attempt.presumed, attempt.end_time) == (RunStatus.KILLED, True, run.end_time)
    alone(plain)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal(start, store, number):
    plain = start()
    is_so(store, plain.run_id, RunStatus.RUNNING)
    at = time.time()
    plain.process.send_signal(number)
    assert abs(is_so(store, plain.run_id, RunStatus.KILLED).end_time / 1000 - at) < 3
    alone(plain)


def test_a_dead_machine_is_noticed_by_another_process(start, store):
    dead, witness = start(), start(PREFECT_ML_HEARTBEAT_TIMEOUT="3")
    for plain in (dead, witness):
        is_so(store, plain.run_id, RunStatus.RUNNING)
    os.kill(dead.watchdog(), signal.SIGKILL)
    at = time.time()
    dead.process.kill()
    run = is_so(store, dead.run_id, RunStatus.KILLED)
    assert abs(run.end_time / 1000 - at) < 2, "its last sign of life is its end"
    assert time.time() - at < 15
    witness.finish()
    assert store.get_run(witness.run_id).status is RunStatus.FINISHED


def test_a_process_that_was_stopped_for_long_goes_on(start, store):
    stopped = start()
    is_so(store, stopped.run_id, RunStatus.RUNNING)
    stopped.process.send_signal(signal.SIGSTOP)
    witness = start(PREFECT_ML_HEARTBEAT_TIMEOUT="2")
    is_so(store, stopped.run_id, RunStatus.KILLED)
    witness.finish()
    stopped.process.send_signal(signal.SIGCONT)
    assert is_so(store, stopped.run_id, RunStatus.RUNNING).end_time is None
    stopped.finish()
    is_so(store, stopped.run_id, RunStatus.FINISHED)
    [attempt] = store.get_attempts(stopped.run_id)
    assert (attempt.outcome, attempt.presumed) == (RunStatus.FINISHED, False)


class Cable:
    """A socket through which one process reaches PostgreSQL's, until it is cut.

    Args:
        target: path of the server's socket.
    """

    def __init__(self, target):
        self.folder = Path(tempfile.mkdtemp(prefix="cable-"))
        self._target, self._whole = str(target), True
        self._ends = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.folder / target.name))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        self._whole = False
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self):
        self._whole = True

    def close(self):
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        shutil.rmtree(self.folder)

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if not self._whole:
                    near.close()
                    continue
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._target)
                self._ends += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    @staticmethod
    def _carry(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()


def test_a_process_that_could_not_reach_its_store_comes_back(start, postgres_url):
    folder = Path(postgres_url.partition("host=")[2].replace("%2F", "/"))
    cable = Cable(next(folder.glob(".s.PGSQL.*[0-9]")))
    store = open_store(postgres_url)
    url = postgres_url.partition("host=")[0] + f"host={cable.folder}"
    try:
        cut_off = start(PREFECT_ML_STORE_URL=url)
        is_so(store, cut_off.run_id, RunStatus.RUNNING)
        cable.cut()
        witness = start(PREFECT_ML_STORE_URL=postgres_url, PREFECT_ML_HEARTBEAT_TIMEOUT="2")
        is_so(store, cut_off.run_id, RunStatus.KILLED)
        witness.finish()
        cable.mend()
        is_so(store, cut_off.run_id, RunStatus.RUNNING, seconds=60)
        cut_off.finish()
        is_so(store, cut_off.run_id, RunStatus.FINISHED)
        points = store.get_metric_history(cut_off.run_id, "alive", max_results=10_000).items
        assert [point.step for point in points] == list(range(len(points)))
    finally:
        cable.close()
        store.close()
