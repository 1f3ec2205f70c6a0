"""Copying a version from one environment to another: all of it comes, verified, and nothing is decided by it."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from prefect_ml.blocks import TrackingServer as Block
from prefect_ml.cli.moving import copy
from prefect_ml.entities import (
    Attempt,
    Decision,
    GateResult,
    JournalSpan,
    Metric,
    Recorded,
    RequestStatus,
    RunBatch,
    RunEnd,
    RunStart,
    RunStatus,
    Source,
    Stage,
    Step,
)
from prefect_ml.errors import (
    AlreadyExistsError,
    CorruptArtifactError,
    InvalidInputError,
    NotFoundError,
    StoreUnavailableError,
)
from prefect_ml.lineage.card import model_card
from prefect_ml.lineage.read import get_lineage
from prefect_ml.moving.environments import asked_already, copy_versions, holds
from prefect_ml.moving.evidence import evidence_of
from prefect_ml.registry import promotion
from prefect_ml.registry.policy import PromotionPolicy
from prefect_ml.registry.resolve import resolve, settled
from prefect_ml.store.moving_contract import FOREIGN_EVIDENCE_TAG
from prefect_ml.store.places import open_place
from prefect_ml.tracking.model_inputs import tag_of
from served import TrackingServer

RUN, BASE, PARENT = "a" * 32, "b" * 32, "c" * 32
FIT = Source("first", 1, 100, "fit:1", 0, "t1")
NO_GATES = PromotionPolicy(name="people", model_pattern="*", aliases=("champion",), approvals=1)


def fill(store, cache):
    """A model of two versions, whose second one is made of another model, was approved and holds @champion."""
    experiment = store.create_experiment("churn")
    for run_id in (PARENT, BASE):
        store.create_run(experiment, run_id=run_id, name=run_id[:3])
    first = Attempt(RUN, "first", 1, 100, host="here", pid=7)
    tags = {"mlflow.parentRunId": PARENT, tag_of("models:/base/1"): json.dumps({"uri": "models:/base/1", "digest": ""})}
    batch = RunBatch(
        RUN,
        start=RunStart("churn", "fit", "ann", 100, tags, first),
        metrics=[Metric("auc", 0.9, 150, 1)],
        recorded=[Recorded(FIT, (), {"model": ["model"]})],
        end=RunEnd(RunStatus.FINISHED, 200, "first"),
    )
    assert store.apply_journal(JournalSpan("journal", 0, 8), [batch]) == []
    store.save_steps(RUN, [Step("t1", "fit-0", "fit", "Completed", 110, 190, 1)])
    for name, run_id, count in (("base", BASE, 1), ("churn", RUN, 2)):
        store.create_registered_model(name)
        place = store.get_run(run_id).artifact_uri
        open_place(store, place).put("model/MLmodel", f"flavors: {{}}  # {name}\n".encode())
        for number in range(1, count + 1):
            store.create_model_version(name, f"{place}/model", run_id=run_id)
            settled(store, resolve(store, f"models:/{name}/{number}"), cache)
    store.save_policy(NO_GATES.to_entity(), actor="ops")
    request = store.create_request(
        key="asked", name="churn", version=2, alias="champion", stage="Staging", requester="stan",
        artifact_digest=store.get_model_version("churn", 2).artifact_digest, policy="people", policy_version=1,
        evidence=[GateResult("auc", True, "auc is 0.9", {"value": 0.9})],
    )  # fmt: skip
    store.decide(request.request_id, Decision("sue", True, "fine", 1, "cli"))
    promotion.move(store, request.request_id, actor="sue")


@pytest.fixture
def staging(new_store, tmp_path):
    store = new_store("staging")
    fill(store, tmp_path / "cache")
    return store


@pytest.fixture
def production(new_store):
    return new_store("production")


def test_a_version_comes_with_all_that_it_is_made_of_and_nothing_is_decided_by_it(staging, production):
    copied = copy_versions(staging, production, "models:/churn@champion", actor="cara")
    assert (copied.report.conflicts, copied.report.failures) == ([], [])
    [version] = copied.versions
    assert (version.version, version.stage, version.aliases) == (2, Stage.NONE, ())
    digest = staging.get_model_version("churn", 2).artifact_digest
    assert version.artifact_digest == copied.digests[2] == digest != ""
    assert str(production.artifact_root) in version.source
    for run_id in (RUN, PARENT, BASE):
        assert production.get_run(run_id).name == staging.get_run(run_id).name
    assert production.get_attempts(RUN) == staging.get_attempts(RUN) != []
    assert production.get_steps(RUN) == staging.get_steps(RUN) != []
    assert production.recorders(RUN, "model", "model") == [FIT]
    there, here = (get_lineage(store, "models:/churn/2") for store in (staging, production))
    assert [each.uri for each in here.upstream] == [each.uri for each in there.upstream] == ["models:/base/1"]
    assert (here.execution, here.parents, here.run) == (there.execution, there.parents, there.run)
    # Other versions stay, and so does what was decided about this one.
    assert [each.version for each in production.get_moved_model("churn").versions] == [2]
    assert production.list_requests() == []
    with pytest.raises(NotFoundError):
        production.get_alias("churn", "champion")
    [told] = production.get_foreign_evidence("churn", 2)
    assert (told.origin, told.taken_over_by) == (staging.url, "cara")
    [asked] = told.document["requests"]
    assert (asked["status"], asked["requester"]) == ("PROMOTED", "stan")
    assert [each["actor"] for each in asked["decisions"]] == ["sue"]
    assert asked["evidence"] == [{"gate": "auc", "passed": True, "summary": "auc is 0.9", "evidence": {"value": 0.9}}]
    assert [each["name"] for each in told.document["policies"]] == ["people"]
    assert [(each["alias"], each["generation"]) for each in told.document["moves"]] == [("champion", 1)]
    assert production.get_model_version("churn", 2).tags == {FOREIGN_EVIDENCE_TAG: told.digest}
    [row] = [each for each in production.audit() if each.action == "evidence-imported" and "churn" in each.subject]
    assert (row.actor, row.evidence_digest) == ("cara", told.digest)
    assert production.verify_audit() == len(production.audit())


def test_again_changes_nothing_and_new_evidence_of_the_origin_comes(staging, production):
    first = copy_versions(staging, production, "models:/churn/2")
    assert first.evidence == 2  # of the model that it is made of too
    again = copy_versions(staging, production, "models:/churn/2")
    assert again.report.complete
    assert (again.evidence, again.report.counts["runs"].copied, again.versions) == (0, 0, first.versions)
    staging.set_alias("churn", "shadow", 2)
    staging.set_alias("churn", "shadow", 1)
    assert copy_versions(staging, production, "models:/churn/2").evidence == 0
    earlier = staging.create_request(
        key="more", name="churn", version=2, alias="champion", stage=None, requester="zoe", evidence=[],
        artifact_digest=first.digests[2], policy="people", policy_version=1,
    )  # fmt: skip
    assert copy_versions(staging, production, "models:/churn/2").evidence == 1
    [told] = production.get_foreign_evidence("churn", 2)
    assert told.document["requests"][0]["request_id"] == earlier.request_id


def test_aliases_and_stages_come_only_when_they_are_asked_for(staging, production):
    copy_versions(staging, production, "models:/churn", aliases=True)
    assert production.get_alias("churn", "champion").version == 2
    assert production.get_model_version("churn", 2).stage == Stage.STAGING
    assert [each.version for each in production.get_moved_model("churn").versions] == [1, 2]


def test_approvals_elsewhere_are_shown_and_none_here(staging, production):
    [version] = copy_versions(staging, production, "models:/churn/2").versions
    production.save_policy(NO_GATES.to_entity(), actor="ops")
    request = promotion.request_promotion(production, "churn", 2, "champion", requester="pam")
    assert request.status is RequestStatus.PENDING
    assert asked_already(production, version, "champion").request_id == request.request_id
    assert not holds(production, version, "champion")
    shown = model_card(production, request)
    assert "Said elsewhere" in shown
    assert "| champion | PROMOTED | stan | 1 of 1 | sue | people version 1 |" in shown
    assert "### Decisions" not in shown
    promotion.decide(production, request.request_id, approve=True, actor="pat")
    promotion.move(production, request.request_id, actor="pat")
    assert holds(production, version, "champion")


def test_what_came_from_a_third_place_is_still_told_as_its(staging, production, new_store):
    copy_versions(staging, production, "models:/churn/2")
    third = new_store("third")
    copy_versions(production, third, "models:/churn/2")
    [told] = third.get_foreign_evidence("churn", 2)
    assert (told.origin, told.document["requests"]) == (production.url, [])
    assert [each["origin"] for each in told.document["earlier"]] == [staging.url]


@pytest.mark.parametrize("where", ["origin", "target"])
def test_files_that_changed_are_found(staging, production, where):
    if where == "target":
        copy_versions(staging, production, "models:/churn/2")
    changed = Path((staging if where == "origin" else production).get_run(RUN).artifact_uri) / "model/MLmodel"
    changed.write_text("flavors: {evil: {}}\n")
    with pytest.raises((CorruptArtifactError, NotFoundError), match=r"digest|changed|written"):
        copy_versions(staging, production, "models:/churn/2")
    if where == "origin":
        assert production.list_requests() == []


def test_a_copy_of_a_logged_model_comes_with_it(staging, production):
    made = staging.create_logged_model(staging.get_run(RUN).experiment_id, name="model", source_run_id=RUN)
    open_place(staging, made.artifact_uri).put("MLmodel", b"flavors: {}  # logged\n")
    staging.create_registered_model("mirror")
    staging.create_model_version("churn", f"models:/{made.model_id}", model_id=made.model_id)
    staging.create_model_version("mirror", "models:/churn/3")
    copied = copy_versions(staging, production, "models:/mirror/1")
    assert copied.report.complete
    place = production.get_logged_model(made.model_id).artifact_uri
    assert resolve(production, "models:/mirror/1").source == place != made.artifact_uri
    assert [each.version for each in production.get_moved_model("churn").versions] == [3]


def test_what_is_said_of_a_model_is_not_said_of_another_under_its_number(staging, production):
    production.create_registered_model("base")
    production.create_model_version("base", "s3://bucket/other", artifact_digest="sha256:other")
    copied = copy_versions(staging, production, "models:/churn/2")
    assert copied.evidence == 1
    assert production.get_foreign_evidence("base", 1) == []
    assert "Version 1 of 'base' is here with other content" in " ".join(copied.report.conflicts)


def test_another_model_under_the_number_stays_and_nothing_is_carried(staging, production, tmp_path):
    production.create_registered_model("churn")
    for number in (1, 2):
        (tmp_path / "other").mkdir(exist_ok=True)
        (tmp_path / "other/MLmodel").write_text(f"flavors: {{}}  # {number}\n")
        production.create_model_version("churn", str(tmp_path / "other"), artifact_digest="sha256:other")
    with pytest.raises(AlreadyExistsError, match="another model"):
        copy_versions(staging, production, "models:/churn/2")
    with pytest.raises(NotFoundError):
        production.get_run(RUN)


@pytest.mark.parametrize("uri", ["runs:/x/model", "models:/m-1", "/folder"])
def test_only_registered_models_of_another_store_are_copied(staging, production, uri):
    with pytest.raises(InvalidInputError, match="registered"):
        copy_versions(staging, production, uri)
    with pytest.raises(InvalidInputError, match="two different"):
        copy_versions(staging, staging, "models:/churn/2")


@pytest.mark.parametrize("step", ["take_over_run", "take_over_model", "take_over_evidence"])
def test_what_was_broken_off_goes_on(staging, production, monkeypatch, step):
    whole = getattr(type(production), step)
    calls = iter(range(100))

    def breaking(self, *args, **kwargs):
        if next(calls) == 1:
            raise StoreUnavailableError("away")
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(type(production), step, breaking)
    with pytest.raises(StoreUnavailableError):
        copy_versions(staging, production, "models:/churn/2", threads=1)
    copied = copy_versions(staging, production, "models:/churn/2", threads=1)
    assert copied.report.complete
    assert {each.name for each in production.search_registered_models().items} == {"base", "churn"}
    assert len(production.get_foreign_evidence("churn", 2)) == 1


def test_evidence_is_bounded_and_says_what_it_leaves_out(staging):
    big = [GateResult("auc", True, "fine", {"text": "x" * 100_000})]
    for number in range(10):
        staging.create_request(
            key=f"k{number}", name="churn", version=2, alias="champion", stage=None, requester="zoe", evidence=big,
            artifact_digest=staging.get_model_version("churn", 2).artifact_digest, policy="people", policy_version=1,
        )  # fmt: skip
    document = evidence_of(staging, "churn", 2)
    assert len(json.dumps(document)) < 400_000
    newest, *_, oldest = document["requests"]
    assert newest["evidence"][0]["evidence"]["text"][0] == "x"
    assert "left_out" in oldest["evidence"][0]["evidence"]


@pytest.fixture(scope="module")
def two_servers(tmp_path_factory):
    """Two servers with a token each."""
    places = [tmp_path_factory.mktemp(name) for name in ("staging", "production")]
    tokens = [{"PREFECT_ML_SERVER_TOKEN": name} for name in ("one", "two")]
    with TrackingServer(places[0], tokens[0]) as there, TrackingServer(places[1], tokens[1]) as here:
        yield there, here


def started_by(copy_model, **asked):
    """The flow run that a copy starts where a deployment asks for the alias; none of a worker takes it."""
    from prefect.client.orchestration import get_client

    from prefect_ml.flows.promote import promote_model

    name = f"there-{uuid.uuid4().hex}"
    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(client.create_flow(promote_model), name=name)
        told = copy_model(**asked | {"promotion": f"promote-model/{name}", "requester": "cara"})
        started = client.read_flow_run(uuid.UUID(told["promotion"]["flow_run"]))
        assert started.deployment_id == deployment
        client.delete_deployment(deployment)
    return started


def test_the_flow_copies_between_two_servers_and_asks_there(prefect_api, two_servers, tmp_path, capsys):
    from prefect_ml.flows.copy_model import copy_model

    blocks = {}
    for server, token in zip(two_servers, ("one", "two"), strict=True):
        blocks[token] = f"b-{uuid.uuid4().hex}"
        Block(store_url=server.url, token=token).save(blocks[token])
    there, here = (Block.load(name).get_store() for name in blocks.values())
    fill(there, tmp_path / "cache")
    here.save_policy(NO_GATES.to_entity(), actor="ops")
    asked = {"model_uri": "models:/churn/2", "origin": blocks["one"], "target": blocks["two"], "promote_to": "champion"}
    # Where promote-model is deployed on the Prefect server of these tests, that would be started instead.
    asked["promotion"] = "promote-model/nowhere"
    told = copy_model(**asked, requester="cara")
    assert told["complete"], told
    digest = there.get_model_version("churn", 2).artifact_digest
    assert told["versions"] == [{"name": "churn", "version": 2, "digest": digest}]
    request = here.get_request(told["promotion"]["request"])
    assert (request.status, request.requester, request.alias) == (RequestStatus.PENDING, "cara", "champion")
    assert here.get_foreign_evidence("churn", 2)[0].origin == there.url
    assert here.get_attempts(RUN) == there.get_attempts(RUN) != []
    assert copy_model(**asked)["promotion"] == told["promotion"]
    promotion.decide(here, request.request_id, approve=True, actor="pat")
    promotion.move(here, request.request_id, actor="pat")
    assert copy_model(**asked)["promotion"] is None
    command = {"to": blocks["two"], "origin": blocks["one"], "promote_to": "champion", "json": True}
    copy("models:/churn/1", requester="cora", **command)
    assert json.loads(capsys.readouterr().out)["complete"]
    [request] = here.list_requests(name="churn", status=RequestStatus.PENDING)
    assert (request.version, request.requester) == (1, "cora")
    started = started_by(copy_model, **asked | {"promote_to": "challenger"})
    assert started.parameters == {
        "name": "churn", "version": 2, "alias": "challenger", "stage": None, "requester": "cara",
        "tracking_server": blocks["two"],
    }  # fmt: skip
    assert started.parent_task_run_id is None, "a subflow could not be suspended"
    with pytest.raises(InvalidInputError, match="2 versions"):
        copy("models:/churn", **command)
    with pytest.raises(InvalidInputError, match="no TrackingServer block"):
        copy_model("models:/churn/2", origin="none-such", target=blocks["two"])
    with pytest.raises(InvalidInputError, match="password"):
        copy_model("models:/churn/2", origin=blocks["one"], target="http://ann:secret@127.0.0.1:9")
    there.close()
    here.close()
