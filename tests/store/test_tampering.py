"""Whoever changes, takes away or adds a record by other means than the store is found out, whichever record it is."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from contextlib import closing

import pytest
from sqlalchemy import Boolean, delete, insert, select, update

from prefect_ml.entities import Decision, GateResult, Policy, RecordedGate, RequestKind, RequestStatus, Route, Stage
from prefect_ml.errors import PromotionError, ProtectedError, StaleRequestError, TamperedError
from prefect_ml.store import open_store
from prefect_ml.store.audit import hash_of
from prefect_ml.store.canonical import canonical, digest
from prefect_ml.store.endpoint_tables import endpoint_revisions
from prefect_ml.store.evidence import gate_results
from prefect_ml.store.registry_tables import (
    alias_moves,
    aliases,
    audit,
    policies,
    promotion_decisions,
    promotion_requests,
)
from tampering import rewrite, unlock

DIGEST = "sha256:ab"
TABLES = (aliases, alias_moves, policies, promotion_requests, promotion_decisions, endpoint_revisions)


def rules(store, name, alias, **changes):
    return store.save_policy(Policy(name, 0, "m", (alias,), **changes), actor="ops", reason="a test")


def ask(store, version, alias="champion", *, passed=True, **changes):
    policy = store.policy_for("m", alias)
    given = {
        "key": f"{alias} {len(store.list_requests())}",
        "name": "m",
        "version": version,
        "alias": alias,
        "stage": None,
        "requester": "bob",
        "artifact_digest": DIGEST,
        "evidence": [GateResult("g", passed, "ok", {"auc": 0.9})],
        "policy": policy.name,
        "policy_version": policy.version,
    }
    return store.create_request(**(given | changes)).request_id


def decide(store, request, actor="ann", *, yes=True):
    return store.decide(request, Decision(actor, yes, "so", 5, "test"))


def move(store, request):
    return store.promote(request, artifact_digest=DIGEST, actor="ann")


def live(store):
    """Let everything happen: requests of every status, and aliases that were moved in every way."""
    for model in ("m", "n"):
        store.create_registered_model(model)
        for _ in range(3):
            store.create_model_version(model, "s", artifact_digest=DIGEST)
        store.set_alias(model, "blue", 1, reason="try")
        store.set_alias(model, "blue", 2, actor="ann")
        store.set_alias(model, "gone", 1, actor="ann")
        store.delete_alias(model, "gone", actor="ann", reason="tried")
    store.rename_registered_model("n", "o")
    rules(store, "p", "champion")
    rules(store, "p", "champion", approvals=2, emergency=("cem",))
    rules(store, "q", "late", expires_after=0.05)
    late = ask(store, 1, "late")
    for version in (1, 2):
        key = f"judged {version}"
        for gate in ("g", "h"):
            found = GateResult(gate, True, "ok", {"auc": 0.9})
            store.record_gate_result(
                RecordedGate(key, "m", version, "champion", "sha256:0", DIGEST, version - 1, found)
            )
        request = ask(store, version, stage="Production", flow_run_id="f", key=key)
        decide(store, request)
        decide(store, request, "cem")
        move(store, request)
    store.rollback("m", "champion", actor="cem", reason="it drifts")
    ask(store, 1)
    decide(store, ask(store, 1))
    ask(store, 1, passed=False)
    decide(store, ask(store, 3), yes=False)
    stale, ready = ask(store, 3), ask(store, 1)
    for request in (stale, ready):
        decide(store, request)
        decide(store, request, "cem")
    time.sleep(0.06)
    with pytest.raises(PromotionError):
        decide(store, late)
    store.delete_model_version("m", 3)
    store.create_endpoint("live", [Route("m", alias="champion", weight=100.0)], actor="ann", reason="first")
    both = [Route("m", alias="champion", weight=40.0), Route("m", 2, weight=60.0), Route("m", 1, shadow=True)]
    store.change_endpoint("live", both, expected_revision=1, rollout="r", step=2)
    store.roll_back_endpoint("live", to_revision=1, expected_revision=2, reason="slow", rollout="r", step=3)
    store.create_endpoint("gone", [both[1], Route("o", 1, weight=40.0)])
    store.delete_endpoint("gone")
    assert {request.status for request in store.list_requests()} == set(RequestStatus)
    assert store.verify_audit() == len(store.audit())
    return ready


@pytest.fixture(scope="module")
def lived(migrated_file, tmp_path_factory):
    """A SQLite file in which everything happened."""
    path = tmp_path_factory.mktemp("lived") / "store.db"
    shutil.copyfile(migrated_file, path)
    store = open_store(f"sqlite:///{path}")
    live(store)
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def copy(lived, tmp_path):
    """A store with all of that, and a connection to its file that keeps no rule."""
    path = tmp_path / "copy.db"
    shutil.copyfile(lived, path)
    store = open_store(f"sqlite:///{path}")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield store, connection
    store.close()


def other(table, column, value):
    """Another value that the column could have."""
    if isinstance(table.c[column].type, Boolean):
        return not value
    if isinstance(value, str):
        return value + "x"
    return value + 1000 if isinstance(value, int) else "x"


def complaint(store):
    """What verifying says of a record that was changed; "" when it finds none."""
    try:
        store.verify_audit()
    except TamperedError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("table", [*TABLES, gate_results], ids=lambda table: table.name)
def test_a_change_of_any_column_of_any_record_is_found(copy, table):
    store, connection = copy
    for column in table.c.keys():  # noqa: SIM118  no dict
        found = connection.execute(f'SELECT rowid, "{column}" FROM {table.name}').fetchall()  # noqa: S608  constants
        assert found
        change = f'UPDATE {table.name} SET "{column}" = ? WHERE rowid = ?'  # noqa: S608  constants
        # An integer key of one column is the row's id itself.
        own = column == "id"
        for row, value in found:
            new = other(table, column, value)
            connection.execute(change, (new, row))
            assert "Someone wrote to the database by other means" in complaint(store), (column, value, new)
            connection.execute(change, (value, new if own else row))
        assert store.verify_audit() == len(store.audit()), column


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_record_that_is_gone_or_added_is_found(copy, table):
    store, connection = copy
    names = ", ".join(f'"{column.name}"' for column in table.c)
    marks = ", ".join("?" for _ in table.c)
    for row in connection.execute(f"SELECT {names} FROM {table.name}").fetchall():  # noqa: S608  constants
        values = dict(zip((column.name for column in table.c), row, strict=True))
        key = {column.name: values[column.name] for column in table.primary_key}
        chosen = " AND ".join(f'"{name}" = ?' for name in key)
        connection.execute(f"DELETE FROM {table.name} WHERE {chosen}", tuple(key.values()))  # noqa: S608  constants
        with pytest.raises(TamperedError, match=r"is gone|was changed"):
            store.verify_audit()
        put = f"INSERT INTO {table.name} ({names}) VALUES ({marks})"  # noqa: S608  constants
        connection.execute(put, row)
        unique = {column.name for column in table.c if column.unique or column.name in key}
        new = {name: other(table, name, value) if name in unique else value for name, value in values.items()}
        if table is not aliases:
            connection.execute(put, tuple(new.values()))
            with pytest.raises(TamperedError, match="Nothing in the audit log tells of"):
                store.verify_audit()
            keys = tuple(new[name] for name in key)
            connection.execute(f"DELETE FROM {table.name} WHERE {chosen}", keys)  # noqa: S608  constants
    assert store.verify_audit() == len(store.audit())


def test_of_revisions_before_the_log_told_all_of_them_what_it_tells_is_compared(copy):
    store, connection = copy

    def older(row):
        after = json.loads(row["after"])
        if row["subject"].startswith("endpoints:/"):
            del after["digest"], after["bound"]
        return row | {"after": canonical("It", after)}

    store.database.write(lambda found: rewrite(found, older))
    assert store.verify_audit() == len(store.audit())
    connection.execute("UPDATE endpoint_revisions SET routes = replace(routes, '60.0', '70.0') WHERE revision = 2")
    with pytest.raises(TamperedError, match=r"The revision of an endpoint live, 2 was changed: its weights is .*70\.0"):
        store.verify_audit()


ONE_MORE = (
    "INSERT INTO gate_results SELECT key, 'x', name, version, alias, spec_digest, artifact_digest, "
    "champion_generation, passed, summary, evidence, at FROM gate_results WHERE gate = 'h' LIMIT 1"
)


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM gate_results WHERE key = 'judged 1' AND gate = 'g'",
        "DELETE FROM gate_results WHERE key = 'judged 2'",
        ONE_MORE,
    ],
)
def test_what_a_gate_found_for_a_request_is_neither_taken_away_nor_added_to(copy, change):
    store, connection = copy
    connection.execute(change)
    with pytest.raises(TamperedError, match=r"The promotion request \w+ was changed: its gates is"):
        store.verify_audit()


def test_an_alias_that_no_move_set_is_found(copy):
    store, connection = copy
    connection.execute(
        "INSERT INTO aliases (model, alias, version, generation, previous_version, moved_at, moved_by, request_id) "
        "SELECT model, 'green', version, generation, previous_version, moved_at, moved_by, request_id FROM aliases "
        "LIMIT 1"
    )
    with pytest.raises(TamperedError, match="The alias m, green was changed"):
        store.verify_audit()


def test_an_alias_of_no_model_is_found(copy):
    store, connection = copy
    connection.execute("INSERT INTO aliases SELECT 99, 'green', version, 1, NULL, 1, '', NULL FROM aliases LIMIT 1")
    with pytest.raises(TamperedError, match="The alias None, green was changed"):
        store.verify_audit()


def test_an_alias_put_back_to_an_earlier_move_is_found(copy):
    store, connection = copy
    connection.execute(
        "UPDATE aliases SET (version, generation, previous_version, moved_at, moved_by, request_id) = (SELECT version, "
        "generation, previous_version, moved_at, moved_by, request_id FROM alias_moves WHERE name = 'm' AND "
        "alias = 'champion' AND generation = 2) WHERE alias = 'champion'"
    )
    with pytest.raises(TamperedError, match="its generation is 2, and the audit log says 'that of its last move'"):
        store.verify_audit()


def test_statuses_that_were_exchanged_are_found(copy):
    store, connection = copy
    by_status = {request.status: request for request in store.list_requests()}
    for one, two in (("PENDING", "APPROVED"), ("REJECTED", "PROMOTED"), ("EXPIRED", "PENDING")):
        for status, request in ((two, by_status[RequestStatus(one)]), (one, by_status[RequestStatus(two)])):
            connection.execute(
                "UPDATE promotion_requests SET status = ? WHERE request_id = ?", (status, request.request_id)
            )
        with pytest.raises(TamperedError, match="its status"):
            store.verify_audit()
        for request in (by_status[RequestStatus(one)], by_status[RequestStatus(two)]):
            connection.execute(
                "UPDATE promotion_requests SET status = ? WHERE request_id = ?", (request.status, request.request_id)
            )


def stored(table, request):
    return update(table).where(table.c.request_id == request)


FORGED = '[{"evidence":{"auc":0.99},"gate":"g","passed":true,"summary":"ok"}]'
REQUEST_CHANGES = {
    "evidence with its digest": {"evidence": FORGED, "evidence_digest": digest(FORGED)},
    "a later end": {"expires_at": 2**60},
    "another version": {"version": 2},
    "another requester": {"requester": "eve"},
    "a stage": {"stage": "Staging"},
    "another key": {"key": "k"},
}


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request):
    """A database; that a server's answer is the same error is tested once."""
    return request.param


