"""The audit log as the outbox of events: whoever made a change, and whatever became of that process."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL
from sqlalchemy import text, update

from prefect_ml.entities import GateResult, Policy
from prefect_ml.errors import StoreUnavailableError
from prefect_ml.flowruns import telling
from prefect_ml.flowruns.telling import tell_events
from prefect_ml.store import open_store
from prefect_ml.store.prompts import PROMPT_TAG
from prefect_ml.store.registry_tables import audit
from served import TrackingServer

DAY = 24 * 3600 * 1000


@pytest.fixture
def store(tmp_path):
    found = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    yield found
    found.close()


def told(name):
    """The events of a model that Prefect's server holds, in the order of the audit log."""
    with get_client(sync_client=True) as client:
        query = {"event": {"prefix": ["prefect-ml."]}, "order": "ASC"}
        found = client.request("POST", "/events/filter", json={"filter": query, "limit": 50}).json()["events"]
    mine = [event for event in found if event["payload"]["name"] == name]
    return sorted(mine, key=lambda event: event["payload"]["audit_sequence"])


def eventually(look):
    from orchestrator import until

    return until(look, "what Prefect was told", 30)


def versions(store, name, number=1):
    store.create_registered_model(name)
    return [store.create_model_version(name, f"s3://models/{n}", artifact_digest="sha256:1") for n in range(number)]


def make_old(store, rows, age):
    """Have the first rows of the audit log be as old as that, in ms; the log defends itself against such changes."""

    def work(connection):
        connection.execute(text("DROP TRIGGER IF EXISTS audit_no_update"))
        connection.execute(update(audit).where(audit.c.sequence <= rows).values(at=audit.c.at - age))

    store.database.write(work)


