"""What is only true of the store behind a server: lost answers, outages, tokens, and what the server offers."""

from __future__ import annotations

import inspect
import logging
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from pydantic import SecretStr

from cutting import CuttingProxy
from prefect_ml import errors
from prefect_ml.entities import GateResult, JournalSpan, Metric, Policy, RunBatch
from prefect_ml.errors import (
    InvalidInputError,
    JournalOffsetError,
    NotFoundError,
    PrefectMLError,
    StoreUnavailableError,
    StoreVersionError,
)
from prefect_ml.http.refusal import RefusedError
from prefect_ml.store import open_store
from prefect_ml.store.calls import PREFIX, calls, decode_error, encode_error
from prefect_ml.store.contract import Store
from prefect_ml.store.remote import HttpStore
from prefect_ml.store.sql import SqlStore


@pytest.fixture
def served(served_url):
    """The URL of a server, and the store behind it."""
    return served_url


@pytest.fixture
def remote(served):
    store = HttpStore(served[0])
    yield store
    store.close()


def changed(store):
    """Writes that leave another state, or another answer, when they are applied twice."""
    experiment = store.create_experiment("e")
    run = store.create_run(experiment, name="n")
    yield experiment, run
    store.create_registered_model("m")
    yield [store.create_model_version("m", "s").version for _ in range(2)]
    yield store.set_alias("m", "a", 1, actor="ann"), store.set_alias("m", "a", 2, actor="ann")
    yield store.rollback("m", "a", actor="ann", reason="it drifts")
    store.delete_alias("m", "a")
    yield store.apply_journal(JournalSpan("j", 0, 1), [RunBatch(run.run_id, params={"a": "1", "": "2"})])
    store.delete_experiment(experiment)
    gates = ({"name": "auc", "kind": "metric_threshold", "metric": "auc", "minimum": 0.5},)
    store.save_policy(Policy("p", 0, "m", ("champion",), gates=gates, approvals=0), actor="ops")
    asked = {"name": "m", "version": 1, "alias": "champion", "stage": None, "requester": "bob", "artifact_digest": ""}
    evidence = [GateResult("auc", True, "")]
    first, second = (
        store.create_request(key=key, evidence=evidence, policy="p", policy_version=1, **asked) for key in "ab"
    )
    yield store.promote(first.request_id, artifact_digest="", actor="ann").generation
    for _ in range(2):
        with pytest.raises(errors.PromotionError) as caught:
            store.promote(second.request_id, artifact_digest="", actor="ann")
        yield type(caught.value)
    yield [entry.action for entry in store.audit()], store.verify_audit()


def test_what_is_repeated_because_its_answer_was_lost_is_applied_once(served, sqlite_url, tmp_path):
    url, _ = served
    with CuttingProxy(url, after=0, cuts=0) as proxy:
        lossy = HttpStore(proxy.url)
        plain = open_store(f"sqlite:///{tmp_path / 'plain.db'}")
        told = []
        for here, there in zip(changed(_Losing(lossy, proxy)), changed(plain), strict=True):
            told.append((mask(here), mask(there)))
        assert [here for here, _ in told] == [there for _, there in told]
        assert proxy.cut >= 18, "a call was not cut"
        lossy.close()
        plain.close()


class _Losing:
    """A store whose calls lose their first answer."""

    def __init__(self, store, proxy):
        self._store, self._proxy = store, proxy

    def __getattr__(self, name):
        def call(*args, **kwargs):
            self._store.close()  # the next one needs a connection, which is cut
            self._proxy._left = 1
            return getattr(self._store, name)(*args, **kwargs)

        return call


def mask(shown):
    import re

    return re.sub(r"[0-9a-f]{32}|1[0-9]{12}|/[^' ]*artifacts|sqlite:[^']*", "*", repr(shown))