@pytest.fixture
def world(store):
    """A store on each database with a request that may be carried out; with it, one that nobody decided."""
    store.create_registered_model("m")
    for _ in range(2):
        store.create_model_version("m", "s", artifact_digest=DIGEST)
    rules(store, "p", "champion", approvals=2, four_eyes=True, approvers=("ann", "bob", "cem"))
    ready, undecided = ask(store, 1), ask(store, 1)
    decide(store, ready)
    decide(store, ready, "cem")
    return store, ready, undecided


def write(store, *statements):
    def work(connection):
        for statement in statements:
            connection.execute(statement)

    store.database.write(work)


@pytest.mark.parametrize("change", REQUEST_CHANGES.values(), ids=REQUEST_CHANGES)
def test_a_request_that_was_changed_moves_nothing(world, change):
    store, ready, _ = world
    write(store, stored(promotion_requests, ready).values(**change))
    with pytest.raises(TamperedError, match=rf"The promotion request {ready} was changed: its "):
        move(store, ready)
    with pytest.raises(TamperedError):
        store.verify_audit()
    assert store.alias_history("m", "champion") == []


def test_a_request_that_nobody_approved_moves_nothing(world):
    store, _, undecided = world
    write(store, stored(promotion_requests, undecided).values(status="APPROVED"))
    with pytest.raises(TamperedError, match=r"moves nothing.*the log tells last that it is PENDING"):
        move(store, undecided)
    number = select(promotion_requests.c.id).where(promotion_requests.c.request_id == undecided).scalar_subquery()
    for count, actor in enumerate(("ann", "cem"), 1):
        said = {"request": number, "number": count, "actor": actor, "approve": True, "reason": "", "channel": ""}
        write(store, insert(promotion_decisions).values(decided_at=1, **said))
    with pytest.raises(TamperedError, match="moves nothing"):
        move(store, undecided)


