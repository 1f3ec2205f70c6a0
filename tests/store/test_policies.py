"""Policies, and that nothing but a promotion moves what they protect."""

from __future__ import annotations

import dataclasses
import inspect
import json

import pytest
from sqlalchemy import select, update

from prefect_ml.entities import Decision, GateResult, Policy, RecordedGate, Stage
from prefect_ml.errors import InvalidInputError, NotFoundError, PrefectMLError, PromotionError, ProtectedError
from prefect_ml.store.contract import ModelStore, PromotionStore
from prefect_ml.store.registry_tables import policies

GATES = ({"name": "auc", "kind": "metric_threshold", "minimum": 0.5},)
CHAMPIONS = Policy("champions", 0, "churn*", ("champion", "shadow"), ("Production",), GATES, approvers=("ann",))
DIGEST = "sha256:ab"


@pytest.fixture
def model(store):
    """Model `churn` with four versions: champion on 2 after 1, both by promotion; version 2 in Production."""
    store.create_registered_model("churn", tags={"a": "b"})
    for _ in range(4):
        store.create_model_version("churn", "s", artifact_digest=DIGEST, tags={"a": "b"})
    store.save_policy(CHAMPIONS, actor="ops")
    for version in (1, 2):
        promote(store, version, stage="Production")
    return store


def promote(store, version, stage=None, alias="champion"):
    request = store.create_request(
        key=f"{alias} {version}",
        name="churn",
        version=version,
        alias=alias,
        stage=stage,
        requester="bob",
        artifact_digest=DIGEST,
        evidence=[GateResult("auc", True, "0.9", {"auc": 0.9})],
        policy="champions",
        policy_version=store.get_policy("champions").version,
    )
    store.decide(request.request_id, Decision("ann", True, "fine", 1, "test"))
    return store.promote(request.request_id, artifact_digest=DIGEST, actor="ann")


def test_each_version_of_a_policy_is_kept(store):
    saved = store.save_policy(dataclasses.replace(CHAMPIONS, version=7), actor="ops")
    assert (saved.version, saved.saved_by, saved.gates) == (1, "ops", GATES)
    assert saved.saved_at > 1_700_000_000_000
    assert store.save_policy(CHAMPIONS, actor="someone else", reason="again") == saved
    second = store.save_policy(dataclasses.replace(CHAMPIONS, approvals=2), actor="ops", reason="more")
    assert (second.version, second.approvals) == (2, 2)
    third = store.save_policy(CHAMPIONS, actor="ops")
    assert (third.version, third.approvals) == (3, 1)
    assert [store.get_policy("champions", n).approvals for n in (1, 2, 3)] == [1, 2, 1]
    assert store.get_policy("champions") == third
    store.save_policy(dataclasses.replace(CHAMPIONS, name="a"), actor="ops")
    assert [(p.name, p.version) for p in store.list_policies()] == [("a", 1), ("champions", 3)]
    assert [e.action for e in store.audit(subject="policies:/champions")] == ["policy-saved"] * 3
    for wanted in (("nope", None), ("champions", 4)):
        with pytest.raises(NotFoundError, match="There is no policy"):
            store.get_policy(*wanted)


def test_the_first_policy_by_name_that_covers_an_alias(store):
    for name, pattern, aliases in (("b", "churn-*", ("champion",)), ("a", "churn-[xy]", ("champion", "other"))):
        store.save_policy(Policy(name, 0, pattern, aliases), actor="ops")
    for name, alias, expected in (
        ("churn-x", "champion", "a"),
        ("churn-z", "champion", "b"),
        ("churn-z", "other", None),
        ("Churn-z", "champion", None),
        ("churn", "champion", None),
        ("churn-x", "Champion", None),
    ):
        found = store.policy_for(name, alias)
        assert (found and found.name) == expected, (name, alias)


def test_a_policy_that_cannot_be_is_refused(store):
    for change in (
        {"name": ""},
        {"name": "a\x00"},
        {"model_pattern": " "},
        {"aliases": ("latest",)},
        {"aliases": ("a b",)},
        {"stages": ("None",)},
        {"stages": ("Nowhere",)},
        {"approvals": -1},
        {"approvals": 101},
        {"approvals": True},
        {"approvals": 1.0},
        {"expires_after": 0},
        {"expires_after": float("nan")},
        {"expires_after": float("inf")},
        {"gates": ({"kind": "loads"},)},
        {"gates": ({"name": "a"}, {"name": "a"})},
        {"gates": ({"name": "a", "what": object()},)},
        {"gates": ({"name": ["a"]},)},
        {"gates": ("loads",)},
        {"approvers": ("",)},
        {"approvers": ("a" * 201,)},
        {"approval_valid_for": -1.0},
        {"evidence_valid_for": float("nan")},
        {"canary": {"alias": "trial"}},
        {"canary": {"alias": "champion", "seconds": 1.0}},
        {"canary": {"alias": "trial", "seconds": 0}},
        {"canary": {"alias": "trial", "seconds": 1.0, "more": 1}},
        {"soak": {"seconds": "1"}},
        {"on_rejection": {"tags": ["rejected"]}},
        {"on_rejection": {"drop_aliases": "trial"}},
        {"on_rejection": {"drop_aliases": ["shadow"]}},
        {"emergency": ("",)},
        {"on_decay": "explode"},
        {"notify": ("",)},
    ):
        with pytest.raises(InvalidInputError):
            store.save_policy(dataclasses.replace(CHAMPIONS, **change), actor="ops")
    assert store.list_policies() == []