def test_two_sides_raise_the_same_error_with_its_fields():
    for kind in (NotFoundError, errors.ProtectedError, errors.ParamConflictError):
        told = decode_error(encode_error(kind("No \ud800 such thing.")))
        assert (type(told), str(told)) == (kind, "No ? such thing.")
    told = decode_error(encode_error(JournalOffsetError(7)))
    assert isinstance(told, JournalOffsetError)
    assert (told.expected, str(told)) == (7, str(JournalOffsetError(7)))
    assert type(decode_error(encode_error(RefusedError(400, "X", "no")))) is PrefectMLError
    newer = decode_error(b'{"error": "NewerError", "message": "m", "fields": {"args": 1, "x": 2}}')
    assert (type(newer), newer.args, newer.x) == (PrefectMLError, ("m",), 2)
    for other in (b"", b"[]", b"{}", b'{"error": 5}', b"<html>"):
        assert decode_error(other) is None


def test_the_server_offers_the_contract_and_nothing_else(served):
    methods = {name for name, _ in inspect.getmembers(Store, inspect.isfunction) if not name.startswith("_")}
    assert set(calls()) == methods - {"close"}
    with httpx.Client(base_url=served[0]) as client:
        for name in ("close", "url", "once", "closed", "database", "__class__", "_sweep", "create_run/x", "", "../x"):
            answer = client.post(f"{PREFIX}{name}", json={})
            assert answer.status_code in {404, 405}, name
        assert client.get(f"{PREFIX}get_run").status_code == 405
        assert client.post(f"{PREFIX}get_run", content=b"{").json()["error"] == "InvalidInputError"
        assert client.post(f"{PREFIX}get_run", json={"run_id": "r", "x": 1}).json()["error"] == "InvalidInputError"
        long = client.post(f"{PREFIX}delete_run", json={"run_id": "r"}, headers={"Idempotency-Key": "k" * 201})
        assert long.status_code == 400


def test_another_call_under_a_key_that_was_used_is_not_taken_for_a_repetition(served, remote):
    run = remote.create_run("0").run_id
    with httpx.Client(base_url=served[0], headers={"Idempotency-Key": "k"}) as client:
        for value in ("1", "2", "1"):
            body = {"run_id": run, "tags": {f"t{value}": value}}
            assert client.post(f"{PREFIX}log_batch", json=body).status_code == 200
    tags = remote.get_run(run).tags
    assert (tags.get("t1"), tags.get("t2")) == ("1", "2")


@pytest.mark.parametrize("source", ["/etc/passwd", "file:///etc", "s3://bucket/%2e%2e/other", "https://host/../secret"])
def test_a_version_is_none_of_the_servers_own_files_by_this_way_either(source, remote):
    remote.create_registered_model("m")
    with pytest.raises(InvalidInputError, match="Invalid model version source"):
        remote.create_model_version("m", source)
    assert remote.search_model_versions("name = 'm'").items == []


def test_no_read_writes():
    """What is repeated without a key changes nothing."""
    for call in calls().values():
        source = inspect.getsource(getattr(SqlStore, call.name))
        writes = "database.write(" in source or "self.change(" in source
        assert not (call.reads and writes), call.name


def test_a_server_that_is_away_is_named_in_bounded_time():
    import socket

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        store = HttpStore(f"http://127.0.0.1:{unused.getsockname()[1]}/", SecretStr("s3cret"))
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError, match=rf"The server at {store.url} cannot be reached now"):
            store.get_run("r")
        assert time.monotonic() - began < 10
        store.close()


def test_an_outage_shorter_than_the_patience_is_not_seen(served, remote, listening_server, monkeypatch):
    real, refused = listening_server._app, []

    async def busy(scope, receive, send):
        if len(refused) < 3:
            refused.append(time.monotonic())
            status = (503, 429, 502)[len(refused) - 1]
            headers = [(b"retry-after", {503: b"nan", 429: b"1", 502: b"soon"}[status])]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": b"busy"})
        else:
            await real(scope, receive, send)

    monkeypatch.setattr(listening_server, "_app", busy)
    assert remote.create_experiment("e") == "1"
    assert refused[2] - refused[1] >= 1, "the server asked for a second"


