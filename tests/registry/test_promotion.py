"""Promotions of real models on a real store: ask, decide, move, roll back, and what must not move."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

import prefect_ml as ml
from prefect_ml.entities import GateResult, Metric, RequestStatus, Stage
from prefect_ml.errors import (
    CorruptArtifactError,
    InvalidInputError,
    NotAllowedError,
    NotFoundError,
    PromotionError,
    ProtectedError,
    StaleRequestError,
)
from prefect_ml.models.folder import save_model
from prefect_ml.registry.metric_gates import BetterThanChampion, MetricThreshold
from prefect_ml.registry.model_gates import Budget, Loads, SignatureCompatible, SignaturePresent
from prefect_ml.registry.policy import PromotionPolicy
from prefect_ml.registry.promotion import decide, describe, move, request_promotion, request_rollback, rollback
from prefect_ml.registry.register import register_model
from prefect_ml.registry.resolve import resolve
from prefect_ml.store import open_store

FEATURES, TARGET = load_diabetes(return_X_y=True, as_frame=True)
MODEL = "diabetes"
STRICT = PromotionPolicy(
    name="champions",
    model_pattern="dia*",
    aliases=("champion",),
    gates=(
        Loads(),
        SignaturePresent(),
        SignatureCompatible(),
        MetricThreshold(metric="r2", minimum=0.2),
        BetterThanChampion(metric="r2"),
        Budget(max_megabytes=5, max_latency_ms=5000, repeats=3),
    ),
    approvals=2,
    approvers=("ann", "bob", "cara"),
    four_eyes=True,
)


@pytest.fixture
def store(tmp_path):
    found = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    yield found
    found.close()


@pytest.fixture
def registered(store, tmp_path):
    """Registers a real model of a regularization, with its r2 on its run."""

    def register(alpha, columns=10):
        features = FEATURES.iloc[:, :columns]
        model = Ridge(alpha).fit(features, TARGET)
        run = store.create_run("0")
        store.log_batch(run.run_id, metrics=[Metric("r2", float(model.score(features, TARGET)), run.start_time)])
        folder = tmp_path / f"model-{run.run_id}"
        save_model(model, folder, input_example=features[:3])
        return register_model(store, str(folder), MODEL, run_id=run.run_id)

    return register


def promoted(store, version, alias="champion"):
    request = request_promotion(store, MODEL, version.version, alias, requester="ann")
    decide(store, request.request_id, approve=True, actor="bob")
    return move(store, request.request_id, actor="bob")


def actions(store):
    return [entry.action for entry in store.audit()]


def test_the_first_promotion_protects_the_alias_and_moves_it_once_approved(store, registered):
    version = registered(1.0)
    request = request_promotion(store, MODEL, version.version, "champion", requester="ann", key="k", stage="Production")
    assert request.status is RequestStatus.PENDING
    assert [(r.gate, r.passed) for r in request.evidence] == [("loads", True), ("signature_present", True)]
    assert request.artifact_digest == version.artifact_digest
    assert (request.base_generation, request.base_version) == (0, None)
    again = {"requester": "ann", "key": "k", "stage": "production"}
    assert request_promotion(store, MODEL, version.version, "champion", **again) == request
    for other in ({"stage": None}, {"alias": "other"}, {"version": 9}, {"name": "other"}):
        asked = {"name": MODEL, "version": version.version, "alias": "champion", **again} | other
        with pytest.raises(InvalidInputError, match="The key 'k' names the request"):
            request_promotion(store, **asked)
    with pytest.raises(PromotionError, match="PENDING"):
        move(store, request.request_id, actor="ann")
    with pytest.raises(NotFoundError):
        store.get_alias(MODEL, "champion")

    decided = decide(store, request.request_id, approve=True, actor=" bob ", reason="good", channel="test")
    assert decided.status is RequestStatus.APPROVED
    alias = move(store, request.request_id, actor="bob")
    assert (alias.version, alias.generation, alias.previous_version) == (version.version, 1, None)
    assert alias.request_id == request.request_id
    assert move(store, request.request_id, actor="bob") == alias
    assert len(store.alias_history(MODEL, "champion")) == 1
    assert store.get_request(request.request_id).status is RequestStatus.PROMOTED
    assert store.get_model_version(MODEL, version.version).stage is Stage.PRODUCTION
    assert resolve(store, f"models:/{MODEL}@champion").digest == version.artifact_digest
    steps = ["policy-saved", "request-created", "request-approved", "stage-changed", "promoted"]
    assert [action for action in actions(store) if action in steps] == steps
    assert store.verify_audit() == len(actions(store))


def test_every_gate_on_real_models_and_two_of_three_approvers(store, registered):
    store.save_policy(STRICT.to_entity(), actor="ops")
    first = request_promotion(store, MODEL, registered(1.0).version, "champion", requester="ann")
    assert [r.summary for r in first.evidence if not r.passed] == []
    with pytest.raises(NotAllowedError):
        decide(store, first.request_id, approve=True, actor="ann")
    with pytest.raises(NotAllowedError):
        decide(store, first.request_id, approve=True, actor="mallory")
    assert decide(store, first.request_id, approve=True, actor="bob").status is RequestStatus.PENDING
    assert decide(store, first.request_id, approve=True, actor="bob").status is RequestStatus.PENDING
    assert decide(store, first.request_id, approve=True, actor="cara").status is RequestStatus.APPROVED
    move(store, first.request_id, actor="cara")

    better = request_promotion(store, MODEL, registered(0.01).version, "champion", requester="ann")
    assert better.status is RequestStatus.PENDING
    assert "better" in {r.gate: r for r in better.evidence}["better_than_champion"].summary
    assert {r.evidence["champion_version"] for r in better.evidence} == {1}
    text = describe(better, store)
    assert "champion (version 1)" in text

    worse = request_promotion(store, MODEL, registered(1000.0).version, "champion", requester="ann")
    assert worse.status is RequestStatus.REJECTED
    assert {r.gate for r in worse.evidence if not r.passed} == {"metric_threshold", "better_than_champion"}
    assert "metric_threshold" in worse.status_reason or "better_than_champion" in worse.status_reason
    with pytest.raises(PromotionError):
        decide(store, worse.request_id, approve=True, actor="bob")
    with pytest.raises(PromotionError, match="REJECTED"):
        move(store, worse.request_id, actor="bob")


def test_a_model_that_takes_more_columns_breaks_the_clients_of_the_champion(store, registered):
    policy = STRICT.model_copy(update={"gates": (SignatureCompatible(),), "approvals": 0, "four_eyes": False})
    store.save_policy(policy.to_entity(), actor="ops")
    first = request_promotion(store, MODEL, registered(1.0, columns=9).version, "champion", requester="ann")
    assert first.status is RequestStatus.APPROVED
    move(store, first.request_id, actor="ann")
    second = request_promotion(store, MODEL, registered(1.0, columns=10).version, "champion", requester="ann")
    assert second.status is RequestStatus.REJECTED
    assert "s6" in second.evidence[0].summary


def test_a_broken_model_fails_its_gates(store, registered):
    version = registered(1.0)
    for path in Path(version.source).rglob("*.skops"):
        path.write_bytes(b"no model")
    request = request_promotion(store, MODEL, version.version, "champion", requester="ann")
    assert request.status is RequestStatus.REJECTED
    assert not {r.gate: r for r in request.evidence}["loads"].passed
    assert "CorruptArtifactError" in {r.gate: r for r in request.evidence}["loads"].summary


def test_a_rejection_needs_a_reason_and_ends_the_request(store, registered):
    request = request_promotion(store, MODEL, registered(1.0).version, "champion", requester="ann")
    for reason in ("", "  \n"):
        with pytest.raises(InvalidInputError, match="rejected"):
            decide(store, request.request_id, approve=False, actor="bob", reason=reason)
    with pytest.raises(InvalidInputError, match="who decides"):
        decide(store, request.request_id, approve=True, actor=" ")
    rejected = decide(store, request.request_id, approve=False, actor="bob", reason="too early")
    assert rejected.status is RequestStatus.REJECTED
    with pytest.raises(PromotionError):
        decide(store, request.request_id, approve=True, actor="cara")
    with pytest.raises(PromotionError, match="too early"):
        move(store, request.request_id, actor="cara")
    with pytest.raises(NotFoundError):
        store.get_alias(MODEL, "champion")


def test_files_changed_after_the_request_do_not_move_the_alias(store, registered):
    version = registered(1.0)
    request = request_promotion(store, MODEL, version.version, "champion", requester="ann")
    decide(store, request.request_id, approve=True, actor="bob")
    example = Path(version.source) / "input_example.json"
    example.write_text(json.dumps({"data": [[0.0]]}))
    with pytest.raises(StaleRequestError):
        move(store, request.request_id, actor="bob")
    assert store.get_request(request.request_id).status is RequestStatus.SUPERSEDED
    with pytest.raises(NotFoundError):
        store.get_alias(MODEL, "champion")


def test_files_that_their_store_refuses_or_misses_end_the_request(store, tmp_path, monkeypatch):
    """A local store keeps the digest of each file; what is not as it was written, it does not give."""
    monkeypatch.setenv("PREFECT_ML_STORE_URL", f"sqlite:///{tmp_path / 'store.db'}")
    for harm in (lambda file: file.write_bytes(b"else"), lambda file: shutil.rmtree(file.parent)):
        with ml.start_run("fits"):
            logged = ml.log_model(Ridge().fit(FEATURES, TARGET), "model", input_example=FEATURES[:3])
        version = register_model(store, logged.uri, MODEL)
        request = request_promotion(store, MODEL, version.version, "champion", requester="ann")
        decide(store, request.request_id, approve=True, actor="bob")
        kept = Path(unquote(urlsplit(resolve(store, f"models:/{MODEL}/{version.version}").source).path))
        harm(kept / "model.skops")
        for _ in range(2):
            with pytest.raises(StaleRequestError, match="SUPERSEDED: the artifact is not the one"):
                move(store, request.request_id, actor="bob")
    with pytest.raises(NotFoundError):
        store.get_alias(MODEL, "champion")


def test_of_two_approved_requests_the_second_is_superseded(store, registered):
    one, two = (
        request_promotion(store, MODEL, registered(alpha).version, "champion", requester="ann") for alpha in (1.0, 2.0)
    )
    for request in (one, two):
        decide(store, request.request_id, approve=True, actor="bob")
    assert move(store, two.request_id, actor="bob").version == two.version
    with pytest.raises(StaleRequestError):
        move(store, one.request_id, actor="bob")
    assert store.get_request(one.request_id).status is RequestStatus.SUPERSEDED
    assert store.get_alias(MODEL, "champion").version == two.version


def test_nothing_but_a_promotion_moves_drops_or_hides_a_protected_alias(store, registered):
    first, second = registered(1.0), registered(2.0)
    promoted(store, first)
    for attempt in (
        lambda: store.set_alias(MODEL, "champion", second.version),
        lambda: store.delete_alias(MODEL, "champion"),
        lambda: store.delete_model_version(MODEL, first.version),
        lambda: store.delete_registered_model(MODEL),
        lambda: store.rename_registered_model(MODEL, "other"),
    ):
        with pytest.raises(ProtectedError, match="promote"):
            attempt()
    assert len(store.alias_history(MODEL, "champion")) == 1
    assert store.get_alias(MODEL, "champion").version == first.version


def test_an_alias_rolls_back_with_a_reason_and_never_to_files_that_changed(store, registered):
    first, second = registered(1.0), registered(2.0)
    promoted(store, first)
    with pytest.raises(PromotionError):
        rollback(store, MODEL, "champion", actor="ann", reason="there is nothing before")
    promoted(store, second)
    with pytest.raises(InvalidInputError, match="rolled back"):
        rollback(store, MODEL, "champion", actor="ann", reason=" ")
    with pytest.raises(ProtectedError, match="Request the rollback, and have it approved"):
        rollback(store, MODEL, "champion", actor="ann", reason="it drifts")
    asked = {"requester": "ann", "reason": " it drifts ", "key": "back"}
    request = request_rollback(store, MODEL, "champion", **asked)
    assert (request.status, request.kind, request.reason) == (RequestStatus.PENDING, "rollback", "it drifts")
    assert [(r.gate, r.passed) for r in request.evidence] == [("files", True)]
    assert request_rollback(store, MODEL, "champion", **asked) == request
    with pytest.raises(InvalidInputError, match="The key 'back' names the request"):
        request_promotion(store, MODEL, first.version, "champion", requester="ann", key="back")
    decide(store, request.request_id, approve=True, actor="bob")
    alias = move(store, request.request_id, actor="bob")
    assert move(store, request.request_id, actor="bob") == alias
    assert (alias.version, alias.generation) == (first.version, 3)
    assert store.alias_history(MODEL, "champion")[-1].reason == "it drifts"
    assert store.verify_audit() == len(store.audit())

    third = registered(3.0)
    promoted(store, third)
    changed = Path(first.source) / "MLmodel"
    changed.write_text(changed.read_text() + "# changed\n")
    with pytest.raises(CorruptArtifactError, match="not those that were registered"):
        rollback(store, MODEL, "champion", actor="ann", reason="it drifts too")
    with pytest.raises(CorruptArtifactError, match="not those that were registered"):
        request_rollback(store, MODEL, "champion", requester="ann", reason="it drifts too")
    assert store.get_alias(MODEL, "champion").version == third.version


def test_an_emergency_and_an_unprotected_alias_go_back_at_once_and_once(store, registered):
    first, second = registered(1.0), registered(2.0)
    policy = PromotionPolicy(name="p", aliases=("champion",), approvals=0, emergency=("eve",))
    store.save_policy(policy.to_entity(), actor="ops")
    for version in (first, second):
        move(store, request_promotion(store, MODEL, version.version, "champion", requester="a").request_id, actor="a")
        store.set_alias(MODEL, "blue", version.version)
    with pytest.raises(PromotionError, match="nobody needs to be asked"):
        request_rollback(store, MODEL, "blue", requester="ann", reason="x")
    assert rollback(store, MODEL, "blue", actor="ann", reason="x").version == first.version
    said = {"actor": "eve", "reason": "fire", "key": "once", "expected_generation": 2}
    gone = rollback(store, MODEL, "champion", **said)
    assert (gone.version, gone.generation) == (first.version, 3)
    assert rollback(store, MODEL, "champion", **said) == gone
    with pytest.raises(StaleRequestError, match="is at generation 3"):
        rollback(store, MODEL, "champion", **said | {"key": "twice"})
    assert actions(store).count("emergency-rollback") == 1


def test_python_moves_a_protected_alias_back_when_approved_or_in_an_emergency(
    store, registered, tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("PREFECT_ML_STORE_URL", f"sqlite:///{tmp_path / 'store.db'}")
    rules = PromotionPolicy(name="p", aliases=("champion",), gates=(), four_eyes=True, emergency=("oncall",))
    store.save_policy(rules.to_entity(), actor="ops", reason="test")
    for _ in range(3):
        promoted(store, registered(1.0))
    with pytest.raises(ProtectedError, match="request_rollback"):
        ml.rollback(MODEL, reason="it drifts", actor="oncall")
    with pytest.raises(ProtectedError, match="emergency clause does not name 'eve'"):
        ml.rollback(MODEL, reason="it drifts", actor="eve", emergency=True)
    asked = ml.request_rollback(MODEL, reason="it drifts", requester="ann")
    with pytest.raises(NotAllowedError):
        ml.approve(asked.request_id, actor="ann")
    ml.approve(asked.request_id, actor="bob")
    assert ml.promote(asked.request_id, actor="bob").version == 2
    promoted(store, registered(1.0))
    assert ml.rollback(MODEL, reason="it drifts", actor="oncall", emergency=True).version == 2
    assert "EMERGENCY: @champion of diabetes went back to version 2" in caplog.text
    assert actions(store)[-1] == "emergency-rollback"
    store.set_alias(MODEL, "steady", 1)
    store.set_alias(MODEL, "steady", 2)
    assert ml.rollback(MODEL, "steady", reason="it drifts").version == 1


def test_what_was_judged_before_a_kill_is_not_judged_again(store, registered):
    version = registered(1.0)
    judged = []

    def until(killed):
        def judge(gate):
            judged.append(gate.name)
            if gate.name == killed:
                raise KeyboardInterrupt
            return GateResult(gate.name, True, "fine", {"champion_generation": 0})

        return judge

    asked = {"requester": "ann", "key": "flow-run-1"}
    with pytest.raises(KeyboardInterrupt):
        request_promotion(store, MODEL, version.version, "champion", **asked, judge=until("signature_present"))
    assert store.list_policies() == []  # the default policy is saved with the request
    request = request_promotion(store, MODEL, version.version, "champion", **asked, judge=until(""))
    assert judged == ["loads", "signature_present", "signature_present"]
    assert [result.gate for result in request.evidence] == ["loads", "signature_present"]
    assert request.judged_at == min(each.at for each in store.get_gate_results("flow-run-1"))
    with pytest.raises(InvalidInputError, match="who asks"):
        request_promotion(store, MODEL, version.version, "fresh", requester=" ")
    assert store.policy_for(MODEL, "fresh") is None


def test_a_version_without_a_digest_whose_files_are_nowhere_cannot_be_promoted(store, registered):
    registered(1.0)
    version = store.create_model_version(MODEL, "/somewhere")
    with pytest.raises(NotFoundError, match="no model folder"):
        request_promotion(store, MODEL, version.version, "champion", requester="ann")


def test_only_the_policy_that_protects_an_alias_judges_it(store, registered):
    version = registered(1.0)
    other = STRICT.model_copy(update={"name": "others", "model_pattern": "churn"})
    store.save_policy(other.to_entity(), actor="ops")
    with pytest.raises(InvalidInputError, match="covers"):
        request_promotion(store, MODEL, version.version, "champion", requester="ann", policy="others")
    with pytest.raises(InvalidInputError, match="does not cover"):
        request_promotion(store, MODEL, version.version, "champion", requester="ann", policy=other)
    request = request_promotion(store, MODEL, version.version, "champion", requester="ann", policy=STRICT)
    assert request.policy == "champions"
    lax = PromotionPolicy(name="lax", model_pattern=MODEL, aliases=("champion",), approvals=0)
    with pytest.raises(InvalidInputError, match="protected by the policy 'champions'"):
        request_promotion(store, MODEL, version.version, "champion", requester="ann", policy=lax)


def test_gates_that_saw_another_champion_are_not_evidence(store, registered):
    first, second, third = registered(1.0), registered(2.0), registered(3.0)
    promoted(store, first)

    def meanwhile(gate):
        from prefect_ml.registry.gate import Candidate
        from prefect_ml.registry.gates import evaluate_gate

        result = evaluate_gate(gate, Candidate.of(store, MODEL, third.version, "champion"))
        if store.get_alias(MODEL, "champion").generation == 1:
            promoted(store, second)
        return result

    with pytest.raises(StaleRequestError, match="moved while the gates ran"):
        request_promotion(store, MODEL, third.version, "champion", requester="ann", judge=meanwhile)
    assert len(store.list_requests(name=MODEL)) == 2