def test_a_policy_says_all_that_it_was_given(store):
    full = dataclasses.replace(
        CHAMPIONS,
        approval_valid_for=60,
        evidence_valid_for=90.0,
        canary={"alias": "trial", "seconds": 600},
        soak={"seconds": 600.0},
        on_rejection={"tags": {"promotion": "rejected"}},
        emergency=("*",),
        on_decay="rollback",
        notify=("slack-webhook/oncall",),
    )
    store.save_policy(full, actor="ops")
    kept = store.get_policy("champions")
    assert (kept.approval_valid_for, kept.evidence_valid_for) == (60.0, 90.0)
    assert (kept.canary, kept.soak) == ({"alias": "trial", "seconds": 600.0}, {"seconds": 600.0})
    assert kept.on_rejection == {"tags": {"promotion": "rejected"}, "drop_aliases": []}
    assert (kept.emergency, kept.on_decay, kept.notify) == (("*",), "rollback", ("slack-webhook/oncall",))


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_releases_before_and_after_read_each_others_policies(store):
    store.save_policy(CHAMPIONS, actor="ops")
    with store.database.read() as connection:
        content = json.loads(connection.execute(select(policies.c.content)).scalar_one())
    first = {"model_pattern", "aliases", "stages", "gates", "approvals", "approvers", "four_eyes", "expires_after"}
    assert set(content) == first
    later = json.dumps({**content, "of_a_later_release": {"deep": 1}})
    store.database.write(lambda connection: connection.execute(update(policies).values(content=later)))
    assert store.save_policy(CHAMPIONS, actor="ops") == store.get_policy("champions", 1)


def test_taking_protection_away_needs_a_reason_and_is_audited(model):
    without_alias = dataclasses.replace(CHAMPIONS, aliases=("shadow",))
    without_stage = dataclasses.replace(CHAMPIONS, stages=())
    elsewhere = dataclasses.replace(CHAMPIONS, model_pattern="other")
    for change, what in ((without_alias, "churn@champion"), (without_stage, "the stage Production of churn")):
        with pytest.raises(ProtectedError, match=f"would take protection from {what}. Give a reason"):
            model.save_policy(change, actor="mallory", reason="  ")
    with pytest.raises(ProtectedError, match="from churn@champion, take protection from the stage Production of churn"):
        model.save_policy(elsewhere, actor="mallory")
    assert model.get_policy("champions").version == 1
    # what another policy protects, or nothing is on, is not lost
    model.save_policy(dataclasses.replace(CHAMPIONS, aliases=("champion",)), actor="ops")
    model.save_policy(dataclasses.replace(CHAMPIONS, name="twin"), actor="ops")
    model.save_policy(elsewhere, actor="ops", reason="")
    model.save_policy(dataclasses.replace(elsewhere, name="twin"), actor="ops", reason="the project ended")
    last = model.audit()[-1]
    assert (last.action, last.reason) == ("policy-saved", "the project ended")
    assert last.after["weakened"] == [
        "take protection from churn@champion",
        "take protection from the stage Production of churn",
    ]
    assert model.set_alias("churn", "champion", 3).generation == 3


