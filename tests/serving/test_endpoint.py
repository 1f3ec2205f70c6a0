"""A replica of an endpoint: a real process that follows revisions, shares requests out and reports."""

from __future__ import annotations

import contextlib
import io
import json
import struct
import time
from collections import Counter

import pyarrow as pa
import pytest

from prefect_ml.entities import ReplicaState, Route
from prefect_ml.errors import NotFoundError
from prefect_ml.registry.traffic import traffic_of
from prefect_ml.serving.columnar_bodies import MEDIA_TYPES, STREAM
from prefect_ml.serving.endpoint import ServedEndpoint
from prefect_ml.serving.opening import opened_models
from prefect_ml.serving.wanted import wanted_models
from prefect_ml.settings import Settings

BODY = json.dumps({"dataframe_records": [{"age": 30.0, "income": 1.0}]})
HEADERS = {"content-type": "application/json"}


def to(version, weight=100.0, **more):
    return Route("linear", version, weight=weight, **more)


def ask(client, **headers):
    answer = client.post("/invocations", content=BODY, headers={**HEADERS, **headers})
    assert answer.status_code == 200, answer.text
    return answer.headers["x-model-version"], round(answer.json()["predictions"][0], 6)


def until(wanted, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := wanted()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def loaded(store, revision):
    """The only replica, once it answers by a revision."""

    def look():
        found = [each for each in store.list_endpoint_replicas("live") if each.loaded == revision]
        return found and found[0].state is ReplicaState.READY and found[0]

    return until(look)


def test_requests_go_by_the_revision_in_force(store, version, serving_process):
    one, two, three = (version(slope) for slope in (1.0, 10.0, 100.0))
    store.set_alias("linear", "champion", one)
    store.create_endpoint("live", [Route("linear", alias="champion", weight=100)])
    with serving_process("endpoint:live") as client:
        assert ask(client) == ("1", 32.0)
        replica = loaded(store, 1)
        assert (replica.routes[0].version, replica.routes[0].generation, replica.error) == (one, 1, "")
        assert replica.url == str(client.base_url).rstrip("/")
        health = client.get("/health").json()
        assert (health["endpoint"], health["revision"], health["replica_id"]) == ("live", 1, replica.replica_id)

        # weights, and the same version for the same key
        split = [Route("linear", alias="champion", weight=50), to(two, 50), to(three, 0, shadow=True)]
        store.change_endpoint("live", split, expected_revision=1)
        loaded(store, 2)
        seen = Counter(ask(client) for _ in range(200))
        assert set(seen) == {("1", 32.0), ("2", 320.0)}
        assert 50 < seen["1", 32.0] < 150
        for key in ("a", "b", "c", "d", "e"):
            assert len({ask(client, **{"X-Request-Key": key}) for _ in range(5)}) == 1
        refused = client.post("/invocations", content=b"{", headers={**HEADERS, "X-Request-Key": "a"})
        assert refused.status_code == 400

        # a version by its path, but no shadow
        tensors = [{"name": name, "shape": [1], "datatype": "FP64", "data": [30.0]} for name in ("age", "income")]
        chosen = client.post(f"/v2/models/live/versions/{two}/infer", json={"inputs": tensors})
        assert (chosen.status_code, chosen.headers["x-model-version"]) == (200, "2")
        assert client.post(f"/v2/models/live/versions/{three}/infer", json={"inputs": tensors}).status_code == 404

        # what was counted is in the store, of the shadow as well
        def counted():
            found = store.list_endpoint_replicas("live")
            traffic = {each.uri: traffic_of(found, [each.uri], 2) for each in split}
            compared = traffic["models:/linear/3"].compared
            return traffic if sum(t.requests for t in traffic.values()) == 227 + compared and compared else None

        traffic = until(counted)
        assert traffic["models:/linear@champion"].errors + traffic["models:/linear/2"].errors == 1
        shadow = traffic["models:/linear/3"]
        assert shadow.differing == shadow.compared > 0
        assert shadow.predictions
        assert traffic["models:/linear/2"].p95 > 0

        # an alias moves within a revision; the other route keeps its counts
        before = traffic["models:/linear/2"].requests
        store.set_alias("linear", "champion", three)
        until(lambda: {ask(client)[0] for _ in range(20)} == {"2", "3"})
        assert traffic_of(store.list_endpoint_replicas("live"), ["models:/linear/2"], 2).requests >= before

        # whichever form it is asked in, the same is counted, and compared with the shadow
        store.change_endpoint("live", [to(one), to(two, 0, shadow=True)], expected_revision=2)
        loaded(store, 3)
        usual, shadow = in_each_form(client, store, tensors, ("models:/linear/1", "models:/linear/2"))
        assert usual.requests == shadow.requests == shadow.compared == shadow.differing == 7
        assert [[*each.predictions.values()] for each in (usual, shadow)] == [[7], [7]]

        store.delete_endpoint("live")
        gone = until(lambda: (a := client.post("/invocations", content=BODY, headers=HEADERS)).status_code == 404 and a)
        assert "was deleted" in gone.json()["message"]
        assert client.get("/health").json()["status"] != "ok"
        store.create_endpoint("live", [to(two)])
        until(lambda: client.post("/invocations", content=BODY, headers=HEADERS).status_code == 200)
        assert ask(client) == ("2", 320.0)
    assert store.list_endpoint_replicas("live") == []


def in_each_form(client, store, tensors, uris):
    """Send the same request in each form of the scoring protocol and of KServe's; what was counted of the routes."""
    table = pa.Table.from_pylist(json.loads(BODY)["dataframe_records"])
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    tensors = [{**each, "data": [value]} for each, value in zip(tensors, (30.0, 1.0), strict=True)]
    raw = [{**each, "parameters": {"binary_data_size": 8}} for each in tensors]
    for each in raw:
        del each["data"]
    head = json.dumps({"inputs": raw, "parameters": {"binary_data_output": True}}).encode()
    octets = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    asked = [
        ("/invocations", BODY, HEADERS),
        ("/invocations", "age,income\n30.0,1.0\n", {"content-type": "text/csv"}),
        *(("/invocations", sink.getvalue(), {"content-type": STREAM, "accept": each}) for each in MEDIA_TYPES),
        ("/v2/models/live/infer", json.dumps({"inputs": tensors}), HEADERS),
        ("/v2/models/live/infer", head + struct.pack("<dd", 30.0, 1.0), octets),
    ]
    for path, content, headers in asked:
        answer = client.post(path, content=content, headers=headers)
        assert (answer.status_code, answer.headers["x-model-version"]) == (200, "1"), answer.text

    def compared():
        found = store.list_endpoint_replicas("live")
        traffic = [traffic_of(found, [uri], 3) for uri in uris]
        return traffic if traffic[1].compared == len(asked) else None

    return until(compared)


def spoil_example(folder):
    example = json.loads((folder / "input_example.json").read_text())
    example["data"][0][0] = "old"
    (folder / "input_example.json").write_text(json.dumps(example))


@contextlib.contextmanager
def replica_here(store):
    """A replica of the endpoint in this process, without its HTTP server."""
    served = ServedEndpoint("live", "live", store, Settings(serve_poll_interval=0.05))
    served.start()
    yield served
    served.stop()


def test_a_revision_that_cannot_be_loaded_is_refused_and_the_one_before_goes_on(store, version):
    good, bad = version(1.0), version(2.0, spoil_example)
    store.create_endpoint("live", [to(good)])
    with replica_here(store) as served:
        loaded(store, 1)
        store.change_endpoint("live", [to(good, 50), to(bad, 50)], expected_revision=1)
        replica = until(
            lambda: next((r for r in store.list_endpoint_replicas("live") if r.state is ReplicaState.FAILED), None)
        )
        assert (replica.wanted, replica.loaded) == (2, 1)
        assert "Revision 2 of endpoint:live is refused, revision 1 goes on" in replica.error
        assert "fails on its own input example" in replica.error
        assert {served.pick({}, None).version for _ in range(20)} == {str(good)}
        assert served.health()["error"] == replica.error
        # a shadow that cannot be loaded is left out, and holds nobody up
        store.change_endpoint("live", [to(good), to(bad, 0, shadow=True)], expected_revision=2)
        replica = loaded(store, 3)
        assert [route.version for route in replica.routes] == [good]
    assert store.list_endpoint_replicas("live") == []


def test_a_replica_goes_on_while_the_store_is_gone(store, home, version):
    store.create_endpoint("live", [to(version(1.0))])
    with replica_here(store) as served:
        loaded(store, 1)
        database, away = home / "store.db", home / "away.db"
        for source, target, gone in ((database, away, True), (away, database, False)):
            store.close()  # no connection may keep the file that goes
            source.replace(target)
            until(lambda gone=gone: bool(served.health()["error"]) is gone)
            assert served.pick({}, None).version == "1"
        store.change_endpoint("live", [to(version(2.0))], expected_revision=1)
        loaded(store, 2)


def test_a_process_does_not_start_for_an_endpoint_that_cannot_be_served(store, version):
    def opening(name):
        with opened_models(wanted_models([f"endpoint:{name}"]), Settings()):
            pass

    with pytest.raises(NotFoundError, match="no endpoint 'nope'"):
        opening("nope")
    store.create_endpoint("live", [to(version(2.0, spoil_example))])
    with pytest.raises(Exception, match="fails on its own input example"):
        opening("live")
    assert store.list_endpoint_replicas("live") == []
    # nor does one that came before it stay on the list, where a rollout would wait for it
    store.create_endpoint("good", [to(version(5.0))])
    with (
        pytest.raises(Exception, match="fails on its own input example"),
        opened_models(wanted_models(["endpoint:good", "endpoint:live"]), Settings()),
    ):
        pass
    assert store.list_endpoint_replicas("good") == []
