"""Following an alias under load, refusing what cannot be served, and going on without the store."""

from __future__ import annotations

import gc
import json
import threading
import time
import weakref
from http.client import HTTPConnection

import numpy as np
import psutil
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsRegressor

from prefect_ml.models.folder import LoadedModel, save_model
from prefect_ml.registry.register import register_model
from prefect_ml.registry.resolve import resolve
from prefect_ml.serving import memory
from prefect_ml.serving.follow import Follower, Served
from prefect_ml.serving.replica import load_replica
from prefect_ml.settings import Settings

BODY = json.dumps({"dataframe_records": [{"age": 30.0, "income": 1.0}]})
HEADERS = {"content-type": "application/json"}
URI = "models:/linear@champion"


class Clients:
    """Threads that ask over kept connections, together at most so often a second, and remember each answer."""

    def __init__(self, port, count=6, rate=500):
        self.answers, self.failures = [], []
        self._port, self._stop, self._pause = port, threading.Event(), count / rate
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def answered_by(self, version):
        return sum(seen == str(version) for seen, _ in self.answers)

    def _ask(self):
        connection = HTTPConnection("127.0.0.1", self._port, timeout=60)
        due = time.monotonic()
        while not self._stop.is_set():
            try:
                connection.request("POST", "/invocations", BODY, HEADERS)
                answer = connection.getresponse()
                content = answer.read()
                if answer.status == 200:
                    first = round(json.loads(content)["predictions"][0], 6)
                    self.answers.append((answer.headers["x-model-version"], first))
                else:
                    self.failures.append(content)
            except OSError as error:
                self.failures.append(error)
                connection.close()
            due += self._pause
            self._stop.wait(max(0.0, due - time.monotonic()))
        connection.close()


def wait_for(client, wanted, seconds=60):
    deadline = time.monotonic() + seconds
    while not wanted(health := client.get("/health").json()):
        assert time.monotonic() < deadline, health
        time.sleep(0.05)
    return health


def test_the_alias_moves_under_load_and_no_request_fails(store, version, serving_process):
    versions = [version(slope) for slope in (1.0, 10.0, 100.0)]
    store.set_alias("linear", "champion", versions[0])
    expected = {str(v): slope * 32.0 for v, slope in zip(versions, (1.0, 10.0, 100.0), strict=True)}
    with serving_process(URI) as client, Clients(client.base_url.port) as clients:
        until(lambda: clients.answered_by(versions[0]) > 100)
        for moved_to in (versions[1], versions[2], versions[0], versions[1]):
            alias = store.set_alias("linear", "champion", moved_to)
            health = wait_for(client, lambda health, alias=alias: health["generation"] == alias.generation)
            assert health["version"] == moved_to
            assert health["error"] is None
            before = clients.answered_by(moved_to)
            until(lambda moved_to=moved_to, before=before: clients.answered_by(moved_to) > before + 100)
    assert clients.failures == []
    assert {seen for seen, _ in clients.answers} == set(expected)
    # each answer was made by the version that it names
    assert all(value == pytest.approx(expected[seen]) for seen, value in clients.answers)


def spoil_example(folder):
    example = json.loads((folder / "input_example.json").read_text())
    example["data"][0][0] = "old"
    (folder / "input_example.json").write_text(json.dumps(example))


def test_a_version_that_fails_its_own_example_is_refused_and_the_old_one_goes_on(store, version, serving_process):
    good, bad = version(1.0), version(2.0, spoil_example)
    store.set_alias("linear", "champion", good)
    with serving_process(URI) as client, Clients(client.base_url.port, 2) as clients:
        store.set_alias("linear", "champion", bad)
        health = wait_for(client, lambda health: health["error"])
        assert health["version"] == good
        assert health["refused_version"] == bad
        assert "fails on its own input example" in health["error"]
        assert "'age'" in health["error"]
        store.set_alias("linear", "champion", good)
        wait_for(client, lambda health: health["error"] is None and health["generation"] == 3)
    assert clients.failures == []
    assert {seen for seen, _ in clients.answers} == {str(good)}


def test_a_damaged_version_is_refused_and_taken_over_once_repaired(store, version, tmp_path, serving_process):
    good, damaged = version(1.0), version(2.0)
    store.set_alias("linear", "champion", good)
    weights = next((tmp_path / "slope-2.0").glob("model.*"))
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-1])
    with serving_process(URI) as client:
        store.set_alias("linear", "champion", damaged)
        health = wait_for(client, lambda health: health["error"])
        assert health["error"].startswith(f"Version {damaged} is refused")
        assert "digest" in health["error"]
        answer = client.post("/invocations", content=BODY, headers=HEADERS)
        assert answer.headers["x-model-version"] == str(good)
        weights.write_bytes(kept)
        assert wait_for(client, lambda health: health["version"] == damaged)["error"] is None