def test_a_request_that_the_log_does_not_know_moves_nothing(world):
    store, ready, _ = world
    change = {"request_id": "forged", "key": "forged"}

    def copy_row(connection):
        found = connection.execute(select(promotion_requests).where(promotion_requests.c.request_id == ready))
        row = dict(found.mappings().one()) | change
        del row["id"]
        connection.execute(insert(promotion_requests), row)

    store.database.write(copy_row)
    with pytest.raises(TamperedError, match="the log does not tell that it was made"):
        move(store, "forged")
    assert move(store, ready).version == 1


def test_a_policy_that_was_weakened_moves_nothing(world):
    store, _, undecided = world
    with pytest.raises(PromotionError):
        move(store, undecided)
    content = policies.c.content
    weak = update(policies).values(content=content.concat(" "))
    ready = world[1]
    write(store, weak)
    with pytest.raises(TamperedError, match="The policy p, 1 was changed: its digest"):
        move(store, ready)


def test_a_policy_whose_last_version_was_taken_away_moves_nothing(world):
    store, ready, _ = world
    rules(store, "p", "champion", approvals=3)
    write(store, delete(policies).where(policies.c.version == 2))
    with pytest.raises(TamperedError, match="the log knows other versions of the policy 'p'"):
        move(store, ready)


