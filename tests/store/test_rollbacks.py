"""Going back, on both databases and behind a server: by request, in an emergency, after a soak, and never elsewhere."""

from __future__ import annotations

import pytest

from prefect_ml.entities import GateResult, RecordedGate, RequestKind, RequestStatus, Stage
from prefect_ml.errors import (
    CorruptArtifactError,
    InvalidInputError,
    NotAllowedError,
    NotFoundError,
    PromotionError,
    ProtectedError,
    StaleRequestError,
)
from prefect_ml.store.evidence import trial_key
from promoting_at_store import DIGEST, actions, approve, approved, ask, churn, clock, go_back, move, reject, save


@pytest.fixture
def model(store):
    """Model `churn`, whose champion is version 2 after 1, both in their turn in Production; eve is on call."""
    churn(store)
    save(store, stages=("Production",), four_eyes=True, emergency=("eve",))
    for version in (1, 2):
        move(store, approved(store, version, stage="Production"))
    return store


def back(store, version=1, **changes):
    return ask(store, version, **({"kind": "rollback", "reason": "it drifts", "evidence": []} | changes))


def stages(store):
    return [store.get_model_version("churn", number).stage.value for number in (1, 2, 3, 4)]


def test_a_request_to_go_back_is_decided_on_and_carried_out_once(model):
    with pytest.raises(ProtectedError, match=r"does not name 'ann'. Request the rollback, and have it approved: "):
        go_back(model, "ann")
    request, overtaken = back(model), approved(model, 3)
    assert (request.kind, request.status, request.reason) == (RequestKind.ROLLBACK, RequestStatus.PENDING, "it drifts")
    with pytest.raises(NotAllowedError, match="four eyes"):
        approve(model, request, "bob")
    with pytest.raises(PromotionError, match="is PENDING"):
        move(model, request)
    approve(model, request)
    moved = move(model, request, actor="cem")
    assert (moved.version, moved.generation, moved.previous_version) == (1, 3, 2)
    assert move(model, request) == moved
    assert model.get_alias("churn", "champion") == moved
    assert stages(model) == ["Production", "None", "None", "None"]
    assert "by the request" in model.get_request(overtaken.request_id).status_reason
    [entry] = [each for each in model.audit() if each.action == "rolled-back"]
    assert (entry.actor, entry.reason, entry.after["request"]) == ("cem", "it drifts", request.request_id)
    assert model.get_request(request.request_id).status is RequestStatus.PROMOTED
    forth = back(model, 2, reason="it was the data")
    assert move(model, approve(model, forth)).version == 2
    assert stages(model) == ["Archived", "Production", "None", "None"]
    assert model.verify_audit() == len(model.audit())


def test_a_request_to_go_back_that_no_longer_fits_moves_nothing(model):
    rejected = back(model)
    assert reject(model, rejected).status is RequestStatus.REJECTED
    with clock() as time:
        late = approve(model, back(model))
        time.pass_(8 * 24 * 3600)
        with pytest.raises(StaleRequestError, match="is EXPIRED"):
            move(model, late)
    other = approve(model, back(model))
    with pytest.raises(StaleRequestError, match="the artifact is not the one"):
        model.promote(other.request_id, artifact_digest="sha256:other", actor="ann")
    overtaken = approve(model, back(model))
    move(model, approved(model, 3))
    with pytest.raises(StaleRequestError, match="generation 3, not 2"):
        move(model, overtaken)
    assert model.get_alias("churn", "champion").version == 3
    with pytest.raises(PromotionError, match="was at version 2 before, not at 1"):
        back(model, 1)
    assert model.verify_audit() == len(model.audit())


def test_where_no_approval_is_needed_a_request_to_go_back_needs_none(model):
    save(model, approvals=0)
    request = back(model)
    assert (request.status, request.status_reason) == (RequestStatus.APPROVED, "the policy asks for no approval")
    assert move(model, request).version == 1


