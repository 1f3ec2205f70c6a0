"""Promotion requests on both databases and behind a server: asked, decided, listed."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType

import pytest
from sqlalchemy import text

from prefect_ml.entities import Decision, GateResult, RecordedGate, RequestStatus, Stage
from prefect_ml.errors import (
    InvalidInputError,
    NotAllowedError,
    NotFoundError,
    PromotionError,
    ProtectedError,
    StaleRequestError,
)
from promoting_at_store import (
    DIGEST,
    PASSED,
    actions,
    approve,
    approved,
    ask,
    churn,
    clock,
    move,
    reject,
    save,
)


@pytest.fixture
def model(store):
    return churn(store)


def test_asked_approved_and_moved(model):
    request = ask(model, stage="production", flow_run_id="run")
    assert (request.status, request.stage, request.flow_run_id) == (RequestStatus.PENDING, "Production", "run")
    assert (request.base_generation, request.base_version) == (0, None)
    assert request.expires_at - request.requested_at == 7 * 24 * 3600 * 1000
    assert request.evidence[1] == PASSED[1]
    assert request.evidence[0].evidence["5"] == [1, 2]
    assert request.evidence_digest.startswith("sha256:")
    frozen = MappingProxyType({"auc": 0.9})
    assert ask(model, 2, evidence=[GateResult("auc", True, "", frozen), PASSED[1]]).evidence[0].evidence == frozen
    assert approve(model, request).status is RequestStatus.APPROVED
    model.set_alias("churn", "other", 2)
    alias = move(model, request, actor="cem")
    assert (alias.version, alias.generation, alias.previous_version) == (1, 1, None)
    assert (alias.moved_by, alias.request_id) == ("cem", request.request_id)
    assert model.get_alias("churn", "champion") == alias
    assert model.get_model_version("churn", 1).stage is Stage.PRODUCTION
    found = model.get_request(request.request_id)
    assert found.status is RequestStatus.PROMOTED
    assert [(d.actor, d.approve, d.reason, d.channel) for d in found.decisions] == [("ann", True, "fine", "test")]
    assert (found.decisions[0].policy, found.decisions[0].policy_version) == ("champions", 1)
    assert abs(found.decisions[0].decided_at - found.requested_at) < 600_000  # not 1, as the decider said
    assert actions(model)[-4:] == ["alias-set", "stage-changed", "promoted", "request-superseded"]
    decided, promoted = (entry for entry in model.audit() if entry.action in ("request-approved", "promoted"))
    assert (decided.after["policy"], decided.after["policy_version"]) == ("champions", 1)
    assert (promoted.evidence_digest, promoted.actor) == (request.evidence_digest, "cem")


def test_a_key_gives_the_same_request_and_none_about_something_else(model):
    first = ask(model, key="once")
    assert ask(model, key="once", evidence=[], requester="someone else") == first
    for other in ({"version": 2}, {"alias": "other"}, {"stage": "Staging"}, {"kind": "rollback", "reason": "x"}):
        with pytest.raises(InvalidInputError, match="The key 'once' names the request"):
            ask(model, **({"key": "once"} | other))
    assert model.get_request_by_key("once") == first
    assert model.get_request_by_key("never") is None
    assert len(model.list_requests()) == 1


def test_a_failed_or_missing_gate_is_a_rejection_from_birth(model):
    failed = ask(model, evidence=[GateResult("auc", False, "0.4 is below 0.5"), PASSED[1]])
    assert (failed.status, failed.status_reason) == (RequestStatus.REJECTED, "the gate 'auc' failed: 0.4 is below 0.5")
    missing = ask(model, 2, evidence=PASSED[:1])
    assert (missing.status, missing.status_reason) == (
        RequestStatus.REJECTED,
        "there is no evidence for the gate 'loads'",
    )
    for request in (failed, missing):
        with pytest.raises(PromotionError, match="is REJECTED"):
            approve(model, request)
        with pytest.raises(PromotionError, match="is REJECTED"):
            move(model, request)


def test_a_gate_that_passed_only_nearly_is_none(model, place):
    """What is sent has the types that it should have."""
    evidence = [GateResult("auc", "yes", ""), PASSED[1]]
    if place == "http":
        with pytest.raises(InvalidInputError, match="passed must be True or False, got 'yes'"):
            ask(model, evidence=evidence)
    else:
        assert ask(model, evidence=evidence).status is RequestStatus.REJECTED


def test_no_approval_is_asked_where_the_policy_asks_none(model):
    save(model, approvals=0)
    request = ask(model)
    assert request.status is RequestStatus.APPROVED
    assert move(model, request).generation == 1


def test_approvals_count_people_and_a_person_may_change_their_mind(model):
    save(model, approvals=2, approvers=("ann", "bob", "cem"))
    request = ask(model)
    assert approve(model, request).status is RequestStatus.PENDING
    again = approve(model, request)
    assert (again.status, len(again.decisions)) == (RequestStatus.PENDING, 1)
    with pytest.raises(NotAllowedError, match=r"'eve' is no approver of the policy 'champions'; ask one of ann, bob"):
        approve(model, request, "eve")
    with pytest.raises(PromotionError, match=r"is PENDING; only an approved one moves its alias. Approve it first"):
        move(model, request)
    done = approve(model, request, "bob")
    assert (done.status, done.status_reason) == (RequestStatus.APPROVED, "approved by ann, bob")
    assert approve(model, request, "bob") == done
    with pytest.raises(PromotionError, match="is APPROVED"):
        approve(model, request, "cem")
    other = ask(model, 2)
    approve(model, other)
    assert reject(model, other).status is RequestStatus.REJECTED
    assert reject(model, other).status is RequestStatus.REJECTED
    with pytest.raises(PromotionError, match="is REJECTED"):
        approve(model, other, "bob")


def test_nobody_counts_twice(model):
    save(model, approvals=2)
    request = ask(model)
    for name in ("ann", "Ann", " ann "):
        assert approve(model, request, name).status is RequestStatus.PENDING
    assert approve(model, request, "cem").status is RequestStatus.APPROVED


def test_four_eyes_and_words(model):
    save(model, four_eyes=True)
    request = ask(model)
    for decision in (approve, reject):
        for name in ("bob", " Bob", "ＢＯＢ"):  # noqa: RUF001  the same name in other letters
            with pytest.raises(NotAllowedError, match=r"'.*' asked for the promotion .* wants four eyes"):
                decision(model, request, name)
    with pytest.raises(InvalidInputError, match="True or False, got 'no'"):
        model.decide(request.request_id, Decision("ann", "no", "", 1))
    with pytest.raises(InvalidInputError, match="The reason of a rejection must not be empty"):
        model.decide(request.request_id, Decision("ann", False, "  ", 1))
    with pytest.raises(InvalidInputError, match="The actor of a decision must not be empty"):
        model.decide(request.request_id, Decision("", True, "", 1))
    with pytest.raises(InvalidInputError, match="The actor of a decision has 201 characters; at most 200"):
        model.decide(request.request_id, Decision("a" * 201, True, "", 1))
    with pytest.raises(InvalidInputError, match="at most 2000"):
        model.decide(request.request_id, Decision("ann", True, "x" * 2001, 1))
    with pytest.raises(InvalidInputError, match=r"(The time of a decision|decided_at) must be an integer"):
        model.decide(request.request_id, Decision("ann", True, "", 1.5))
    assert model.get_request(request.request_id) == request


def test_a_request_whose_time_is_over_can_be_neither_decided_nor_carried_out(model):
    pending, ready = ask(model), approved(model, 2)
    with clock() as time:
        time.pass_(8 * 24 * 3600)
        for request in (pending, ready):
            assert model.get_request(request.request_id).status is RequestStatus.EXPIRED
        assert len(model.list_requests(status=RequestStatus.EXPIRED)) == 2
        assert model.list_requests(status=RequestStatus.PENDING) == []
        with pytest.raises(PromotionError, match="is EXPIRED"):
            approve(model, pending)
        with pytest.raises(StaleRequestError, match="is EXPIRED: its time is over"):
            move(model, ready)
    with pytest.raises(StaleRequestError, match="is EXPIRED"):
        move(model, ready)
    assert actions(model)[-2:] == ["request-expired", "request-expired"]
    assert stored(model) == {"EXPIRED"}
    save(model, expires_after=0.001)
    brief = ask(model, 3)
    assert brief.expires_at == brief.requested_at + 1


def stored(store):
    with store.database.read() as connection:
        return set(connection.execute(text("SELECT status FROM promotion_requests")).scalars())


def test_only_the_policy_in_force_can_be_asked_under(model):
    save(model, name="lax", model_pattern="lab", approvals=0, gates=())
    lax = {"policy": "lax", "policy_version": 1, "evidence": []}
    with pytest.raises(
        PromotionError, match="protected by version 1 of the policy 'champions', not by version 1 of 'lax'"
    ):
        ask(model, **lax)
    with pytest.raises(PromotionError, match="protected by no policy"):
        ask(model, alias="free")
    save(model, approvals=2)
    with pytest.raises(PromotionError, match="protected by version 2"):
        ask(model, policy_version=1)
    save(model, name="stages", aliases=(), stages=("Production",))
    with pytest.raises(
        PromotionError, match="The stage 'Production' of model 'churn' is protected by the policy 'stages'"
    ):
        ask(model, stage="Production")
    assert ask(model, stage="Staging").status is RequestStatus.PENDING


def test_what_cannot_be_meant_is_refused_and_leaves_nothing(model):
    rows = len(model.audit())
    for changes in (
        {"key": ""},
        {"key": None},
        {"requester": " "},
        {"requester": "r" * 201},
        {"evidence": [GateResult("auc", True, "", {"version": 2}), PASSED[1]]},
        {"evidence": [GateResult("auc", True, "", {"artifact_digest": "sha256:other"}), PASSED[1]]},
        {"kind": "rollback"},
        {"kind": "rollback", "reason": "x", "stage": "Staging"},
        {"alias": "latest"},
        {"stage": "Nowhere"},
        {"version": "1"},
        {"artifact_digest": "sha256:other"},
        {"evidence": [GateResult("auc", True, "", {"model": object()})]},
        {"evidence": [GateResult("auc", True, "", {"curve": "x" * 1_000_001})]},
        {"flow_run_id": 5},
    ):
        with pytest.raises(InvalidInputError):
            ask(model, **changes)
    with pytest.raises(NotFoundError):
        ask(model, 9)
    with pytest.raises(NotFoundError):
        ask(model, name="nobody")
    for call in (
        lambda: model.get_request("nope"),
        lambda: model.get_request("a\x00"),
        lambda: model.decide("nope", Decision("ann", True, "", 1)),
        lambda: model.promote("nope", artifact_digest=DIGEST, actor="ann"),
    ):
        with pytest.raises(NotFoundError, match="There is no promotion request"):
            call()
    for request_id in ("\ud800", None):
        with pytest.raises((NotFoundError, InvalidInputError)):  # the latter where it cannot even be sent
            model.get_request(request_id)
    assert (len(model.audit()), model.list_requests()) == (rows, [])


def test_requests_are_listed_newest_first(model):
    first, second = ask(model), approved(model, 2)
    assert [r.request_id for r in model.list_requests()] == [second.request_id, first.request_id]
    assert model.list_requests(max_results=1, with_evidence=True)[0].evidence[0].evidence["auc"] == 0.9
    [listed] = model.list_requests(status=RequestStatus.PENDING, name="churn")
    assert listed.evidence == tuple(GateResult(each.gate, each.passed, each.summary) for each in PASSED)
    assert dataclasses.replace(listed, evidence=first.evidence) == first
    assert model.list_requests(name="other") == []


def test_what_a_gate_found_is_recorded_once_and_counts_only_for_what_it_is_about(model):
    def recorded(passed=True, generation=0, summary="0.9", **changes):
        about = {"key": "once", "name": "churn", "version": 1, "alias": "champion"}
        about |= {"spec_digest": "sha256:s", "artifact_digest": DIGEST, "champion_generation": generation}
        result = GateResult("auc", passed, summary, {"auc": 0.9})
        return model.record_gate_result(RecordedGate(**(about | changes), result=result))

    first = recorded()
    assert first.at > 1_700_000_000_000
    assert recorded(False, summary="another attempt") == first
    assert model.get_gate_results("once") == [first]
    for change in ({"spec_digest": "sha256:t"}, {"artifact_digest": "sha256:x"}, {"generation": 1}, {"version": 2}):
        assert recorded(False, **change).result.passed is False
    assert len(model.get_gate_results("once")) == 1
    found = recorded()
    with pytest.raises(InvalidInputError, match="is not what was recorded when it was judged"):
        ask(model, key="once", evidence=[GateResult("auc", True, "1.0", {"auc": 1.0}), PASSED[1]])
    request = ask(model, key="once", evidence=[found.result, PASSED[1]])
    assert request.judged_at == found.at
    assert recorded() == found
    with pytest.raises(PromotionError, match="its evidence is closed"):
        recorded(generation=1)
    with pytest.raises(InvalidInputError, match=r"(True or False|passed must be)"):
        recorded(passed="yes", key="other")
    move(model, approve(model, request))
    for seen in ({"evidence": [GateResult("auc", True, "", {"champion_generation": 0}), PASSED[1]]}, {"key": "late"}):
        if "key" in seen:
            seen["evidence"] = [recorded(key="late").result, PASSED[1]]
        with pytest.raises(StaleRequestError, match="moved while the gates ran"):
            ask(model, **seen)
    assert model.verify_audit() == len(model.audit())


def test_a_stage_that_a_policy_without_aliases_protects_is_asked_for_with_any_free_alias(model):
    save(model, name="stages", model_pattern="lab", aliases=(), stages=("Production",), gates=())
    model.create_registered_model("lab")
    for _ in range(2):
        model.create_model_version("lab", "s", artifact_digest=DIGEST)
    given = {"name": "lab", "alias": "live", "evidence": [], "policy": "stages", "policy_version": 1}
    with pytest.raises(PromotionError, match="protected by no policy"):
        ask(model, **given)
    for version in (1, 2):
        move(model, approved(model, version, **given, stage="Production"))
    assert [model.get_model_version("lab", n).stage.value for n in (1, 2)] == ["Archived", "Production"]
    assert model.policy_for("lab", "live") is None
    assert model.policy_for("lab", "live", stages=["None", "Production"]).name == "stages"
    with pytest.raises(ProtectedError, match="protected by policy 'stages', whose emergency clause does not name"):
        model.rollback("lab", "live", actor="ann", reason="worse")
    move(model, approved(model, 1, **given, kind="rollback", reason="worse"))
    assert [model.get_model_version("lab", n).stage.value for n in (1, 2)] == ["Production", "None"]
    assert model.get_alias("lab", "live").version == 1