def test_what_only_seems_to_be_approved_answers_at_no_endpoint(world):
    store, _, _ = world
    store.create_endpoint("live", [Route("m", 2, weight=100.0)])
    rules(store, "q", "endpoint.live")

    def change():
        return store.change_endpoint("live", [Route("m", 1, weight=100.0)], expected_revision=1)

    request = ask(store, 1, "endpoint.live")
    with pytest.raises(ProtectedError):
        change()
    for status in ("APPROVED", "PROMOTED"):
        write(store, stored(promotion_requests, request).values(status=status))
        with pytest.raises(TamperedError, match="the log tells last that it is PENDING"):
            change()
    write(store, stored(promotion_requests, request).values(status="PENDING"))
    # where an alias is put by other means, it approves nothing either
    store.set_alias("m", "blue", 2, actor="ann")
    store.create_endpoint("other", [Route("m", alias="blue", weight=100.0)])
    rules(store, "r", "blue")
    store.change_endpoint("other", [Route("m", alias="blue", weight=100.0)], expected_revision=1)
    write(store, update(aliases).where(aliases.c.alias == "blue").values(version=1))
    for route in (Route("m", 1, weight=100.0), Route("m", alias="blue", weight=100.0)):
        with pytest.raises(TamperedError, match="The alias m, blue was changed: its version is 1"):
            store.change_endpoint("other", [route], expected_revision=2)
    write(store, update(aliases).where(aliases.c.alias == "blue").values(version=2))
    decide(store, request)
    assert change().revision == 2
    assert store.verify_audit() == len(store.audit())


