"""The card that a person sees before deciding: what is on it, that it is text, and that it is bounded."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ml.entities import Dataset, DatasetInput, Decision, GateResult, Metric, RequestStatus
from prefect_ml.entities import PromotionRequest as Request
from prefect_ml.lineage.card import model_card
from prefect_ml.registry.inert import escape
from prefect_ml.store import open_store

RUN = "a" * 32
FLOW_RUN = "11111111-2222-3333-4444-555555555555"
SLICES = {
    "column": "country",
    "metric": "auc",
    "groups": [
        {"group": "DE", "rows": 40, "value": 0.81, "champion_value": 0.8},
        {"group": "FR", "rows": 31, "value": None, "wrong": "auc has no value there"},
    ],
}
ATTACK = "x | <img src=x> {{ s }} [a](javascript:b) `c`\n# d www.evil.example HTTPS://evil.example ann@evil.example"
FOREIGN = {
    "requests": [
        {
            "alias": "champion",
            "status": "PROMOTED",
            "requester": "stan",
            "policy": "staged",
            "policy_version": 2,
            "evidence": [{"gate": "loads", "passed": True}, {"gate": "auc", "passed": False}],
            "decisions": [{"actor": "sue", "approve": True}, {"actor": "sid", "approve": False}],
        }
    ]
}


@pytest.fixture
def store(tmp_path):
    found = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    yield found
    found.close()


def request(**changes):
    values = {
        "request_id": "r1", "key": "k", "name": "churn", "version": 2, "alias": "champion", "stage": None,
        "status": RequestStatus.PENDING, "status_reason": "", "requester": "ann", "requested_at": 0,
        "expires_at": 1000, "artifact_digest": "sha256:00", "evidence_digest": "", "policy": "strict",
        "policy_version": 1, "base_generation": 1, "base_version": 1, "flow_run_id": FLOW_RUN,
        "evidence": [
            GateResult("auc", True, "auc is 0.9", {"value": 0.9, "minimum": 0.8, "interval": [0.85, 0.95]}),
            GateResult("slices", True, "fine", SLICES),
        ],
    }  # fmt: skip
    return Request(**values | changes)


@pytest.fixture
def filled(store):
    """Two versions of a model; the second one's run says where it came from."""
    store.create_registered_model("churn")
    for number, (run_id, auc) in enumerate([("b" * 32, 0.8), (RUN, 0.9)], 1):
        run = store.create_run("0", run_id=run_id, name=f"fit {number}", user_id="ann")
        tags = {
            "mlflow.source.git.commit": "c0ffee" * 6 + "c0ff",
            "mlflow.source.git.repoURL": "https://git.example/churn",
            "prefect_ml.flow_run_id": FLOW_RUN,
            "prefect_ml.flow_name": "train",
        }
        store.log_batch(run.run_id, metrics=[Metric("auc", auc, 0, 0)], tags=tags)
        data = Dataset("customers", "d1g3st", "local", "/data", profile='{"num_rows": 1234}')
        store.log_inputs(run.run_id, [DatasetInput(data, {"mlflow.data.context": "training"})])
        store.create_model_version("churn", f"{run.artifact_uri}/model", run_id=run.run_id)
    return store


def test_everything_that_a_decision_needs_is_on_it(filled):
    filled.take_over_evidence("churn", 2, "http://staging:5000", FOREIGN, actor="cara")
    decided = Decision("bob", True, "good", 0, "cli")
    shown = html.unescape(model_card(filled, request(decisions=[decided]), lambda kind, of: f"http://ui/{kind}/{of}"))
    shown = shown.replace("\u2060", "")
    for words in (
        "## Promote churn version 2 to @champion?",
        "| asked by | ann |",
        f"[this promotion](<http://ui/flow-run/{FLOW_RUN}>)",
        f"[its artifacts](<http://ui/artifacts/{FLOW_RUN}>)",
        "| auc | ✅ passed | auc is 0.9 | value 0.9, minimum 0.8, interval 0.85 to 0.95 |",
        "| bob | approved | good | cli |",
        "| auc | 0.9 | 0.8 | +0.1 |",
        "### Slices of auc: slices",
        "| DE | 40 | 0.81 | 0.8 | +0.01 |",
        "| FR | 31 |  |  |  |",
        "| customers | training | 1,234 | d1g3st |",
        "commit c0ffeec0ffee of https://git.example/churn",
        "### Said elsewhere: http://staging:5000",
        "by cara. It counts for nothing here",
        "| champion | PROMOTED | stan | 1 of 2 | sue | staged version 2 |",
    ):
        assert words in shown, shown