def test_a_server_does_not_start_on_a_model_that_fails_its_example(store, version):
    store.set_alias("linear", "champion", version(2.0, spoil_example))
    with pytest.raises(Exception, match="fails on its own input example"):
        load_replica(resolve(store, URI), Settings())


def test_serving_goes_on_when_the_alias_or_the_store_is_gone(store, home, version, monkeypatch):
    monkeypatch.setenv("PREFECT_ML_SERVE_POLL_INTERVAL", "0.05")
    store.set_alias("linear", "champion", version(1.0))
    served = Served(load_replica(resolve(store, URI), Settings()))
    follower = Follower(served, store, Settings())
    follower.start()
    try:
        store.delete_alias("linear", "champion")
        until(lambda: served.health()["error"])
        assert "cannot be looked up" in served.health()["error"]
        newer = store.set_alias("linear", "champion", version(2.0))
        until(lambda: served.health()["generation"] == newer.generation)
        assert served.health()["error"] is None
        database, away = home / "store.db", home / "away.db"
        for source, target, gone in ((database, away, True), (away, database, False)):
            store.close()  # no connection may keep the file that goes
            source.replace(target)
            until(lambda gone=gone: bool(served.health()["error"]) is gone)
            answer = json.loads(served.current.answer("application/json", BODY.encode()))
            assert answer["predictions"][0] == pytest.approx(64)
    finally:
        follower.stop()


def test_the_old_model_leaves_memory_with_its_last_request(store, version, monkeypatch):
    monkeypatch.setenv("PREFECT_ML_SERVE_POLL_INTERVAL", "0.05")
    store.set_alias("linear", "champion", version(1.0))
    served = Served(load_replica(resolve(store, URI), Settings()))
    in_flight = served.current
    old = weakref.ref(in_flight.model.native)
    follower = Follower(served, store, Settings())
    follower.start()
    try:
        store.set_alias("linear", "champion", version(2.0))
        until(lambda: served.current.version == "2")
    finally:
        follower.stop()
    assert old() is not None
    del in_flight
    gc.collect()
    assert old() is None


def test_memory_returns_however_often_a_model_is_swapped(store, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_ML_SERVE_POLL_INTERVAL", "0.02")
    rows = np.random.default_rng(1).normal(size=(200_000, 4))  # 6.4 MB
    for number in (1, 2):
        folder = tmp_path / f"model-{number}"
        save_model(KNeighborsRegressor(algorithm="brute").fit(rows, rows[:, 0]), folder, input_example=rows[:2])
        register_model(store, str(folder), "linear")
    store.set_alias("linear", "champion", 1)
    served = Served(load_replica(resolve(store, URI), Settings()))
    follower = Follower(served, store, Settings())
    follower.start()
    sizes = []
    try:
        for swap in range(14):
            version = str(1 + (swap + 1) % 2)
            store.set_alias("linear", "champion", int(version))
            until(lambda version=version: served.current.version == version)
            sizes.append(psutil.Process().memory_info().rss)
    finally:
        follower.stop()
    # the least of the last ones, since a swap that has just been made holds both for a moment
    grown = min(sizes[-4:]) - min(sizes[2:6])
    assert grown < 2 * rows.nbytes, [size // 2**20 for size in sizes]


def test_a_model_that_holds_itself_is_collected_and_others_stop_nobody(monkeypatch):
    collected, original = [], gc.collect
    monkeypatch.setattr(memory, "_FIRST", 0.2)
    monkeypatch.setattr(gc, "collect", lambda *args: collected.append(1) or original(*args))
    leaving = memory.Leaving()
    plain, round_ = (LoadedModel(LinearRegression(), None, None, None) for _ in range(2))
    round_.native.itself = round_.native
    kept = weakref.ref(round_.native)
    leaving.add(plain)
    del plain
    leaving.look()
    assert collected == []
    leaving.add(round_)
    del round_
    leaving.look()
    assert kept() is not None
    until(lambda: leaving.look() or kept() is None)
    assert collected == [1]
    leaving.look()
    assert collected == [1]


def until(wanted, seconds=60):
    deadline = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < deadline
        time.sleep(0.02)
