"""A champion that has decayed: what its policy says is done with it, in one transaction."""

from __future__ import annotations

import pytest

from prefect_ml.entities import Decay, GateResult, Policy
from prefect_ml.errors import InvalidInputError, NotFoundError, PromotionError

FAILED = [
    GateResult("auc", passed=False, summary="0.6 is below 0.9", evidence={"value": 0.6}),
    GateResult("loads", passed=True, summary=""),
]


@pytest.fixture
def champion(store):
    """A model whose second version holds the protected alias, and what promotes another."""
    store.create_registered_model("churn")
    for number in (1, 2, 3):
        store.create_model_version("churn", f"s3://models/{number}", artifact_digest="sha256:1")
    protect(store, "nothing")

    def promote(version):
        policy = store.get_policy("p")
        asked = store.create_request(
            key=f"k{version}-{len(store.alias_history('churn', 'champion'))}",
            name="churn",
            version=version,
            alias="champion",
            stage=None,
            requester="ann",
            artifact_digest="sha256:1",
            evidence=[],
            policy="p",
            policy_version=policy.version,
        )
        return store.promote(asked.request_id, artifact_digest="sha256:1", actor="ann")

    promote(1)
    promote(2)
    return promote


def protect(store, on_decay):
    policy = Policy("p", 0, "churn", ("champion",), approvals=0, on_decay=on_decay)
    store.save_policy(policy, actor="ops", reason="for this test")


def decay(store, generation, evidence=FAILED):
    return store.record_decay(
        "churn", "champion", generation=generation, evidence=evidence, actor="nightly", reason="it fails auc"
    )


def last(store):
    return store.audit(subject="models:/churn@champion")[-1]


@pytest.mark.usefixtures("champion")
def test_it_is_recorded_and_stays_where_the_policy_says_nothing(store):
    assert decay(store, 2) is Decay.NOTHING
    assert store.get_alias("churn", "champion").version == 2
    row = last(store)
    assert (row.action, row.actor, row.reason) == ("decayed", "nightly", "it fails auc")
    assert row.before == {"version": 2, "generation": 2}
    assert row.after["gates"] == {"auc": False, "loads": True}
    assert (row.after["policy"], row.after["done"]) == ("p", "nothing")
    assert row.evidence_digest.startswith("sha256:")
    assert store.verify_audit() == len(store.audit())


def test_it_goes_back_but_never_to_one_that_decayed_before(store, champion):
    protect(store, "rollback")
    assert decay(store, 2) is Decay.ROLLED_BACK
    alias = store.get_alias("churn", "champion")
    assert (alias.version, alias.generation, alias.moved_by) == (1, 3, "nightly")
    assert [row.action for row in store.audit(subject="models:/churn@champion")][-2:] == ["decayed", "rolled-back"]
    assert decay(store, 3) is Decay.NOTHING_BEFORE
    assert store.get_alias("churn", "champion").version == 1
    # Approved again, it is a version to go back to.
    champion(2)
    champion(3)
    assert decay(store, 5) is Decay.ROLLED_BACK
    assert store.get_alias("churn", "champion").version == 2
    assert store.verify_audit() == len(store.audit())


@pytest.mark.usefixtures("champion")
def test_the_alias_is_removed_where_the_policy_says_so(store):
    protect(store, "remove")
    assert decay(store, 2) is Decay.REMOVED
    with pytest.raises(NotFoundError):
        store.get_alias("churn", "champion")
    assert last(store).action == "alias-deleted"
    assert decay(store, 2) is Decay.MOVED_MEANWHILE
    assert store.verify_audit() == len(store.audit())


@pytest.mark.usefixtures("champion")
def test_one_that_moved_meanwhile_is_left_alone(store):
    protect(store, "remove")
    rows = len(store.audit())
    assert decay(store, 1) is Decay.MOVED_MEANWHILE
    assert store.get_alias("churn", "champion").version == 2
    assert len(store.audit()) == rows


@pytest.mark.usefixtures("champion")
def test_what_has_not_decayed_or_is_not_protected_is_refused(store):
    with pytest.raises(InvalidInputError, match="No gate failed"):
        decay(store, 2, [GateResult("loads", passed=True, summary="")])
    with pytest.raises(InvalidInputError, match="No gate failed"):
        decay(store, 2, [])
    store.set_alias("churn", "tried", 3)
    with pytest.raises(PromotionError, match="No policy protects"):
        store.record_decay("churn", "tried", generation=1, evidence=FAILED, actor="nightly", reason="x")