@pytest.mark.usefixtures("prefect_api")
def test_what_a_killed_process_committed_is_told_later_and_once_by_however_many(store):
    name = f"killed-{uuid.uuid4().hex[:6]}"
    script = f"""
import os, signal
from prefect_ml.store import open_store
store = open_store({store.url!r})
store.create_registered_model({name!r})
store.create_model_version({name!r}, "s3://models/1", artifact_digest="sha256:1")
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == -9
    url = str(PREFECT_API_URL.value())
    with ThreadPoolExecutor(4) as tellers:
        counts = [each.result() for each in [tellers.submit(tell_events, store, url) for _ in range(4)]]
    assert set(counts) <= {0, 1}
    assert max(counts) == 1
    assert tell_events(store) == 0
    versions(store, f"{name}-after")
    assert tell_events(store) == 1
    eventually(lambda: told(f"{name}-after"))
    [event] = told(name)
    assert event["event"] == "prefect-ml.model-version.created"
    labels = event["resource"]
    assert (labels["prefect-ml.model"], labels["prefect-ml.version"], labels["prefect-ml.kind"]) == (name, "1", "model")


@pytest.mark.long
@pytest.mark.usefixtures("prefect_api")
def test_on_postgresql_and_after_the_server_was_killed_all_is_told_once(postgres_url, tmp_path):
    """The server that committed tells nobody any more; the next one does, and so does whoever else tells first."""
    name = f"served-{uuid.uuid4().hex[:6]}"
    url = str(PREFECT_API_URL.value())
    with TrackingServer(tmp_path / "server", {"PREFECT_API_URL": url}, store=postgres_url) as server:
        client = open_store(server.url)
        versions(client, name, 3)
        server.kill()
        client.close()
        server.start()
        eventually(lambda: len(told(name)) == 3)
        client = open_store(server.url)
        client.create_model_version(name, "s3://models/3", artifact_digest="sha256:1")
        client.close()
        server.kill()
    store = open_store(postgres_url)
    with ThreadPoolExecutor(2) as tellers:
        counts = [each.result() for each in [tellers.submit(tell_events, store, url) for _ in range(2)]]
    assert set(counts) <= {0, 1}
    assert tell_events(store, url) == 0
    eventually(lambda: len(told(name)) == 4)
    assert [event["payload"]["version"] for event in told(name)] == [1, 2, 3, 4]
    store.close()


@pytest.mark.usefixtures("prefect_api")
def test_each_kind_of_change_is_told_in_order_from_the_record_alone(store):
    name = f"kinds-{uuid.uuid4().hex[:6]}"
    versions(store, name, 2)
    store.set_alias(name, "tried", 1, actor="ann")
    store.delete_alias(name, "tried", actor="ann", reason="tried enough")
    policy = store.save_policy(Policy("p", 0, name, ("champion",), approvals=0), actor="ops")

    def ask(version, **evidence):
        return store.create_request(
            key=uuid.uuid4().hex,
            name=name,
            version=version,
            alias="champion",
            stage=None,
            requester="ann",
            artifact_digest="sha256:1",
            evidence=[GateResult("g", summary="", **evidence)] if evidence else [],
            policy=policy.name,
            policy_version=policy.version,
        )

    ask(1, passed=False)
    first, second = ask(1), ask(2)
    store.promote(first.request_id, artifact_digest="sha256:1", actor="ann")
    with pytest.raises(Exception, match="moved"):
        store.promote(second.request_id, artifact_digest="sha256:1", actor="ann")
    store.create_registered_model(f"{name}-prompt", tags={PROMPT_TAG: "true"})
    store.create_model_version(f"{name}-prompt", "prompts:/x")
    posted = tell_events(store)
    found = eventually(lambda: seen if len(seen := told(name)) == posted - 1 else None)
    [prompt] = told(f"{name}-prompt")
    assert (prompt["resource"]["prefect-ml.kind"], found[0]["resource"]["prefect-ml.kind"]) == ("prompt", "model")
    kinds = [event["event"].removeprefix("prefect-ml.") for event in found]
    assert kinds[:2] == ["model-version.created"] * 2
    assert kinds[2:4] == ["alias.set", "alias.deleted"]
    asked = kinds[4:10]
    assert sorted(asked) == ["promotion.approved"] * 2 + ["promotion.rejected"] + ["promotion.requested"] * 3
    assert sorted(kinds[10:]) == ["alias.moved", "promotion.superseded"]
    gone = next(event for event in found if event["event"].endswith("deleted"))["payload"]
    assert (gone["version"], gone["alias"], gone["actor"], gone["reason"]) == (1, "tried", "ann", "tried enough")
    assert len({event["id"] for event in found}) == len(found)


class Api:
    """What telling needs of a Prefect API, on loopback; answers to posted events as planned, else 204."""

    def __init__(self):
        self.posts, self.plan = [], []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.answer(200 if "block_types" in self.path else 404, {"id": "1"})

            def do_POST(self):
                events = json.loads(self.rfile.read(int(self.headers["content-length"])))
                refused = api.plan.pop(0)(events) if api.plan else None
                if refused is None:
                    api.posts.append([event["event"] for event in events])
                self.answer(refused or 204, {"detail": "no"})

            def answer(self, status, body):
                text = b"" if status == 204 else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/api"

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
        telling._cursor_of.cache_clear()


def refuse(status, *, number=None):
    return lambda events: status if number is None or len(events) == number else None


def test_the_cursor_moves_only_when_prefect_has_taken_the_events(store):
    versions(store, "away", 3)
    with pytest.raises(StoreUnavailableError, match="told later"):
        tell_events(store, "http://127.0.0.1:9/api")
    with Api() as api:
        api.plan = [refuse(401)]
        with pytest.raises(StoreUnavailableError, match="told later"):
            tell_events(store, api.url)
        assert tell_events(store, api.url) == 3
        assert [len(post) for post in api.posts] == [3]


def test_an_event_that_prefect_refuses_keeps_no_other_back(store, caplog):
    versions(store, "odd", 3)
    with Api() as api:
        api.plan = [refuse(422), refuse(None), refuse(422), refuse(None)]
        tell_events(store, api.url)
        assert [len(post) for post in api.posts] == [1, 1]
        assert "Prefect refuses the event prefect-ml.model-version.created of audit row 3" in caplog.text
        assert tell_events(store, api.url) == 0


@pytest.mark.parametrize("old", [0, 1, 2, 3, 7, 8, 20, 41])
def test_a_server_that_is_told_for_the_first_time_does_not_hear_of_old_times(store, old):
    versions(store, "old", 40)  # 41 rows: the first is that of the model
    make_old(store, old, DAY)
    with Api() as api:
        assert tell_events(store, api.url) == 40 - max(0, old - 1)
        assert tell_events(store, api.url) == 0
        assert store.told_up_to(telling._cursor_of(api.url)) == 41


def test_one_that_was_away_hears_of_days_but_not_of_months(store):
    versions(store, "long", 1)
    with Api() as api:
        assert tell_events(store, api.url) == 1
        for _ in range(4):
            store.create_model_version("long", "s3://models/1")
        make_old(store, 4, 30 * DAY)
        make_old(store, 6, 5 * DAY)
        assert tell_events(store, api.url) == 2
