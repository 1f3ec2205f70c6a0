"""An audit log of before origins were kept, and of before its rows told of every column, is verified and goes on."""

from __future__ import annotations

import json
from contextlib import closing

import pytest
from sqlalchemy import column, create_engine, insert, table, update

from prefect_ml.entities import RequestStatus
from prefect_ml.errors import CorruptArtifactError, TamperedError
from prefect_ml.store import open_store
from prefect_ml.store.canonical import canonical, digest
from prefect_ml.store.migrations import FOLDER
from prefect_ml.store.registry_tables import alias_moves, audit, policies, promotion_requests

OLD = "r0008"
DIGEST = "sha256:ab"
EVIDENCE = canonical("It", [{"gate": "g", "passed": True, "summary": "ok", "evidence": {}}])
CONTENT = canonical(
    "It",
    {
        "model_pattern": "m",
        "aliases": ["champion"],
        "stages": [],
        "gates": [],
        "approvals": 1,
        "approvers": [],
        "four_eyes": False,
        "expires_after": 1e9,
    },
)
SUBJECT = "models:/m@champion"
# What the older release wrote, in its order: action, subject, actor, reason, before, after, evidence digest.
TOLD = [
    ("model-created", "models:/m", "", "", {}, {}, ""),
    ("version-created", "models:/m/1", "", "", {}, {"source": "s", "run_id": None, "digest": DIGEST}, ""),
    ("alias-set", "models:/m@blue", "ann", "try", {}, {"version": 1, "generation": 1}, ""),
    ("policy-saved", "policies:/p", "ops", "x", {}, {"version": 1, "digest": digest(CONTENT), "weakened": []}, ""),
    (
        "request-created",
        SUBJECT,
        "bob",
        "",
        {"version": None, "generation": 0},
        {
            "request": "r",
            "status": "PENDING",
            "version": 1,
            "stage": None,
            "digest": DIGEST,
            "policy": "p",
            "policy_version": 1,
        },
        digest(EVIDENCE),
    ),
    (
        "request-approved",
        SUBJECT,
        "ann",
        "fine",
        {"status": "PENDING"},
        {"request": "r", "status": "APPROVED", "version": 1, "approvals": "1 of 1", "channel": "cli"},
        digest(EVIDENCE),
    ),
    ("imported", "models:/m", "", "", {}, {"origin": "elsewhere", "versions": [], "withheld": []}, ""),
]


def records():
    """What it wrote beside that, by table."""
    stamps = {"creation_timestamp": 5, "last_updated_timestamp": 6}
    move = {"name": "m", "generation": 1, "version": 1, "previous_version": None, "moved_at": 7, "request_id": None}
    blue = move | {"alias": "blue", "moved_by": "ann", "reason": "try"}
    taken = move | {"alias": "green", "moved_by": "", "reason": "imported from elsewhere"}
    gone = ("name", "reason")
    return [
        ("registered_models", {"id": 1, "name": "m", "description": "", "last_version": 1, **stamps}),
        (
            "model_versions",
            {
                "model": 1,
                "version": 1,
                "source": "s",
                "run_id": None,
                "stage": "None",
                "description": "",
                "artifact_digest": DIGEST,
                **stamps,
            },
        ),
        ("alias_moves", blue),
        ("alias_moves", taken),
        *(("aliases", {"model": 1} | {k: v for k, v in each.items() if k not in gone}) for each in (blue, taken)),
        ("policies", {"name": "p", "version": 1, "content": CONTENT, "saved_at": 7, "saved_by": "ops"}),
        (
            "promotion_requests",
            {
                "id": 1,
                "request_id": "r",
                "key": "k",
                "name": "m",
                "version": 1,
                "alias": "champion",
                "stage": None,
                "status": "APPROVED",
                "status_reason": "approved by ann",
                "requester": "bob",
                "requested_at": 7,
                "expires_at": 2**60,
                "artifact_digest": DIGEST,
                "evidence": EVIDENCE,
                "evidence_digest": digest(EVIDENCE),
                "policy": "p",
                "policy_version": 1,
                "base_generation": 0,
                "base_version": None,
                "flow_run_id": None,
            },
        ),
        (
            "promotion_decisions",
            {
                "request": 1,
                "number": 1,
                "actor": "ann",
                "approve": True,
                "reason": "fine",
                "decided_at": 8,
                "channel": "cli",
            },
        ),
    ]


def chain():
    """The rows of the log, with the hashes of that release."""
    previous = ""
    for sequence, (action, subject, actor, reason, before, after, evidence) in enumerate(TOLD, 1):
        row = {"sequence": sequence, "at": 9, "actor": actor, "action": action, "subject": subject, "reason": reason}
        row |= {"before": canonical("It", before), "after": canonical("It", after), "evidence_digest": evidence}
        row["previous_hash"] = previous
        row["hash"] = previous = digest(json.dumps(row, sort_keys=True, separators=(",", ":")))
        yield row


@pytest.fixture
def upgraded(empty_url, tmp_path):
    """A store that the older release filled, opened by this one."""
    from alembic import command
    from alembic.config import Config

    if empty_url.startswith("sqlite"):
        (tmp_path / "store").mkdir()
    engine = create_engine(empty_url)
    with engine.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(FOLDER))
        command.upgrade(config, OLD)
        for name, row in [*records(), *(("audit", row) for row in chain())]:
            connection.execute(insert(table(name, *map(column, row))), row)
        head = {"sequence": len(TOLD), "hash": list(chain())[-1]["hash"]}
        connection.execute(update(table("audit_head", *map(column, head))).values(head))
    engine.dispose()
    with closing(open_store(empty_url)) as store:
        yield store


def write(store, statement):
    store.database.write(lambda connection: connection.execute(statement) and None)


def test_it_is_verified_and_goes_on(upgraded):
    assert upgraded.verify_audit() == len(TOLD)
    assert {json.dumps(entry.origin) for entry in upgraded.audit()} == {"{}"}
    assert upgraded.promote("r", artifact_digest=DIGEST, actor="ann").version == 1
    assert upgraded.get_request("r").status is RequestStatus.PROMOTED
    assert upgraded.verify_audit() == len(upgraded.audit()) == len(TOLD) + 1
    assert upgraded.audit()[-1].origin["channel"] == "python"


@pytest.mark.parametrize(
    "change",
    [
        update(promotion_requests).values(version=2),
        update(promotion_requests).values(requester="eve"),
        update(promotion_requests).values(status="PENDING"),
        update(policies).values(content=CONTENT + " "),
        update(alias_moves).where(alias_moves.c.alias == "blue").values(moved_by="eve"),
        update(alias_moves).where(alias_moves.c.alias == "green").values(name="n"),
    ],
)
def test_what_it_told_of_its_records_is_compared(upgraded, change):
    write(upgraded, change)
    with pytest.raises(TamperedError):
        upgraded.verify_audit()


def test_an_origin_that_was_put_in_is_found(upgraded):
    def work(connection):
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("DROP TRIGGER audit_no_update")
        else:
            connection.exec_driver_sql("ALTER TABLE audit DISABLE TRIGGER USER")
        connection.execute(update(audit).where(audit.c.sequence == 3).values(origin='{"channel":"cli"}'))

    upgraded.database.write(work)
    with pytest.raises(CorruptArtifactError, match="row 3: it was changed"):
        upgraded.verify_audit()
