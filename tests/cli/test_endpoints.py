"""`prefect-ml endpoints`, each command as it is parsed, in this process."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from prefect_ml.cli import app
from prefect_ml.cli.output import console
from prefect_ml.entities import EndpointReplica, ReplicaState, Route, RouteReport
from prefect_ml.errors import InvalidInputError, NotFoundError, PrefectMLError
from prefect_ml.flowruns.endpoint_events import CHANGED, ROLLED_BACK
from prefect_ml.flowruns.events import events_of
from prefect_ml.store import open_store

RUN = "2f8f5ac2-6c3e-4a39-8a53-0f2f6d0c4f10"


@pytest.fixture
def store(home, monkeypatch):
    monkeypatch.setattr(console, "_width", 240)
    opened = open_store()
    opened.create_registered_model("churn")
    for _ in range(3):
        opened.create_model_version("churn", "/models/churn")
    opened.set_alias("churn", "champion", 1)
    yield opened
    opened.close()


@pytest.fixture
def run(capsys):
    def call(*arguments):
        app(["endpoints", *arguments], result_action="return_value", exit_on_error=False)
        return capsys.readouterr().out

    return call


def test_an_endpoint_from_its_first_route_to_its_end(store, run):
    made = json.loads(
        run("create", "live", "models:/churn@champion", "models:/churn/2=10", "--reason", "try", "--json")
    )
    assert [(r["alias"], r["version"], r["weight"]) for r in made["routes"]] == [("champion", None, 90), (None, 2, 10)]
    assert "models:/churn/3" in run("shadow", "live", "models:/churn/3")
    assert store.get_endpoint("live").routes[2] == Route("churn", 3, shadow=True)
    with pytest.raises(InvalidInputError, match="answers for 'live' already"):
        run("shadow", "live", "models:/churn/2")
    route = RouteReport("models:/churn/2", "churn", 2, requests=7)
    seen = RouteReport("models:/churn/3", "churn", 3, requests=6, seconds={"-50": 6}, compared=6, differing=5)
    said = EndpointReplica("live", "abc", "h", "http://h:1", ReplicaState.READY, 2, 2, routes=(route, seen))
    store.report_replica(said)
    store.report_replica(dataclasses.replace(said, replica_id="def"))
    shown = run("show", "live")
    for part in ("Endpoint live, revision 2", "http://h:1", "ready", "churn/2", "models:/churn/3 shadow", "try"):
        assert part in shown
    counted = shown.partition("Counted since revision 2")[2].partition("Revisions")[0]
    # of both replicas together
    assert re.search(r"models:/churn/2 +│ 14 +│ 0 +│ +│ +│ +│", counted)
    assert re.search(r"models:/churn/3 +│ 12 +│ 0 +│ [\d.]+e?\+?\d* ms +│ 12 +│ 10 +│", counted)
    told = json.loads(run("show", "live", "--json"))
    assert (told["replicas"][0]["routes"][0]["requests"], len(told["revisions"])) == (7, 2)
    run("shadow", "live", "models:/churn/3", "--off")
    assert len(store.get_endpoint("live").routes) == 2
    back = json.loads(run("rollback", "live", "--reason", "bad", "--to", "1", "--json"))
    assert (back["revision"], back["action"], back["reason"]) == (4, "rolled-back", "bad")
    assert [each["name"] for each in json.loads(run("list", "--json"))] == ["live"]
    assert "models:/churn@champion 90 %" in run("list")
    assert "is deleted" in run("delete", "live")
    with pytest.raises(NotFoundError):
        run("show", "live")


def test_a_rollout_is_rolled_back_as_a_whole(store, run):
    store.create_endpoint("live", [Route("churn", 1, weight=100)])
    for step, weight in enumerate((0.0, 10.0, 50.0)):
        routes = [Route("churn", 1, weight=100 - weight), Route("churn", 2, weight=weight)]
        store.change_endpoint("live", routes, expected_revision=step + 1, rollout="flow-run-x", step=step)
    run("rollback", "live", "--reason", "bad")
    assert store.get_endpoint("live").routes == (Route("churn", 1, weight=100.0),)


@pytest.mark.parametrize(
    ("routes", "words"),
    [
        (["models:/churn/1", "models:/churn/2"], "Several routes have no percentage"),
        (["models:/churn/1=much"], "neither a percentage nor 'shadow'"),
        (["runs:/abc/model"], "routes to registered models"),
        (["models:/churn/9"], "not found"),
        (["models:/churn/1=60"], "make 100 together"),
    ],
)
@pytest.mark.usefixtures("store")
def test_what_cannot_be_routed_to_is_refused(run, routes, words):
    with pytest.raises(PrefectMLError, match=words):
        run("create", "live", *routes)


def test_each_change_is_an_event(store):
    store.create_endpoint("live", [Route("churn", 1, weight=100)], actor="ann", reason="first")
    routes = [Route("churn", 1, weight=90), Route("churn", 2, weight=10)]
    store.change_endpoint("live", routes, expected_revision=1, rollout=f"flow-run-{RUN}", step=1)
    store.roll_back_endpoint("live", to_revision=1, expected_revision=2, reason="bad")
    store.delete_endpoint("live")
    rows = store.audit(subject="endpoints:/live")
    events = [event for row in rows for event in events_of(store, row)]
    assert [event.event for event in events] == [CHANGED, CHANGED, ROLLED_BACK, CHANGED]
    first, changed, back, _ = events
    assert (first.payload["actor"], first.payload["reason"], first.payload["revision"]) == ("ann", "first", 1)
    assert first.resource["prefect-ml.endpoint"] == "live"
    assert changed.payload["routes"] == {"models:/churn/1": 90.0, "models:/churn/2": 10.0}
    assert changed.payload["before"] == {"models:/churn/1": 100.0}
    assert changed.related[0].id == f"prefect.flow-run.{RUN}"
    assert (back.payload["reason"], back.resource["prefect-ml.action"]) == ("bad", "rolled-back")
    assert events_of(store, rows[0])[0].id == first.id  # told again, it is the same