def test_in_an_emergency_the_named_go_back_at_once_and_loudly(model):
    with pytest.raises(InvalidInputError, match="actor of an emergency rollback"):
        go_back(model, " ")
    with pytest.raises(InvalidInputError, match="The reason of a rollback must not be empty"):
        go_back(model, reason=" ")
    with pytest.raises(StaleRequestError, match=r"is at generation 2 \(version 2\), not at 1"):
        go_back(model, expected_generation=1)
    with pytest.raises(CorruptArtifactError, match="sha256:ab was registered; @champion stays where it is"):
        go_back(model, artifact_digest="sha256:other")
    waiting = approved(model, 3)
    first = go_back(model, key="once", expected_generation=2, artifact_digest=DIGEST)
    assert (first.version, first.generation, first.request_id) == (1, 3, None)
    assert stages(model) == ["Production", "None", "None", "None"]
    for _ in range(2):
        assert go_back(model, key="once", expected_generation=2) == first
    with pytest.raises(InvalidInputError, match="names a move of @champion of 'churn', not of @other"):
        model.rollback("churn", "other", actor="eve", reason="x", key="once")
    entry = next(each for each in model.audit() if each.action == "emergency-rollback")
    assert (entry.actor, entry.reason, entry.before["version"], entry.after["version"]) == ("eve", "it drifts", 2, 1)
    with pytest.raises(StaleRequestError, match=r"moved to version 1 by eve meanwhile \(generation 3, not 2\)"):
        move(model, waiting)
    save(model, emergency=("*",))
    assert go_back(model, "anyone").version == 2
    assert actions(model).count("emergency-rollback") == 2
    assert model.verify_audit() == len(model.audit())


def test_what_was_never_approved_comes_back_in_an_emergency_alone(store):
    churn(store)
    save(store, aliases=("elsewhere",))
    store.set_alias("churn", "champion", 3)
    save(store, emergency=("eve",))
    move(store, approved(store, 1))
    with pytest.raises(PromotionError, match="Version 3 of model 'churn' was never approved for the protected alias"):
        back(store, 3)
    assert go_back(store).version == 3


def test_an_unprotected_alias_goes_back_for_anyone(store):
    churn(store)
    with pytest.raises(NotFoundError):
        store.rollback("churn", "blue", actor="", reason="x")
    store.set_alias("churn", "blue", 1)
    with pytest.raises(PromotionError, match="no previous version to go back to"):
        store.rollback("churn", "blue", actor="", reason="x")
    store.set_alias("churn", "blue", 2)
    with pytest.raises(PromotionError, match="protected by no policy"):
        back(store, alias="blue")
    assert store.rollback("churn", "blue", actor="", reason="x").version == 1
    assert actions(store)[-1] == "rolled-back"
    store.set_alias("churn", "blue", 3)
    store.delete_model_version("churn", 1)
    with pytest.raises(PromotionError, match="Version 1 of model 'churn', where the alias 'blue' was before, was del"):
        store.rollback("churn", "blue", actor="", reason="x")


def test_stages_that_changed_since_stay_and_promotions_without_a_stage_add_none(store):
    churn(store)
    save(store, emergency=("eve",))
    move(store, approved(store, 1, stage="Staging"))
    move(store, approved(store, 2, stage="Production"))
    move(store, approved(store, 2))  # the same version again keeps what it had
    store.transition_stage("churn", 2, Stage.ARCHIVED)
    assert go_back(store).version == 1
    assert stages(store) == ["Staging", "Archived", "None", "None"]
    move(store, approved(store, 3, stage="Production"))
    save(store, name="stages", aliases=(), stages=("Production",))
    assert go_back(store).version == 1
    assert stages(store) == ["Staging", "Archived", "Production", "None"]  # another policy's stage by now
    assert store.verify_audit() == len(store.audit())


def test_a_soak_takes_its_own_move_back_and_nothing_else(model):
    save(model, soak={"seconds": 60.0})
    request = approved(model, 3)
    move(model, request)

    def judged(passed, **changes):
        about = {"key": trial_key(request.key, "soak"), "name": "churn", "version": 3, "alias": "champion"}
        about |= {"spec_digest": "s", "artifact_digest": DIGEST, "champion_generation": 3}
        result = GateResult("auc", passed, "0.4 is below 0.5")
        model.record_gate_result(RecordedGate(**(about | changes), result=result))

    def soaked(request_id=request.request_id):
        return go_back(model, f"policy {request.policy}", failed_soak=request_id, key="soak", expected_generation=3)

    judged(False, version=2)
    for _ in range(2):
        with pytest.raises(PromotionError, match="No gate failed in the soak of the request"):
            soaked()
        judged(True)
    judged(False, spec_digest="t")
    with pytest.raises(PromotionError, match="did not move @champion to where it is"):
        soaked(model.list_requests()[-1].request_id)
    moved = soaked()
    assert (moved.version, moved.generation) == (2, 4)
    assert soaked() == moved
    entry = model.audit()[-1]
    assert (entry.action, entry.actor, entry.evidence_digest[:7]) == ("rolled-back", "policy champions", "sha256:")
    assert model.verify_audit() == len(model.audit())
