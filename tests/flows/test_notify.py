"""What people are told of promotions, through a real notification block of Prefect, and by one that is not there."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from sklearn.linear_model import LinearRegression

from prefect_ml.entities import Policy
from prefect_ml.flows.approval import Answer, approvals_from
from prefect_ml.flows.notify import notify_people
from prefect_ml.flows.promote import promote_model
from prefect_ml.models.folder import save_model
from prefect_ml.registry.register import register_model

sys.path.append(str(Path(__file__).parents[1]))
from receiver import Answer as Reply
from receiver import Receiver

X = np.arange(12.0).reshape(6, 2)
# What a chat would take for a mention, a link and a template of the block's.
ODD = "ann <!channel> @here http://evil {{secret}}"

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture
def told():
    """Where the block `custom-webhook/people` sends to."""
    with Receiver() as receiver:
        block = CustomWebhookNotificationBlock(
            name="people",
            url=receiver.url,
            json_data={"subject": "{{subject}}", "body": "{{body}} {{secret}}"},
            secrets={"secret": "s3cret"},
        )
        block.save("people", overwrite=True)
        yield receiver


@pytest.fixture
def model(store, tmp_path):
    name = f"told-{uuid.uuid4().hex[:6]}"
    save_model(LinearRegression().fit(X, X.sum(axis=1)), tmp_path / "model", input_example=X[:2])
    for _ in range(2):
        register_model(store, str(tmp_path / "model"), name)
    blocks = ("slack-webhook/nobody", "custom-webhook/people")
    store.save_policy(Policy("p", 0, name, ("champion",), emergency=("oncall",), notify=blocks), actor="ops")
    return name


def subjects(told):
    return [call.said["subject"].partition(": ")[2] for call in told.calls]


def test_each_step_is_told_once_and_a_block_that_fails_stops_nothing(told, model, caplog):
    def approve(_request):
        return Answer(True, "bob", "good <b>enough</b>")

    with approvals_from(approve):
        state = promote_model(model, 1, requester=ODD, return_state=True)
    assert state.is_completed()
    assert subjects(told) == ["promotion asked for", "promotion approved", "promoted"]
    asked, approved, _moved = (call.said["body"] for call in told.calls)
    assert "Decide with: prefect-ml approve" in asked
    assert not [part for part in ("<", "@", "{{", "://evil") if part in asked]
    assert asked.endswith(" s3cret")
    assert "good &#60;b&#62;enough" in approved
    assert "slack-webhook/nobody told nobody" in caplog.text


def test_a_rejection_is_told_with_its_reason(told, model):
    with approvals_from(lambda _: Answer(False, "bob", "too early")):
        promote_model(model, 2, requester="ann", return_state=True)
    assert subjects(told) == ["promotion asked for", "promotion rejected"]
    assert "Reason: too early" in told.calls[-1].said["body"]


def test_a_rollback_is_told_by_the_flow_that_automations_start(told, model):
    parameters = {"name": model, "alias": "champion", "version": 1, "actor": "oncall", "reason": "it burns"}
    assert notify_people("emergency", **parameters) == ["custom-webhook/people"]
    [call] = told.calls
    assert call.said["subject"] == f"{model} version 1: EMERGENCY ROLLBACK"
    assert "oncall moved the alias champion" in call.said["body"]
    assert notify_people("rolled back", **{**parameters, "alias": "tried"}) == []


def test_a_receiver_that_refuses_is_a_warning(told, model, caplog):
    told.plan = [Reply(500), Reply(500)]
    assert notify_people("rolled back", model, "champion", 1) == []
    assert "custom-webhook/people told nobody" in caplog.text
