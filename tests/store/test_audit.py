"""The audit log: every change of the registry is in it, and whoever changes it by other means is found out."""

from __future__ import annotations

import getpass
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from prefect_ml.entities import Decision, GateResult, Policy, Stage
from prefect_ml.errors import CorruptArtifactError, InvalidInputError
from prefect_ml.store.canonical import canonical, digest
from prefect_ml.store.registry_tables import audit
from tampering import unlock

USER = getpass.getuser()

DIGEST = "sha256:ab"


@pytest.fixture
def lived(store):
    """A registry in which everything happened once."""
    store.create_registered_model("m")
    for _ in range(3):
        store.create_model_version("m", "s", artifact_digest=DIGEST, run_id="r")
    store.set_alias("m", "blue", 1, actor="ann", reason="try")
    store.delete_alias("m", "blue", actor="ann", reason="tried")
    store.transition_stage("m", 1, Stage.STAGING)
    store.save_policy(Policy("p", 0, "m", ("champion",), emergency=("cem",)), actor="ops", reason="start")
    for version, yes in ((1, True), (2, True), (3, False)):
        request = store.create_request(
            key=str(version),
            name="m",
            version=version,
            alias="champion",
            stage=None,
            requester="bob",
            artifact_digest=DIGEST,
            evidence=[GateResult("g", True, "ok")],
            policy="p",
            policy_version=1,
        ).request_id
        store.decide(request, Decision("ann", yes, "so", 1, "cli"))
        if yes:
            store.promote(request, artifact_digest=DIGEST, actor="ann")
    store.rollback("m", "champion", actor="cem", reason="it drifts")
    store.delete_model_version("m", 3)
    store.create_registered_model("n")
    store.rename_registered_model("n", "o")
    store.delete_registered_model("o")
    return store


def run(store, statement, **values):
    """As somebody does who owns the database."""

    def work(connection):
        unlock(connection)
        connection.execute(text(statement), values)

    store.database.write(work)


def test_every_change_is_told_in_order(lived):
    entries = lived.audit()
    assert [(e.action, e.subject, e.actor, e.reason) for e in entries if e.action != "version-created"] == [
        ("model-created", "models:/m", USER, ""),
        ("alias-set", "models:/m@blue", "ann", "try"),
        ("alias-deleted", "models:/m@blue", "ann", "tried"),
        ("stage-changed", "models:/m/1", USER, ""),
        ("policy-saved", "policies:/p", "ops", "start"),
        ("request-created", "models:/m@champion", "bob", ""),
        ("request-approved", "models:/m@champion", "ann", "so"),
        ("promoted", "models:/m@champion", "ann", f"promotion request {entries[10].after['request']}"),
        ("request-created", "models:/m@champion", "bob", ""),
        ("request-approved", "models:/m@champion", "ann", "so"),
        ("promoted", "models:/m@champion", "ann", f"promotion request {entries[13].after['request']}"),
        ("request-created", "models:/m@champion", "bob", ""),
        ("request-rejected", "models:/m@champion", "ann", "so"),
        ("emergency-rollback", "models:/m@champion", "cem", "it drifts"),
        ("version-deleted", "models:/m/3", USER, ""),
        ("model-created", "models:/n", USER, ""),
        ("model-renamed", "models:/o", USER, ""),
        ("model-deleted", "models:/o", USER, ""),
    ]
    assert [e.sequence for e in entries] == list(range(1, len(entries) + 1))
    assert [e.previous_hash for e in entries] == ["", *(e.hash for e in entries[:-1])]
    assert lived.verify_audit() == len(entries) == 21
    created = entries[1]
    assert created.after == {"source": "s", "run_id": "r", "digest": DIGEST}


def test_a_part_of_it_is_read(lived):
    whole = lived.audit()
    assert lived.audit(after=5, max_results=3) == whole[5:8]
    assert lived.audit(subject="models:/m@blue") == [e for e in whole if e.subject == "models:/m@blue"] != []
    assert lived.audit(after=99) == []
    with pytest.raises(InvalidInputError, match="Invalid value 0"):
        lived.audit(max_results=0)


def test_anyone_can_check_the_chain_without_this_library(lived):
    entry = lived.audit()[-1]
    with lived.database.read() as connection:
        row = dict(connection.execute(select(audit).order_by(audit.c.sequence.desc())).mappings().first())
    covered = {name: value for name, value in row.items() if name != "hash"}
    written = json.dumps(covered, sort_keys=True, separators=(",", ":"))
    assert entry.hash == "sha256:" + hashlib.sha256(written.encode()).hexdigest()


def test_a_fresh_log_is_whole(store):
    assert store.verify_audit() == 0
    assert store.audit() == []


CHANGES = {
    "at": "at + 1",
    "actor": "actor || 'x'",
    "action": "action || 'x'",
    "subject": "'models:/other'",
    "reason": "reason || ' '",
    "before": "before || ' '",
    "after": "after || ' '",
    "evidence_digest": "'sha256:0'",
    "previous_hash": "'sha256:0'",
    "hash": "'sha256:0'",
    "origin": "'{}'",
}


