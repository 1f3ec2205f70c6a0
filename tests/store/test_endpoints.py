"""Endpoints: revisions, the versions that may answer, and what replicas say."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time

import pytest
from sqlalchemy import update

from prefect_ml.entities import (
    Decision,
    EndpointAction,
    EndpointReplica,
    GateResult,
    Policy,
    ReplicaState,
    Route,
    RouteReport,
)
from prefect_ml.errors import (
    AlreadyExistsError,
    InvalidInputError,
    NotFoundError,
    PrefectMLError,
    ProtectedError,
    StaleRevisionError,
)
from prefect_ml.store import open_store
from prefect_ml.store.endpoint_tables import endpoint_replicas

DIGEST = "sha256:ab"


def to(version, weight=100.0, **more):
    return Route("churn", version, weight=weight, **more)


def at(alias, weight=100.0):
    return Route("churn", alias=alias, weight=weight)


@pytest.fixture
def model(store):
    """Model `churn` with four versions, the alias `champion` on the first."""
    store.create_registered_model("churn")
    for _ in range(4):
        store.create_model_version("churn", "s", artifact_digest=DIGEST)
    store.set_alias("churn", "champion", 1)
    return store


def approve(store, version, alias, *, move=True):
    request = store.create_request(
        key=f"{alias} {version}",
        name="churn",
        version=version,
        alias=alias,
        stage=None,
        requester="bob",
        artifact_digest=DIGEST,
        evidence=[GateResult("auc", True, "0.9", {})],
        policy="p",
        policy_version=1,
    )
    store.decide(request.request_id, Decision("ann", True, "fine", 1, "test"))
    if move:
        store.promote(request.request_id, artifact_digest=DIGEST, actor="ann")


def protect(store, *aliases):
    store.save_policy(Policy("p", 0, "churn", aliases, (), ({"name": "auc", "type": "loads"},)), actor="ops")


def test_each_change_is_a_revision_put_in_the_place_of_the_expected_one(model):
    made = model.create_endpoint("live", [at("champion")], actor="ann", reason="first")
    assert (made.revision, made.routes, made.action) == (1, (at("champion"),), EndpointAction.CREATED)
    assert (made.changed_by, made.reason, made.rollout) == ("ann", "first", "")
    assert made.changed_at > 1_700_000_000_000
    split = [at("champion", 90), to(2, 10), to(3, 0, shadow=True)]
    second = model.change_endpoint("live", split, expected_revision=1, actor="bob", reason="try", rollout="r", step=1)
    assert (second.revision, second.routes, second.rollout, second.step) == (2, tuple(split), "r", 1)
    # a step that is repeated is the one that was taken, wherever its answer was lost
    assert model.change_endpoint("live", split, expected_revision=1, rollout="r", step=1) == second
    with pytest.raises(StaleRevisionError, match=r"at revision 2 by now, by bob \(try\), not at 1"):
        model.change_endpoint("live", [to(2)], expected_revision=1)
    with pytest.raises(StaleRevisionError):
        model.roll_back_endpoint("live", to_revision=1, expected_revision=1, reason="bad")
    back = model.roll_back_endpoint("live", to_revision=1, expected_revision=2, actor="bob", reason="bad", rollout="r")
    assert (back.revision, back.routes, back.action) == (3, made.routes, EndpointAction.ROLLED_BACK)
    again = model.roll_back_endpoint("live", to_revision=1, expected_revision=2, reason="bad", rollout="r")
    assert again == back == model.get_endpoint("live")
    assert [each.revision for each in model.list_endpoint_revisions("live")] == [3, 2, 1]
    assert [each.revision for each in model.list_endpoint_revisions("live", rollout="r", max_results=1)] == [3]
    assert model.list_endpoint_revisions("live", before=2) == [made]
    model.create_endpoint("a", [to(1)])
    assert [(each.name, each.revision) for each in model.list_endpoints()] == [("a", 1), ("live", 3)]
    model.delete_endpoint("live", actor="ann", reason="over")
    assert [each.name for each in model.list_endpoints()] == ["a"]
    with pytest.raises(NotFoundError, match="There is no endpoint 'live'"):
        model.get_endpoint("live")
    # a revision's number is never used again, so a replica cannot take a new endpoint for the one it knows
    assert model.create_endpoint("live", [to(1)]).revision == 5
    rows = model.audit(subject="endpoints:/live")
    actions = ("created", "changed", "rolled-back", "deleted", "created")
    assert [row.action for row in rows] == [f"endpoint-{each}" for each in actions]
    assert rows[1].before == {"revision": 1, "routes": {"models:/churn@champion": 100.0}}
    assert rows[1].after["routes"]["models:/churn/3"] == "shadow"
    assert (rows[2].actor, rows[2].reason, rows[2].after["to_revision"]) == ("bob", "bad", 1)
    assert model.verify_audit() >= 6


def test_routes_that_cannot_be_are_refused(model):
    for routes, words in (
        ([], "make 100 together, got 0"),
        ([to(1, 60), to(2, 30)], "make 100 together, got 90"),
        ([to(1, 50), to(1, 50)], "routed to twice"),
        ([to(1), to(2, 5, shadow=True)], "its weight is 0"),
        ([to(1, float("nan"))], "percentage"),
        ([to(1, -1), to(2, 101)], "percentage"),
        ([Route("churn", 1, "champion", 100)], "one of the two"),
        ([Route("churn", weight=100)], "one of the two"),
        ([to(0)], "integer, got 0"),
        ([at("latest")], "reserved"),
        ([to(9)], "not found"),
        ([at("nobody")], "not found"),
        ([to(1), to(9, 0, shadow=True)], "not found"),
        ([Route("other", 1, weight=100)], "not found"),
        ([to(n, 100 if n == 1 else 0) for n in range(1, 22)], "at most 20"),
    ):
        with pytest.raises(PrefectMLError, match=words):
            model.create_endpoint("live", routes)
    with pytest.raises(NotFoundError):
        model.get_endpoint("live")


def test_what_no_endpoint_can_be(model):
    for name in ("", "Live", "a.b", "-a", "a-", "a" * 64, "a\x00", "ä"):
        with pytest.raises(InvalidInputError):
            model.create_endpoint(name, [to(1)])
    model.create_endpoint("live", [to(1)])
    with pytest.raises(AlreadyExistsError, match="revision 1"):
        model.create_endpoint("live", [to(2)])
    for to_revision, reason in ((1, "x"), (2, "x"), (0, "x"), (1, " ")):
        with pytest.raises(InvalidInputError):
            model.roll_back_endpoint("live", to_revision=to_revision, expected_revision=1, reason=reason)
    for change in (model.delete_endpoint, lambda name: model.change_endpoint(name, [to(1)], expected_revision=1)):
        with pytest.raises(NotFoundError):
            change("nope")


def test_only_approved_versions_answer_where_the_endpoint_uses_a_protected_alias(model):
    protect(model, "champion")
    made = model.create_endpoint("live", [at("champion")])
    assert made.bound == ("churn@champion",)

    def change(*routes):
        return model.change_endpoint("live", routes, expected_revision=model.get_endpoint("live").revision)

    with pytest.raises(ProtectedError, match="Version 2 of 'churn' was not approved for the endpoint 'live'"):
        change(at("champion", 95), to(2, 5))
    change(at("champion"), to(2, 0, shadow=True))  # a shadow answers nobody
    approve(model, 2, "champion", move=False)
    change(at("champion", 95), to(2, 5))
    # the binding outlasts the route, so it is not undone in two steps
    assert change(to(2)).bound == ("churn@champion",)
    change(to(1))  # it is at the alias
    with pytest.raises(ProtectedError):
        change(to(3))
    # what answered before may again, so that a policy takes nothing away, and a rollback finds its way
    model.create_endpoint("early", [to(3)])
    protect(model, "champion", "endpoint.early")
    model.change_endpoint("early", [to(3), to(4, 0, shadow=True)], expected_revision=1)
    with pytest.raises(ProtectedError):
        model.change_endpoint("early", [to(3, 50), to(4, 50)], expected_revision=2)
    assert model.roll_back_endpoint("early", to_revision=1, expected_revision=2, reason="bad").routes == (to(3),)
    model.set_alias("churn", "free", 3)
    with pytest.raises(ProtectedError, match="no policy protects the alias 'free'"):
        change(at("free"))
    # another endpoint never used the alias
    model.create_endpoint("other", [to(3)])


def test_a_policy_can_name_the_endpoint(model):
    protect(model, "endpoint.live")
    with pytest.raises(ProtectedError, match=r"by the alias 'endpoint\.live'"):
        model.create_endpoint("live", [to(1)])
    approve(model, 2, "endpoint.live")
    model.create_endpoint("live", [to(2)])
    model.delete_endpoint("live")
    with pytest.raises(ProtectedError):
        model.create_endpoint("live", [at("champion")])
    model.create_endpoint("live", [at("endpoint.live")])
    model.create_endpoint("other", [to(1)])


def test_what_an_endpoint_routes_to_is_not_taken_away(model):
    model.set_alias("churn", "free", 2)
    model.create_endpoint("live", [at("champion", 50), to(2, 50), to(3, 0, shadow=True)])
    for take, route in (
        (lambda: model.delete_model_version("churn", 1), "churn@champion"),
        (lambda: model.delete_model_version("churn", 2), "churn/2"),
        (lambda: model.delete_model_version("churn", 3), "churn/3"),
        (lambda: model.delete_alias("churn", "champion"), "churn@champion"),
        (lambda: model.delete_registered_model("churn"), "churn@champion"),
        (lambda: model.rename_registered_model("churn", "other"), "churn@champion"),
    ):
        with pytest.raises(ProtectedError, match=f"endpoint 'live' routes to models:/{route}, .*endpoints delete live"):
            take()
    with pytest.raises(ProtectedError, match="prefect-ml endpoints shadow live models:/churn/3 --off"):
        model.delete_model_version("churn", 3)
    assert [each.version for each in model.search_model_versions("name = 'churn'").items] == [4, 3, 2, 1]
    # what it does not route to goes, and so does what it routed to before
    model.delete_model_version("churn", 4)
    model.delete_alias("churn", "free")
    model.change_endpoint("live", [to(1)], expected_revision=1)
    model.delete_model_version("churn", 2)
    with pytest.raises(ProtectedError, match="routes to models:/churn/1,"):
        model.delete_model_version("churn", 1)
    model.delete_alias("churn", "champion")
    with pytest.raises(NotFoundError):
        model.roll_back_endpoint("live", to_revision=1, expected_revision=2, reason="bad")
    model.delete_endpoint("live")
    model.rename_registered_model("churn", "other")
    model.delete_registered_model("other")


def test_an_approval_that_grew_too_old_lets_nothing_answer(model):
    model.create_endpoint("live", [to(1)])
    gates = ({"name": "auc", "type": "loads"},)
    model.save_policy(Policy("p", 0, "churn", ("endpoint.live",), (), gates, approval_valid_for=0.01), actor="ops")
    approve(model, 2, "endpoint.live", move=False)
    time.sleep(0.05)
    with pytest.raises(ProtectedError, match="Version 2 of 'churn' was not approved"):
        model.change_endpoint("live", [to(2)], expected_revision=1)


def test_of_two_changes_at_once_one_is_refused(model):
    model.create_endpoint("live", [to(1)])
    outcomes = []

    def change(version):
        try:
            outcomes.append(model.change_endpoint("live", [to(version)], expected_revision=1).revision)
        except StaleRevisionError:
            outcomes.append(None)

    threads = [threading.Thread(target=change, args=(version,)) for version in (2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(outcomes, key=str) == [2, None, None]
    assert len(model.list_endpoint_revisions("live")) == 2


def test_what_replicas_say_of_themselves(store):
    report = RouteReport("models:/churn@champion", "churn", 3, 7, 10, 1, {"12": 9}, {"b:no": 4}, 2, 1)
    said = EndpointReplica("live", "r1", "h", "http://h:1", ReplicaState.READY, 2, 2, routes=(report,))
    store.report_replica(said)
    store.report_replica(dataclasses.replace(said, replica_id="r2", state=ReplicaState.LOADING, error="x" * 9000))
    store.report_replica(dataclasses.replace(said, endpoint="other"))
    first, second = store.list_endpoint_replicas("live")
    assert dataclasses.replace(first, heartbeat_at=0, silent=0.0) == said
    assert first.heartbeat_at > 1_700_000_000_000
    assert 0 <= first.silent < 60
    assert (second.replica_id, second.state, len(second.error)) == ("r2", ReplicaState.LOADING, 2000)
    store.report_replica(dataclasses.replace(said, wanted=3, routes=()))
    newer = store.list_endpoint_replicas("live")[0]
    assert (newer.wanted, newer.routes) == (3, ())
    old = update(endpoint_replicas).where(endpoint_replicas.c.replica_id == "r2").values(heartbeat_at=1)
    store.database.write(lambda connection: connection.execute(old) and None)
    assert store.list_endpoint_replicas("live")[1].silent > 24 * 3600
    store.remove_replica("live", "r1")
    store.remove_replica("live", "r1")
    assert [each.replica_id for each in store.list_endpoint_replicas("live")] == ["r2"]
    for wrong in ({"endpoint": "A"}, {"replica_id": ""}, {"loaded": -1}, {"host": "\x00"}):
        with pytest.raises(InvalidInputError):
            store.report_replica(dataclasses.replace(said, **wrong))


def test_a_replica_that_is_silent_for_a_day_is_forgotten(sqlite_url):
    said = EndpointReplica("live", "r1", "h", "", ReplicaState.READY, 1, 1)
    with contextlib.closing(open_store(sqlite_url)) as store:
        store.report_replica(said)
        old = update(endpoint_replicas).values(heartbeat_at=1)
        store.database.write(lambda connection: connection.execute(old) and None)
    with contextlib.closing(open_store(sqlite_url)) as store:
        store.report_replica(dataclasses.replace(said, replica_id="r2"))
        assert [each.replica_id for each in store.list_endpoint_replicas("live")] == ["r2"]
