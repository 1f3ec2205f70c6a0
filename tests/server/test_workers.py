"""Several processes on one socket: they share the work, die alone, and end together."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest
from hammering import Training, compare, new_runs

from prefect_ml.errors import InvalidInputError, StoreUnavailableError
from prefect_ml.http.workers import Workers, WorkersFailedError
from prefect_ml.server import run_server
from prefect_ml.settings import Settings
from served import TrackingServer

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "nobody-may-see-this"  # noqa: S105
HEADERS = {"Authorization": f"Bearer {SECRET}"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """Two workers behind a token."""
    environment = {"PREFECT_ML_SERVER_TOKEN": SECRET}
    with TrackingServer(tmp_path_factory.mktemp("workers"), environment, "--workers", "2") as started:
        yield started


def workers_of(server: TrackingServer) -> list[psutil.Process]:
    return psutil.Process(server.process.pid).children()


def ask_all(server: TrackingServer, headers: dict[str, str], times: int = 20) -> set[int]:
    """The statuses of answers on so many new connections."""
    return {httpx.get(server.url + "/version", headers=headers, timeout=10).status_code for _ in range(times)}


def numbers(server: TrackingServer) -> str:
    return httpx.get(server.url + "/metrics", headers=HEADERS, timeout=10).text


def total(text: str, sample: str) -> float:
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(sample))


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_workers_share_the_work_and_what_they_write_is_there_once(guarded):
    trainings = [Training(guarded.url, run_id, SECRET) for run_id in new_runs(guarded.url, 8, SECRET)]
    for training in trainings:
        training.start()
    time.sleep(2)
    for training in trainings:
        training.stop()
    compare(guarded.url, trainings)
    assert all(training.acknowledged for training in trainings)
    assert [training.away for training in trainings] == [0] * 8
    spent = [sum(worker.cpu_times()[:2]) for worker in workers_of(guarded)]
    assert min(spent) > max(spent) / 10, "one worker did it all"

    text = numbers(guarded)
    points = sum(len(training.acknowledged) for training in trainings)
    # Calls of one point and of twenty.
    assert (
        points / 20 < total(text, 'prefect_ml_requests_total{method="POST",route="/api/2.0/mlflow/runs/log-') < points
    )
    assert total(text, 'prefect_ml_requests_total{method="POST",route="/api/2.0/mlflow/runs/create"') == 8
    assert total(text, "prefect_ml_requests_in_flight") == 1  # this one
    assert total(text, "process_resident_memory_bytes") > 60e6


def test_no_secret_is_seen_from_outside(guarded):
    assert ask_all(guarded, HEADERS) == {200}
    assert ask_all(guarded, {}) == {401}
    for process in (psutil.Process(guarded.process.pid), *workers_of(guarded)):
        assert SECRET not in " ".join(process.cmdline())
    assert SECRET not in guarded.log()
    folders = folders_of_numbers(guarded)
    assert len(folders) == 1
    assert folders.pop().stat().st_mode & 0o077 == 0


def folders_of_numbers(server: TrackingServer) -> set[Path]:
    """Where the workers keep what they count."""
    found = set()
    for worker in workers_of(server):
        for line in Path(f"/proc/{worker.pid}/maps").read_text().splitlines():
            if "prefect-ml-metrics-" in line:
                found.add(Path(line.split()[-1]).parent)
    return found


def test_a_worker_that_dies_is_replaced_and_the_others_go_on(guarded, until):
    first, second = workers_of(guarded)
    before = total(numbers(guarded), "prefect_ml_requests_total")
    first.send_signal(signal.SIGKILL)
    until(lambda: gone(first) and len(workers_of(guarded)) == 2)
    assert second.is_running()
    assert ask_all(guarded, HEADERS) == {200}
    assert f"Worker {first.pid} ended with -9; another takes its place." in guarded.log()
    text = numbers(guarded)
    assert total(text, "prefect_ml_requests_in_flight") == 1, "what the dead one had in hand would count for ever"
    assert total(text, "prefect_ml_requests_total") >= before + 20, "what the dead one had counted is gone"


def test_told_to_stop_all_end_and_nothing_is_left(guarded):
    workers, folders = workers_of(guarded), folders_of_numbers(guarded)
    assert guarded.stop() == 0
    assert all(gone(worker) for worker in workers)
    assert not any(folder.exists() for folder in folders)
    with pytest.raises(httpx.ConnectError):
        httpx.get(guarded.url + "/version")
    assert guarded.process.stdout is not None
    assert guarded.process.stdout.read() == "", "it said more than once that it serves"


def test_workers_do_not_outlive_the_process_that_started_them(start, until):
    server = start("--workers", "3")
    workers = workers_of(server)
    assert len(workers) == 3
    server.kill()
    until(lambda: all(gone(worker) for worker in workers), 10)
    server.start()
    assert ask_all(server, {}, 4) == {200}
    assert server.stop() == 0


class Served:
    """What workers do in the two tests below: some serve until they are told to stop, others end."""

    def __init__(self, folder: Path, fails: Callable[[int], bool]) -> None:
        self.folder = folder
        self._fails = fails
        self.ended: list[int] = []

    @property
    def begun(self) -> int:
        return len(list(self.folder.iterdir()))

    def __call__(self, ready: Callable[[], None]) -> None:
        (self.folder / str(os.getpid())).touch()
        if self._fails(self.begun):
            sys.exit(3)
        ready()
        signal.pause()


def test_a_worker_that_ends_before_all_serve_ends_the_others(tmp_path):
    served = Served(tmp_path, lambda begun: begun == 2)
    workers = Workers(2, served, drain=5, ended=served.ended.append)
    # The other one may be seen first: it fails when it says that it serves after all are told to end.
    with pytest.raises(WorkersFailedError, match=r"A worker ended with [13] before it served"):
        workers.run(socket.create_server(("127.0.0.1", 0)), lambda: None)
    assert sorted(served.ended) == sorted(int(path.name) for path in tmp_path.iterdir())
    assert not any(psutil.pid_exists(pid) for pid in served.ended)


def test_a_worker_that_cannot_start_again_is_tried_with_pauses(tmp_path, monkeypatch):
    monkeypatch.setattr("prefect_ml.http.workers._PAUSE", 0.2)
    served = Served(tmp_path, lambda begun: 2 < begun < 6)
    workers = Workers(2, served, drain=5, ended=served.ended.append)
    times: list[float] = []

    def act() -> None:
        """Kill one when all serve, and tell the supervisor to stop when there have been four more."""
        while served.begun < 6:
            times.append(time.monotonic())
            if len(times) == 1:
                os.kill(int(min(tmp_path.iterdir()).name), signal.SIGKILL)
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    workers.run(socket.create_server(("127.0.0.1", 0)), lambda: threading.Thread(target=act, daemon=True).start())
    assert len(served.ended) == 6
    assert times[-1] - times[0] > 0.5
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_worker_that_cannot_be_forked_now_is_forked_later(tmp_path, monkeypatch):
    monkeypatch.setattr("prefect_ml.http.workers._PAUSE", 0.2)
    served = Served(tmp_path, lambda _: False)
    workers = Workers(2, served, drain=5, ended=served.ended.append)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def act() -> None:
        """Kill one while this process may open no file, allow that again, and stop when there is another."""
        victim = int(min(tmp_path.iterdir()).name)
        free = os.open(os.devnull, os.O_RDONLY)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        os.kill(victim, signal.SIGKILL)
        time.sleep(0.5)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        deadline = time.monotonic() + 20
        while served.begun < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    try:
        workers.run(socket.create_server(("127.0.0.1", 0)), lambda: threading.Thread(target=act, daemon=True).start())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(served.ended) == 3
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.parametrize("count", [0, -1])
def test_a_number_of_workers_that_cannot_serve_is_refused(count):
    with pytest.raises(InvalidInputError, match=f"{count} processes cannot serve"):
        run_server(port=0, workers=count)


def test_a_store_that_is_away_is_told_before_any_worker_starts():
    settings = Settings(store_url="postgresql://ml@127.0.0.1:1/ml")
    with pytest.raises(StoreUnavailableError, match="cannot be used now"):
        run_server(port=0, workers=2, settings=settings)