def test_other_promotions_of_the_alias_are_told_with_their_pages(filled):
    from prefect_ml.registry.policy import PromotionPolicy

    filled.record_digest("churn", 1, "sha256:00")
    policy = PromotionPolicy(name="strict", aliases=("champion",), approvals=1)
    saved = filled.save_policy(policy.to_entity(), actor="ann")
    earlier = filled.create_request(
        key="earlier", name="churn", version=1, alias="champion", stage=None, requester="zoe",
        artifact_digest="sha256:00", evidence=[], policy=saved.name, policy_version=saved.version,
        flow_run_id=FLOW_RUN,
    )  # fmt: skip
    shown = model_card(filled, request(), lambda kind, of: f"http://ui/{kind}/{of}")
    [row] = [line for line in shown.splitlines() if "zoe" in line]
    assert f"](<http://ui/flow-run/{earlier.flow_run_id}>) | version 1 | PENDING | zoe |" in row


def test_a_version_that_is_gone_has_a_card_all_the_same(store):
    shown = model_card(store, request(name="gone"))
    assert "## Promote gone version 2 to @champion?" in shown
    assert "The version has no run with metrics." in shown


@pytest.mark.parametrize("poison", ["<img", "{{", "](j", "`c`", "\n# d", "www.", "://", "ann@"])
def test_what_others_wrote_is_text(store, poison):
    store.create_registered_model("churn")
    run = store.create_run("0", name="fit")
    store.log_batch(run.run_id, metrics=[Metric("auc", 0.9, 0, 0)], tags={"prefect_ml.entry_point": ATTACK})
    store.log_inputs(
        run.run_id, [DatasetInput(Dataset(ATTACK, ATTACK[:36], "x", "y"), {"mlflow.data.context": ATTACK})]
    )
    for _ in range(2):
        store.create_model_version("churn", f"{run.artifact_uri}/model", run_id=run.run_id)
    asked = {
        "alias": ATTACK,
        "status": ATTACK,
        "evidence": "none",
        "decisions": [{"actor": ATTACK, "approve": True}, 3],
    }
    store.take_over_evidence("churn", 2, ATTACK, {"requests": [asked, None]}, actor=ATTACK)
    bad = GateResult(
        ATTACK, True, ATTACK, {ATTACK: 1.0, "column": ATTACK, "groups": [{"group": ATTACK, "rows": ATTACK}]}
    )
    shown = model_card(
        store, request(alias=ATTACK, requester=ATTACK, evidence=[bad], flow_run_id=f"x>) {ATTACK}"), lambda _, of: of
    )
    assert shown.count("javascript") > 5
    assert poison.lower() not in shown.lower()
    # Also where entities are resolved before addresses are looked for.
    assert not re.search(r"(?i)https?://|www\.|[\w.+-]@\w", html.unescape(shown))


def test_a_card_is_bounded_and_says_what_it_leaves_out(filled):
    many = [GateResult(f"gate {n}", True, "because " * 30, {"value": n}) for n in range(500)]
    whole = model_card(filled, request(evidence=many))
    assert "450 more are not shown." in whole
    assert len(whole) <= 40_000
    short = model_card(filled, request(evidence=many), longest=3000)
    assert len(short) <= 3000
    assert short.startswith("## Promote churn version 2")
    assert "prefect-ml lineage" in html.unescape(short)


@settings(max_examples=200)
@given(st.text(alphabet=st.sampled_from("wW.:/@aZ0-_ hHtTpPsS\u2060"), max_size=40))
def test_nothing_becomes_a_link_by_what_it_looks_like(text):
    shown = html.unescape(escape(text))
    assert not re.search(r"(?i)www\.|://|[\w.+-]@", shown)
    assert shown.replace("\u2060", "") == re.sub(r"\s", " ", text).replace("\u2060", "")
