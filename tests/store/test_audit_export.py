"""The audit log taken elsewhere: whole, for its owner alone, continued, and compared with what the log became since."""

from __future__ import annotations

import hashlib
import json
import stat

import pytest
from sqlalchemy import delete, update

from prefect_ml.entities import Policy
from prefect_ml.errors import (
    AlreadyExistsError,
    CorruptArtifactError,
    InvalidInputError,
    NotFoundError,
    TamperedError,
)
from prefect_ml.store import open_store
from prefect_ml.store.audit_export import compare_audit, export_audit
from prefect_ml.store.registry_tables import audit
from tampering import rewrite, unlock


@pytest.fixture
def told(store):
    """A store whose log has seven rows."""
    store.create_registered_model("m")
    for _ in range(3):
        store.create_model_version("m", "s", artifact_digest="sha256:ab")
    store.set_alias("m", "blue", 1, actor="ann", reason="try é\n\x7f")
    store.set_alias("m", "blue", 2, actor="ann", reason="x" * 2000)
    store.save_policy(Policy("p", 0, "m", ("champion",), gates=({"name": "g", "x": [1]},)), actor="ops", reason="r")
    return store


@pytest.fixture
def short(sqlite_url):
    """A store of one database, whose log has seven rows; for what is about the file alone."""
    opened = open_store(sqlite_url)
    for number in range(7):
        opened.create_registered_model(f"m{number}")
    yield opened
    opened.close()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "folder" / "audit.jsonl"


def lines(file):
    return [json.loads(line) for line in file.read_bytes().splitlines()]


def test_a_file_has_every_row_and_the_head(told, file):
    assert export_audit(told, file) == (7, 7)
    *rows, head = lines(file)
    entries = told.audit()
    assert [row["hash"] for row in rows] == [entry.hash for entry in entries]
    assert rows[4]["reason"] == "try é\n\x7f"
    assert rows[4]["after"] == dict(entries[4].after)
    assert rows[4]["origin"]["channel"]
    assert head == {"head": {"sequence": 7, "hash": entries[-1].hash}}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]
    assert compare_audit(told, file) == 7


def test_anyone_can_check_a_file_without_this_library(told, file):
    export_audit(told, file)
    previous = ""
    for row in lines(file)[:-1]:
        given = row.pop("hash")
        assert row["previous_hash"] == previous
        for name in ("before", "after", "origin"):
            row[name] = json.dumps(row[name], sort_keys=True, separators=(",", ":"))
        covered = json.dumps(row, sort_keys=True, separators=(",", ":"))
        assert given == "sha256:" + hashlib.sha256(covered.encode()).hexdigest()
        previous = given


def test_a_file_is_continued_from_its_end(told, file):
    export_audit(told, file)
    assert export_audit(told, file) == (0, 7)
    told.delete_alias("m", "blue", reason="over")
    told.create_registered_model("n")
    assert compare_audit(told, file) == 7
    assert export_audit(told, file) == (2, 9)
    other = file.with_name("other")
    assert export_audit(told, other) == (9, 9)
    assert other.read_bytes() == file.read_bytes()


def test_a_file_begins_after_a_row(told, file):
    assert export_audit(told, file, after=5) == (2, 7)
    assert [row.get("sequence") for row in lines(file)] == [6, 7, None]
    assert compare_audit(told, file) == 2
    with pytest.raises(AlreadyExistsError, match="is there already"):
        export_audit(told, file, after=5)
    with pytest.raises(NotFoundError, match="The audit log has no row 8"):
        export_audit(told, file.with_name("b"), after=8)
    assert export_audit(told, file.with_name("b"), after=7) == (0, 7)
    assert compare_audit(told, file.with_name("b")) == 0
    assert sorted(file.parent.iterdir()) == sorted([file, file.with_name("b")])


def test_the_file_of_an_empty_log_is_continued(store, file):
    assert export_audit(store, file) == (0, 0)
    assert compare_audit(store, file) == 0
    store.create_registered_model("m")
    assert export_audit(store, file) == (1, 1)


def forge(store, *, upto):
    """Cut the log off after a row, and have its fifth row say something else, so that the chain is whole again."""

    def work(connection):
        unlock(connection)
        connection.execute(delete(audit).where(audit.c.sequence > upto))
        rewrite(connection, lambda row: row | {"reason": "by eve"} if row["sequence"] == 5 else row)

    store.database.write(work)


def test_a_chain_that_was_rewritten_as_a_whole_is_found(told, file):
    export_audit(told, file)
    told.create_registered_model("n")
    forge(told, upto=8)
    with pytest.raises(
        TamperedError, match=r"The audit log was rewritten: row 5 is not what it was when .* was written"
    ):
        compare_audit(told, file)
    with pytest.raises(TamperedError, match="row 7 is not what it was"):
        export_audit(told, file)
    assert [row.get("sequence") for row in lines(file)] == [*range(1, 8), None], "the file stays as it was"


def test_a_log_whose_end_was_cut_off_is_found(told, file):
    export_audit(told, file)
    export_audit(told, file.with_name("b"), after=7)
    forge(told, upto=4)
    for each, row in ((file, 5), (file.with_name("b"), 7)):
        with pytest.raises(TamperedError, match=rf"row {row} is gone"):
            compare_audit(told, each)


def changed(line, **changes):
    return json.dumps({**json.loads(line), **changes}).encode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda kept: [changed(kept[0], actor="eve"), *kept[1:]], "line 1 was changed"),
        (lambda kept: [*kept[:2], *kept[3:]], "line 3 was changed or is not in its place"),
        (lambda kept: kept[:-1], "its end is missing"),
        (lambda _: [], "its end is missing"),
        (lambda kept: [*kept[:-2], kept[-1]], "line 7 was changed"),
        (lambda kept: [*kept, kept[0]], "line 8 was changed"),
        (lambda _: [b"[" * 100_000], "line 1 was changed"),
        (lambda _: [b'{"head": {"sequence": "x", "hash": 1}}'], "line 1 was changed"),
        (lambda kept: [changed(kept[0], sequence="1"), *kept[1:]], "line 1 was changed"),
    ],
)
def test_a_file_that_was_changed_is_not_trusted(short, file, change, words):
    export_audit(short, file)
    file.write_bytes(b"".join(line + b"\n" for line in change(file.read_bytes().splitlines())))
    for use in (compare_audit, export_audit):
        with pytest.raises(CorruptArtifactError, match=f"is no whole export of an audit log: {words}"):
            use(short, file)


def test_a_broken_log_is_not_exported(told, file):
    def work(connection):
        unlock(connection)
        connection.execute(update(audit).where(audit.c.sequence == 3).values(actor="eve"))

    told.database.write(work)
    with pytest.raises(CorruptArtifactError, match="The audit log is broken at row 3; nothing was exported"):
        export_audit(told, file)
    assert list(file.parent.iterdir()) == []


def test_what_is_no_file_is_said_to_be_none(short, tmp_path):
    with pytest.raises(NotFoundError, match="write one with: prefect-ml audit export"):
        compare_audit(short, tmp_path / "none")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        compare_audit(short, tmp_path)
