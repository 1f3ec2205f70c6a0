import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from prefect_ml.errors import InvalidInputError
from prefect_ml.registry.metric_gates import BetterThanChampion, MetricThreshold
from prefect_ml.registry.model_gates import Budget, Loads, SignatureCompatible, SignaturePresent
from prefect_ml.registry.policy import Canary, OnRejection, PromotionPolicy, Soak, default_policy

finite = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=30)
gates = st.one_of(
    st.builds(MetricThreshold, metric=text, minimum=finite),
    st.builds(BetterThanChampion, metric=text, margin=st.floats(0, 1e9)),
    st.builds(Loads, require_example=st.booleans()),
    st.builds(SignaturePresent),
    st.builds(SignatureCompatible),
    st.builds(Budget, max_megabytes=st.floats(0.1, 1e6), repeats=st.integers(1, 1000)),
)
policies = st.builds(
    PromotionPolicy,
    name=text,
    model_pattern=text,
    aliases=st.lists(text, min_size=1, max_size=3).map(tuple),
    stages=st.sampled_from([(), ("Production",), ("Staging", "Production")]),
    gates=st.lists(gates, unique_by=lambda gate: gate.name, max_size=5).map(tuple),
    approvals=st.integers(1, 3),
    four_eyes=st.booleans(),
    expires_after=st.floats(1, 86400.0),
    approval_valid_for=st.sampled_from([0.0, 60.0]),
    evidence_valid_for=st.sampled_from([0.0, 60.0]),
    canary=st.none() | st.just(Canary(alias="a canary of its own kind", seconds=0.5)),
    soak=st.none() | st.just(Soak(seconds=600)),
    on_rejection=st.none() | st.builds(OnRejection, tags=st.dictionaries(text, text, max_size=2)),
    emergency=st.sampled_from([(), ("*",), ("ann", "bob")]),
    on_decay=st.sampled_from(["nothing", "rollback", "remove"]),
    notify=st.sampled_from([(), ("slack-webhook/oncall",)]),
)


@given(policies)
def test_yaml_and_entity_give_the_policy_back(policy):
    assert PromotionPolicy.from_yaml(policy.to_yaml()) == policy
    assert PromotionPolicy.from_entity(policy.to_entity()) == policy


@pytest.mark.parametrize(
    ("yaml", "words"),
    [
        ("[]", "YAML mapping"),
        ("a: [", "no valid YAML"),
        ("name: p\naliases: [a]\napprovals: '1'", "approvals"),
        ("name: p", "protects nothing"),
        ("name: p\naliases: [a]\ngates: [{type: loads}, {type: loads}]", "two gates are named 'loads'"),
        ("name: p\naliases: [a]\ngates: [{type: magic}]", "gates.0"),
        ("name: p\naliases: [a]\ngates: [{type: metric_threshold, metric: auc}]", "needs a minimum"),
        ("name: p\naliases: [a]\ngates: [{type: metric_threshold, metric: auc, minimum: .nan}]", "minimum"),
        ("name: p\naliases: [a]\ngates: [{type: budget}]", "max_megabytes"),
        ("name: p\naliases: [a]\napprovals: 2\napprovers: [ann, ann]", "can never come from 1"),
        ("name: p\naliases: [a]\napprovals: 0\nfour_eyes: true", "at least one approval"),
        ("name: p\naliases: [a]\nstages: [None]", "stage 'None'"),
        ("name: p\naliases: [a]\nsurprise: 1", "surprise"),
        ("name: p\naliases: [2026-01-01]", "no text"),
        ("name: p\naliases: [a]\nsoak: {seconds: 0}", "soak.seconds"),
        ("name: p\naliases: [a]\ncanary: {seconds: 1}", "canary.alias"),
        ("name: p\naliases: [a]\ncanary: {alias: a, seconds: 1}", "neither a canary"),
        ("name: p\naliases: [a]\non_rejection: {drop_aliases: [a]}", "neither a canary"),
        ("name: p\naliases: [a]\non_decay: explode", "on_decay"),
        ("name: p\naliases: [a]\nnotify: [oncall]", "notify.0"),
        ("name: p\naliases: [a]\nevidence_valid_for: -1", "evidence_valid_for"),
        ("!!python/object/apply:os.system [id]", "no valid YAML"),
    ],
)
def test_a_policy_that_cannot_work_is_refused_with_the_field(yaml, words):
    with pytest.raises(InvalidInputError, match=words):
        PromotionPolicy.from_yaml(yaml)


def test_a_policy_is_strict_in_python_too():
    with pytest.raises(ValidationError):
        PromotionPolicy(name="p", aliases=["champion"], approvals="1")


def test_the_default_policy_covers_exactly_its_alias():
    policy = default_policy("churn[v]*", "champion")
    assert policy.covers("churn[v]*", "champion")
    assert not policy.covers("churnv", "champion")
    assert not policy.covers("churn[v]*", "other")
    assert [gate.name for gate in policy.gates] == ["loads", "signature_present"]
    assert policy.approvals == 1