def test_weakening_protection_needs_a_reason_too(model):
    strict = dataclasses.replace(
        CHAMPIONS,
        approvals=2,
        approvers=("ann", "bob"),
        four_eyes=True,
        approval_valid_for=60.0,
        evidence_valid_for=60.0,
        canary={"alias": "trial", "seconds": 60.0},
        soak={"seconds": 60.0},
        emergency=("eve",),
    )
    model.save_policy(strict, actor="ops", reason="one approver became two")
    for change in (
        {"expires_after": strict.expires_after + 1},
        {"approval_valid_for": 0.0},
        {"approval_valid_for": 61.0},
        {"evidence_valid_for": 0.0},
        {"canary": None},
        {"canary": {"alias": "trial", "seconds": 5.0}},
        {"soak": None},
        {"soak": {"seconds": 5.0}},
        {"emergency": ("*",)},
        {"emergency": ("eve", "mallory")},
        {"approvals": 1},
        {"approvers": ()},
        {"approvers": ("ann", "bob", "mallory")},
        {"four_eyes": False},
        {"gates": ()},
        {"gates": ({**GATES[0], "minimum": 0.1},)},
    ):
        lax = dataclasses.replace(strict, **change)
        with pytest.raises(ProtectedError, match="would weaken the protection of churn@champion, weaken"):
            model.save_policy(lax, actor="mallory")
    stricter = dataclasses.replace(
        strict,
        approvals=3,
        gates=(*GATES, {"name": "loads"}),
        expires_after=60.0,
        approval_valid_for=30.0,
        evidence_valid_for=30.0,
        canary={"alias": "other", "seconds": 90.0},
        soak={"seconds": 90.0},
        emergency=(),
        on_decay="remove",
    )
    assert model.save_policy(stricter, actor="ops").version == 3
    assert model.save_policy(dataclasses.replace(strict, name="z", approvals=0), actor="ops").version == 1


def test_no_policy_takes_over_what_another_one_protects(model):
    """Not even with a reason, and not for an alias that is not set yet."""
    for first in (
        Policy("a", 0, "*", ("champion",), approvals=0),
        Policy("a", 0, "churn", ("shadow",), approvals=9),
        Policy("a", 0, "ch*", ("free",), ("Production",)),
    ):
        words = r"of model 'churn' is protected by policy 'champions' already, and 'a' would take it over"
        with pytest.raises(ProtectedError, match=words):
            model.save_policy(first, actor="mallory", reason="because")
    model.save_policy(Policy("a", 0, "lab", ("champion",)), actor="ops")
    with pytest.raises(ProtectedError, match="Change 'champions', or leave the alias out of 'a'"):
        model.save_policy(Policy("a", 0, "*", ("champion",)), actor="mallory", reason="wider")
    assert model.save_policy(Policy("a", 0, "*", ("free",)), actor="ops").version == 2
    assert model.save_policy(dataclasses.replace(CHAMPIONS, name="z", approvals=0), actor="ops").version == 1
    assert model.policy_for("churn", "champion").name == "champions"


def test_of_many_losses_some_are_named(store):
    store.save_policy(Policy("p", 0, "*", ("champion",)), actor="ops")
    store.save_policy(Policy("p", 0, "none", ("champion",)), actor="ops")
    for number in range(25):
        store.create_registered_model(f"m{number:02}")
        store.create_model_version(f"m{number:02}", "s")
        store.set_alias(f"m{number:02}", "champion", 1)
    store.save_policy(Policy("p", 0, "*", ("champion",)), actor="ops")
    with pytest.raises(ProtectedError, match=r"from m00@champion, .* from m19@champion, do as much to 5 more. Give"):
        store.save_policy(Policy("p", 0, "none", ("champion",)), actor="ops")


def test_each_way_around_says_how_to_ask(model):
    ask = "prefect-ml promote churn"
    alias = "The alias 'champion' of model 'churn' is protected by policy 'champions'. Request a promotion: "
    stage = "The stage 'Production' of model 'churn' is protected by policy 'champions'. Request a promotion: "
    for call, words in (
        (lambda: model.set_alias("churn", "champion", 3), f"{alias}{ask} 3 --alias champion"),
        (lambda: model.set_alias("churn", "shadow", 3), f"{ask} 3 --alias shadow"),
        (lambda: model.delete_alias("churn", "champion"), alias),
        (lambda: model.transition_stage("churn", 3, Stage.PRODUCTION), f"{stage}{ask} 3 --alias champion --stage"),
        (lambda: model.transition_stage("churn", 2, Stage.ARCHIVED), stage),
        (lambda: model.transition_stage("churn", 3, Stage.PRODUCTION, archive_existing=True), stage),
        (lambda: model.delete_model_version("churn", 2), alias),
        (lambda: model.delete_registered_model("churn"), alias),
        (lambda: model.rename_registered_model("churn", "elsewhere"), alias),
    ):
        with pytest.raises(ProtectedError) as raised:
            call()
        assert words in str(raised.value)
    assert model.get_alias("churn", "champion").generation == 2


def test_nothing_is_renamed_into_or_out_of_protection(model):
    model.create_registered_model("lab")
    model.create_model_version("lab", "s")
    model.set_alias("lab", "champion", 1)
    with pytest.raises(ProtectedError, match="The alias 'champion' of model 'churn-2' is protected"):
        model.rename_registered_model("lab", "churn-2")
    model.delete_alias("lab", "champion")
    model.transition_stage("lab", 1, Stage.PRODUCTION)
    with pytest.raises(ProtectedError, match="The stage 'Production' of model 'churn-2' is protected"):
        model.rename_registered_model("lab", "churn-2")
    model.transition_stage("lab", 1, Stage.NONE)
    assert model.rename_registered_model("lab", "churn-2").name == "churn-2"