def test_every_change_of_any_column_of_any_row_is_found(lived):
    rows = lived.audit()
    for row in (rows[0], rows[7], rows[-1]):
        for column, value in CHANGES.items():
            saved = {}

            def keep(connection, row=row, column=column, saved=saved):
                query = select(audit.c[column]).where(audit.c.sequence == row.sequence)
                saved["value"] = connection.execute(query).scalar_one()

            lived.database.write(keep)
            where = f"WHERE sequence = {row.sequence}"
            run(lived, f'UPDATE audit SET "{column}" = {value} {where}')  # noqa: S608  constants
            with pytest.raises(CorruptArtifactError, match=rf"The audit log is broken at row {row.sequence}: "):
                lived.verify_audit()
            run(lived, f'UPDATE audit SET "{column}" = :value {where}', **saved)  # noqa: S608  constants
            assert lived.verify_audit() == len(rows)


# One row at a time, since sequences are unique.
SHIFTED = [f"UPDATE audit SET sequence = {n - 1} WHERE sequence = {n}" for n in range(6, 22)]  # noqa: S608  constants


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (["DELETE FROM audit WHERE sequence = 1"], "row 1: it is missing"),
        (["DELETE FROM audit WHERE sequence = 5"], "row 5: it is missing"),
        (["DELETE FROM audit WHERE sequence = 21"], "row 21: the chain's end was cut off"),
        (["DELETE FROM audit"], "row 1: the chain's end was cut off"),
        (["DELETE FROM audit", "DELETE FROM audit_head"], "row 1: the chain's end was cut off"),
        (["UPDATE audit SET sequence = 99 WHERE sequence = 7"], "row 7: it is missing"),
        (
            ["DELETE FROM audit WHERE sequence = 5", *SHIFTED],
            "row 5: it does not continue",
        ),
        (
            [
                "UPDATE audit SET sequence = 100 WHERE sequence = 5",
                "UPDATE audit SET sequence = 5 WHERE sequence = 6",
                "UPDATE audit SET sequence = 6 WHERE sequence = 100",
            ],
            "row 5: it does not continue",
        ),
    ],
)
def test_missing_moved_and_added_rows_are_found(lived, statements, words):
    for statement in statements:
        run(lived, statement)
    with pytest.raises(CorruptArtifactError, match=words):
        lived.verify_audit()


def test_a_row_put_in_with_a_right_hash_is_found(lived):
    last = lived.audit()[-1]
    forged = {
        "sequence": last.sequence + 1,
        "at": 1,
        "actor": "ann",
        "action": "promoted",
        "subject": "models:/m@champion",
    }
    forged |= {"reason": "", "before": "{}", "after": "{}", "evidence_digest": "", "previous_hash": last.hash}
    forged["hash"] = digest(canonical("a row", forged))
    forged["origin"] = "{}"
    lived.database.write(lambda connection: connection.execute(audit.insert(), forged) and None)
    with pytest.raises(CorruptArtifactError, match="the chain's end was cut off or replaced"):
        lived.verify_audit()


@pytest.mark.parametrize("statement", ["UPDATE audit SET reason = 'x'", "DELETE FROM audit"])
def test_the_database_refuses_to_change_it(lived, statement):
    with pytest.raises(IntegrityError, match="The audit log is only added to"):
        lived.database.write(lambda connection: connection.execute(text(statement)) and None)
    assert lived.verify_audit() == 21


def test_a_change_that_fails_leaves_no_row(lived):
    rows = lived.verify_audit()
    with pytest.raises(InvalidInputError):
        lived.set_alias("m", "green", 1, reason="x" * 3000)
    with pytest.raises(LookupError):
        lived.set_alias("m", "green", 9)
    assert lived.verify_audit() == rows


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_a_document_has_one_text_however_often_it_is_read_back(value):
    written = canonical("It", value)
    assert canonical("It", json.loads(written)) == written
    assert written.isascii()


@given(st.dictionaries(st.integers() | st.text(), st.integers(), max_size=5))
def test_keys_become_texts_and_their_order_does_not_matter(value):
    turned = dict(reversed(value.items()))
    if len({str(key) for key in value}) == len(value):
        assert canonical("It", value) == canonical("It", turned)


@pytest.mark.parametrize("value", [object(), {"a": {1, 2}}, {(1, 2): 3}, b"x"])
def test_what_is_no_document_is_refused(value):
    with pytest.raises(InvalidInputError, match="It holds something that is no text, number, list or mapping"):
        canonical("It", value)


def test_a_nest_without_end_is_refused():
    nest = []
    nest.append(nest)
    deep = []
    for _ in range(100_000):
        deep = [deep]
    for value in (nest, deep):
        with pytest.raises(InvalidInputError, match="no text, number, list or mapping"):
            canonical("It", value)
