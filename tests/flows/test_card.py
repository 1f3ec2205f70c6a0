"""The card on the page of a promotion's flow run: told anew when some people approved and more have to."""

from __future__ import annotations

import html
import uuid

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_ml.entities import Metric
from prefect_ml.flows.approval import Answer, approvals_from
from prefect_ml.flows.page import publish_text
from prefect_ml.flows.promote import promote_model
from prefect_ml.flows.serve import _publish
from prefect_ml.registry.policy import PromotionPolicy
from prefect_ml.registry.register import register_model
from prefect_ml.store import open_store


@pytest.fixture
def store(tmp_path):
    """With a version whose run says where it came from, and a policy by which two people approve."""
    found = open_store()
    (tmp_path / "model").mkdir()
    (tmp_path / "model/MLmodel").write_text("flavors:\n  python_function:\n    loader_module: none\n")
    run = found.create_run("0", name="fit")
    found.log_batch(run.run_id, metrics=[Metric("auc", 0.9, 1, 0)], tags={"mlflow.source.git.commit": "c0ffee" * 7})
    register_model(found, str(tmp_path / "model"), "churn", run_id=run.run_id)
    two = PromotionPolicy(name="two", model_pattern="churn", aliases=("champion",), approvals=2)
    found.save_policy(two.to_entity(), actor="ops")
    yield found
    found.close()


def evidence_of(state):
    """Every version of the artifact that tells the evidence, the oldest first."""
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(
                flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]),
                key=ArtifactFilterKey(any_=["promotion-churn-champion-evidence"]),
            )
        )
    return [html.unescape(each.data) for each in sorted(found, key=lambda each: each.created)]


@pytest.mark.usefixtures("prefect_api")
def test_the_card_is_told_anew_after_a_partial_approval(store):
    answers = iter([Answer(True, "bob", "fine"), Answer(True, "cara", "fine too")])
    with approvals_from(lambda _: next(answers)):
        state = promote_model("churn", 1, requester="ann", return_state=True)
    assert state.is_completed(), state.message
    first, second = evidence_of(state)
    for card in (first, second):
        assert card.startswith("## Promote churn version 1 to @champion?")
        assert "| auc | 0.9 |  |  |" in card
        assert "commit c0ffeec0ffee of a local repository" in card
        assert f"/runs/flow-run/{state.state_details.flow_run_id}>)" in card
    assert "### Decisions" not in first
    assert "| bob | approved | fine |" in second
    assert "cara" not in second


@pytest.mark.usefixtures("prefect_api")
def test_what_prefect_does_not_take_is_a_warning_and_keeps_nothing_from_going_on(caplog):
    run = FlowRun(id=uuid.uuid4(), flow_id=uuid.uuid4())
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        publish_text(run, "rollout live step 1", "taken back", "live, step 1")
        _publish(["models:/churn/1"], "Serving churn at http://127.0.0.1:5001")
    assert "'live, step 1' is not shown on the page of the flow run; the flow goes on." in caplog.text
    assert "What is served is not shown" in caplog.text