def test_a_decision_that_was_changed_moves_nothing(world):
    store, ready, _ = world
    write(store, update(promotion_decisions).where(promotion_decisions.c.number == 1).values(decided_at=2**50))
    with pytest.raises(TamperedError, match=rf"The decision {ready}, 1 was changed: its decided_at"):
        move(store, ready)


def test_what_only_seems_to_have_been_approved_once_is_no_way_back(world):
    store, ready, _ = world
    move(store, ready)
    second = ask(store, 2)
    for who in ("ann", "cem"):
        decide(store, second, who)
    move(store, second)
    back = {"kind": RequestKind.ROLLBACK, "reason": "it drifts", "evidence": []}
    write(store, stored(promotion_requests, ready).values(requester="eve"))
    with pytest.raises(TamperedError, match="its requester is 'eve'"):
        ask(store, 1, **back)
    write(store, stored(promotion_requests, ready).values(requester="bob"))
    assert store.get_request(ask(store, 1, **back)).status is RequestStatus.PENDING


def test_an_alias_that_was_changed_does_not_go_back(world):
    store, _, _ = world
    for version in (1, 2, 1):
        store.set_alias("m", "blue", version, actor="ann")
    write(store, update(aliases).where(aliases.c.alias == "blue").values(previous_version=1))
    with pytest.raises(TamperedError, match="The alias m, blue was changed: its previous_version is 1"):
        store.rollback("m", "blue", actor="ann", reason="it drifts")
    write(store, update(aliases).where(aliases.c.alias == "blue").values(previous_version=2))
    assert store.rollback("m", "blue", actor="ann", reason="it drifts").version == 2


def test_a_log_that_was_changed_moves_nothing(world):
    store, ready, _ = world

    def forge(connection):
        unlock(connection)
        row = dict(
            connection.execute(select(audit).where(audit.c.action == "request-created").limit(1)).mappings().one()
        )
        row["after"] = row["after"].replace('"version":1,', '"version":2,')
        connection.execute(
            update(audit).where(audit.c.sequence == row["sequence"]).values(row | {"hash": hash_of(row)})
        )
        connection.execute(stored(promotion_requests, ready).values(version=2))

    store.database.write(forge)
    with pytest.raises(TamperedError, match="a row of the log about it, or about its policy, was changed"):
        move(store, ready)


def test_a_server_says_the_same(served_url):
    url, behind = served_url
    behind.create_registered_model("m")
    behind.create_model_version("m", "s")
    behind.set_alias("m", "blue", 1)
    write(behind, update(aliases).values(generation=7))
    remote = open_store(url)
    with pytest.raises(TamperedError, match="The alias m, blue was changed: its generation is 7"):
        remote.verify_audit()
    remote.close()


def test_what_was_really_approved_moves_as_before(world):
    store, ready, undecided = world
    assert move(store, ready).version == 1
    assert move(store, ready).generation == 1, "again is no other move"
    with pytest.raises((StaleRequestError, PromotionError)):
        move(store, undecided)
    store.transition_stage("m", 2, Stage.STAGING)
    assert store.verify_audit() == len(store.audit())