def test_a_store_that_stays_away_behind_a_server_says_so_itself(served, remote, tmp_path):
    _, behind = served
    behind.database.write(lambda connection: connection.exec_driver_sql("ALTER TABLE runs RENAME TO gone") and None)
    with pytest.raises(StoreUnavailableError, match=r"The store at sqlite:.* cannot be used now"):
        remote.create_run("0")


def test_what_is_no_server_of_ours_is_told_from_one(served, remote, listening_server, monkeypatch):
    given = []

    async def answer(scope, receive, send):
        await send({"type": "http.response.start", "status": given[-1], "headers": [(b"location", b"/other")]})
        await send({"type": "http.response.body", "body": b'{"message": "no"}'})

    monkeypatch.setattr(listening_server, "_app", answer)
    for status, kind, words in (
        (404, StoreVersionError, "does not know the call 'get_run'"),
        (302, StoreVersionError, "does not know the call 'get_run'"),
        (401, StoreUnavailableError, "PREFECT_ML_SERVER_TOKEN"),
        (403, PrefectMLError, "answered 'get_run' with 403: no"),
        (200, PrefectMLError, "cannot be read"),
    ):
        given.append(status)
        with pytest.raises(kind, match=words):
            remote.get_run("r")


def test_a_token_is_asked_for_sent_and_never_shown(listening_server, sqlite_url, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("PREFECT_ML_SERVER_TOKEN", "s3cret")
    caplog.set_level(logging.DEBUG)
    behind = open_store(sqlite_url)
    with listening_server.serving(behind, tmp_path):
        store = open_store(listening_server.url)
        assert store.create_experiment("e") == "1"
        for token in (None, SecretStr("other")):
            stranger = HttpStore(listening_server.url, token)
            with pytest.raises(StoreUnavailableError, match="PREFECT_ML_SERVER_TOKEN") as caught:
                stranger.get_experiment("1")
            assert "other" not in repr(stranger) + str(caught.value)
            stranger.close()
        shown = repr(store) + store.url + repr(vars(store)) + caplog.text
        assert "s3cret" not in shown
        store.close()
    behind.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://ann:s3cret@host:5000", "PREFECT_ML_SERVER_TOKEN"),
        ("https://token@host", "PREFECT_ML_SERVER_TOKEN"),
        ("http://", "names its host"),
        ("http://host:99999", "names its host"),
        ("http://host?token=s3cret", "no query"),
    ],
)
def test_a_url_that_is_no_servers_is_refused(url, words):
    with pytest.raises(InvalidInputError, match=words) as caught:
        open_store(url)
    assert "s3cret" not in str(caught.value)


def test_the_same_store_is_shared_until_it_is_closed(served):
    url, _ = served
    store = open_store(url)
    assert open_store(url) is store
    assert store.url == url
    store.create_run("0", run_id="r")
    store.close()
    store.close()
    again = open_store(url)
    assert again is not store
    assert store.get_run("r") == again.get_run("r"), "a closed one opens connections anew"
    store.close()
    again.close()


def test_threads_share_a_store_that_another_thread_closes(served, remote):
    run = remote.create_run("0").run_id

    def log(number):
        if number % 10 == 0:
            remote.close()
        remote.log_batch(run, metrics=[Metric("m", 1.0, 1, number)])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(log, range(80)))
    assert [point.step for point in remote.get_metric_history(run, "m").items] == list(range(80))


def test_a_forked_child_uses_the_store_it_inherited(served):
    code = """
        import os, sys
        from prefect_ml.store import open_store
        store = open_store(sys.argv[1])
        store.create_run("0", run_id="parent")
        child = os.fork()
        if child == 0:
            store.create_run("0", run_id="child")
            open_store(sys.argv[1]).create_run("0", run_id="child2")
            store.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        store.create_run("0", run_id="after")
        assert store.get_run("child2").run_id == "child2"
        store.close()
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), served[0]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert {run.run_id for run in served[1].search_runs(["0"]).items} == {"parent", "child", "child2", "after"}