def test_what_is_not_protected_stays_free(model):
    assert model.set_alias("churn", "candidate", 3).generation == 1
    assert model.transition_stage("churn", 4, Stage.STAGING).stage is Stage.STAGING
    model.delete_alias("churn", "shadow")
    model.delete_model_version("churn", 4)
    model.delete_model_version("churn", 1)
    with pytest.raises(PromotionError, match="Version 1 of model 'churn', where the alias 'champion' was before"):
        model.rollback("churn", "champion", actor="ann", reason="back")


# What each parameter of a write is given, so that every write meets the protected alias, stage, version and model.
GIVEN = {
    "name": ["churn"],
    "new_name": ["churn-2", "elsewhere"],
    "alias": ["champion", "shadow", "candidate"],
    "version": [1, 2, 3],
    "stage": list(Stage),
    "archive_existing": [False, True],
    "key": ["a", "mlflow.prompt.is_prompt"],
    "value": ["true"],
    "source": ["s"],
    "description": ["words"],
    "actor": ["mallory"],
    "requester": ["mallory"],
    "policy_version": [1, 2],
    "evidence": [[], [GateResult("auc", True, "fake")]],
    "artifact_digest": [DIGEST],
    "request_id": ["request"],
    "recorded": [RecordedGate("a", "churn", 3, "champion", "sha256:1", DIGEST, 2, GateResult("auc", True, "fake"))],
    "sequence": [10**9],
    "digest": [DIGEST],
    "reason": ["because"],
    "generation": [2],
    "decision": [Decision("mallory", True, "", 1), Decision("mallory", False, "no", 1)],
}
GIVEN_TO = {
    "save_policy": {
        "policy": [
            dataclasses.replace(CHAMPIONS, model_pattern="none"),
            dataclasses.replace(CHAMPIONS, aliases=("shadow",), stages=()),
            Policy("aaa", 0, "none", ("champion",), approvals=0),
        ],
    },
    "create_request": {"version": [3], "stage": [None, "Production"], "policy": ["champions", "aaa"]},
}
READS = ("get_", "search_", "list_", "told_up_to", "audit", "verify_", "latest_versions", "alias_", "policy_for")
# The two ways in which a protected alias may move; they have tests of their own.
MOVES = {"promote", "rollback"}


def writes():
    """Each public write of the registry."""
    for protocol in (ModelStore, PromotionStore):
        for name, method in inspect.getmembers(protocol, inspect.isfunction):
            if not name.startswith(("_", *READS)) and name not in MOVES:
                yield name, list(inspect.signature(method).parameters.values())[1:]


def calls(name, parameters):
    """Every combination of the values that a write's needed parameters, and `archive_existing`, are given."""
    combined = [{}]
    for parameter in parameters:
        if parameter.default is inspect.Parameter.empty or parameter.name == "archive_existing":
            values = (GIVEN | GIVEN_TO.get(name, {}))[parameter.name]
            combined = [{**some, parameter.name: value} for some in combined for value in values]
    return combined


def fingerprint(store):
    alias = store.get_alias("churn", "champion")
    production = [v.version for v in store.latest_versions("churn", [Stage.PRODUCTION])]
    return alias, store.get_model_version("churn", alias.version).source, production


def test_no_public_write_moves_a_protected_alias(model):
    before = fingerprint(model)
    names = {name for name, _ in writes()}
    assert {"set_alias", "rename_registered_model", "save_policy", "decide", "create_request"} <= names
    refused = set()
    pending = model.create_request(
        key="open",
        name="churn",
        version=3,
        alias="champion",
        stage=None,
        requester="bob",
        artifact_digest=DIGEST,
        evidence=[GateResult("auc", True, "0.9")],
        policy="champions",
        policy_version=1,
    ).request_id
    for name, parameters in writes():
        for given in calls(name, parameters):
            if "request_id" in given:
                given["request_id"] = pending
            if name == "create_request":
                given |= {"key": str(given)}
            try:
                getattr(model, name)(**given)
            except PrefectMLError as error:
                if isinstance(error, ProtectedError):
                    refused.add(name)
            assert fingerprint(model) == before, (name, given)
    for request in model.list_requests(max_results=1000):
        if request.requester == "mallory" or request.request_id == pending:
            with pytest.raises(PrefectMLError):
                model.promote(request.request_id, artifact_digest=DIGEST, actor="mallory")
    assert fingerprint(model) == before
    assert refused == {
        "set_alias",
        "delete_alias",
        "transition_stage",
        "delete_model_version",
        "delete_registered_model",
        "rename_registered_model",
        "save_policy",
    }
    assert model.verify_audit() == len(model.audit(max_results=50_000))
