"""From where each change came and whose it is, as the audit log keeps it: by this process, the command, and HTTP."""

from __future__ import annotations

import base64
import contextvars
import getpass
import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import httpx
import pytest
from sqlalchemy import update

from prefect_ml.cli import main
from prefect_ml.entities import GateResult, Policy, Stage
from prefect_ml.errors import CorruptArtifactError
from prefect_ml.registry.promotion import decide
from prefect_ml.store.audit import hash_of
from prefect_ml.store.calls import PREFIX
from prefect_ml.store.origin import ORIGIN_HEADER, origin
from prefect_ml.store.registry_tables import audit, audit_head
from tampering import unlock

HOST = socket.gethostname()
USER = getpass.getuser()
AGENT = f"prefect-ml/{version('prefect-ml')}"


@pytest.fixture
def local(place):
    """What the log says of a change by this process, at each place."""

    def said(channel, **more):
        own = {"channel": channel, "host": HOST, **more}
        if place != "http":
            return own
        return {"channel": "prefect-ml", "client": "127.0.0.1", "agent": AGENT, "claimed": own}

    return said


def last(store):
    return store.audit(after=store.verify_audit() - 1)[0]


def test_a_change_is_of_this_process_and_its_user(store, local):
    store.create_registered_model("m")
    assert (last(store).origin, last(store).actor) == (local("python"), USER)
    store.create_model_version("m", "s")
    for change in (
        lambda: store.set_alias("m", "blue", 1),
        lambda: store.transition_stage("m", 1, Stage.STAGING),
        lambda: store.rename_registered_model("m", "n"),
        lambda: store.delete_model_version("n", 1),
        lambda: store.delete_registered_model("n"),
    ):
        change()
        assert (last(store).origin, last(store).actor) == (local("python"), USER)
    assert [move.moved_by for move in store.alias_history("m", "blue")] == [USER, USER]


def test_an_actor_that_is_named_stays(store):
    store.create_registered_model("m")
    store.create_model_version("m", "s")
    assert store.set_alias("m", "blue", 1, actor="ann").moved_by == "ann"
    assert last(store).actor == "ann"


def test_what_an_entrance_says_holds_within_it(store, local):
    with origin(channel="cli"):
        store.create_registered_model("m")
        with origin(flow_run="f"):
            store.create_registered_model("n")
    store.create_registered_model("o")
    assert [entry.origin for entry in store.audit()] == [local("cli"), local("cli", flow_run="f"), local("python")]


def test_a_decision_came_by_its_channel(store, local):
    store.create_registered_model("m")
    store.create_model_version("m", "s", artifact_digest="d")
    store.save_policy(Policy("p", 0, "m", ("champion",)), actor="ops")
    asked = {"name": "m", "version": 1, "alias": "champion", "stage": None, "requester": "bob", "artifact_digest": "d"}
    made = store.create_request(key="k", evidence=[GateResult("g", True, "")], policy="p", policy_version=1, **asked)
    decide(store, made.request_id, approve=True, actor="ann", channel="prefect-ui")
    assert (last(store).origin, last(store).actor) == (local("prefect-ui"), "ann")


def test_changes_of_several_threads_keep_their_origins(store):
    def work(number):
        with origin(channel=f"c{number}"):
            for each in range(5):
                store.create_registered_model(f"m{number} {each}")

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(contextvars.copy_context().run, work, number) for number in range(8)]:
            done.result()
    for entry in store.audit():
        channel = entry.origin.get("claimed", entry.origin)["channel"]
        assert entry.subject.startswith(f"models:/m{channel[1:]} ")


@pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens:UserWarning")
def test_the_command_line_says_so(store, store_url, monkeypatch, tmp_path, local):
    policy = tmp_path / "policy.yaml"
    policy.write_text("name: p\nmodel_pattern: m\naliases: [champion]\n")
    monkeypatch.setenv("PREFECT_ML_STORE_URL", store_url)
    monkeypatch.setattr(sys, "argv", ["prefect-ml", "policies", "save", str(policy)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert (last(store).action, last(store).origin) == ("policy-saved", local("cli"))


@pytest.fixture
def call(served_url):
    """Makes a model by a bare HTTP request, and gives its row of the log."""
    url, store = served_url

    def sent(headers, path=PREFIX + "create_registered_model", **body):
        name = f"m{len(store.audit())}"
        answer = httpx.post(url + path, json={"name": name, **body}, headers=headers)
        assert answer.status_code == 200, answer.text
        return last(store)

    return sent


def test_a_client_is_not_believed_about_its_address(call):
    claim = {"who": "ann", "channel": "cli", "host": "laptop", "client": "10.0.0.1", "flow_run": "f", "x": "y"}
    headers = {"X-Forwarded-For": "10.0.0.1", "Forwarded": "for=10.0.0.1", "User-Agent": "curl/8.1 (x)"}
    entry = call({ORIGIN_HEADER: json.dumps(claim), **headers})
    claimed = {"channel": "cli", "host": "laptop", "flow_run": "f"}
    assert entry.origin == {"channel": "prefect-ml", "client": "127.0.0.1", "agent": "curl/8.1", "claimed": claimed}
    assert entry.actor == "ann"


@pytest.mark.parametrize(
    "claim",
    [
        b"",
        b"no JSON",
        b"[" * 3000,
        b"[]",
        b"1",
        b"\xff\xfe",
        json.dumps({"channel": 1, "host": ["x"], "who": {"a": 1}}).encode(),
        json.dumps({"channel": "x" * 5000}).encode(),
        json.dumps({"channel": "\x00\n", "who": " \u202e "}).encode(),
    ],
)
def test_a_claim_that_says_nothing_is_as_none(call, claim):
    entry = call({ORIGIN_HEADER: claim, "User-Agent": "curl"})
    assert entry.origin == {"channel": "prefect-ml", "client": "127.0.0.1", "agent": "curl"}
    assert entry.actor == "anonymous@127.0.0.1"


def basic(user):
    return {"Authorization": "Basic " + base64.b64encode(user + b":secret").decode()}


@pytest.mark.parametrize(
    ("headers", "tags", "who"),
    [
        ({}, [], "anonymous@127.0.0.1"),
        ({}, [{"key": "mlflow.user", "value": "tim"}], "tim"),
        (basic(b"bea"), [{"key": "mlflow.user", "value": "tim"}], "bea"),
        (basic("zo\u00eb".encode()), [], "zo\u00eb"),
        (basic(b"\xff"), [], "anonymous@127.0.0.1"),
        (basic(b""), [], "anonymous@127.0.0.1"),
        (basic(b"b\na" + b"x" * 300), [], "ba" + "x" * 198),
        ({"Authorization": "Basic !"}, [], "anonymous@127.0.0.1"),
        ({"Authorization": "Bearer YTpi"}, [], "anonymous@127.0.0.1"),
    ],
)
def test_whose_change_a_request_is(call, headers, tags, who):
    entry = call({"User-Agent": "curl", **headers}, "/api/2.0/mlflow/registered-models/create", tags=tags)
    assert entry.actor == who
    assert entry.origin == {"channel": "rest", "client": "127.0.0.1", "agent": "curl"}


def test_rows_of_before_origins_were_kept_are_verified_as_before(store):
    store.create_registered_model("m")
    store.create_registered_model("n")

    def work(connection):
        unlock(connection)
        row = dict(connection.execute(audit.select().where(audit.c.sequence == 2)).mappings().one())
        covered = row | {"origin": "{}"}
        kept = update(audit).where(audit.c.sequence == 2).values(origin="{}", hash=hash_of(covered))
        connection.execute(kept)
        connection.execute(update(audit_head).values(hash=hash_of(covered)))

    store.database.write(work)
    assert store.verify_audit() == 2
    assert last(store).origin == {}
    written = update(audit).where(audit.c.sequence == 2).values(origin='{"channel":"cli"}')
    store.database.write(lambda connection: connection.execute(written) and None)
    with pytest.raises(CorruptArtifactError, match="row 2: it was changed"):
        store.verify_audit()
    blank = update(audit).where(audit.c.sequence == 1).values(origin="{}")
    store.database.write(lambda connection: connection.execute(blank) and None)
    with pytest.raises(CorruptArtifactError, match="row 1: it was changed"):
        store.verify_audit()
