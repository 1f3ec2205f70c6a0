"""What Prefect is told of the registry, by a real API, and where it is told nothing."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from sklearn.linear_model import LinearRegression

import prefect_ml as ml
from prefect_ml.errors import InvalidInputError
from prefect_ml.flowruns import announced, background
from prefect_ml.models.folder import save_model
from prefect_ml.registry.policy import PromotionPolicy
from prefect_ml.registry.register import register_model
from prefect_ml.tasks import decide_promotion, move_alias, request_promotion, rollback_alias

sys.path.append(str(Path(__file__).parent))
import registering

X = np.arange(12.0).reshape(6, 2)
MODEL = LinearRegression().fit(X, X.sum(axis=1))
ODD = "a`b|<i>x</i> [l](http://x) {{ 1 }}"

pytestmark = pytest.mark.usefixtures("prefect_api")


def post(path, body):
    with get_client(sync_client=True) as client:
        answer = client.request("POST", path, json=body)
        return answer.raise_for_status().json()


@pytest.fixture
def told():
    """The events of a model that Prefect holds, in order, once all is sent."""
    since = datetime.now(UTC) - timedelta(seconds=5)

    def events(name):
        assert background.finish(30)
        query = {
            "event": {"prefix": ["prefect-ml."]},
            "occurred": {"since": since.isoformat()},
            "order": "ASC",
        }
        found = post("/events/filter", {"filter": query, "limit": 50})["events"]
        return [event for event in found if event["payload"]["name"] == name]

    return events


@pytest.fixture
def folder(tmp_path):
    save_model(MODEL, tmp_path / "model", input_example=X[:2])
    return str(tmp_path / "model")


def eventually(look):
    from orchestrator import until

    return until(look, "what Prefect was told", 30)


def related(event):
    return {each["prefect.resource.role"]: each["prefect.resource.id"] for each in event["related"]}


def artifacts(key):
    return post("/artifacts/filter", {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC"})


def test_a_model_that_a_task_logs_and_registers(told):
    @task
    def fit():
        return ml.log_model(MODEL, "model", input_example=X[:2], register=ODD.replace("/", "").replace(":", ""))

    @ml.track(experiment="telling | `all`")
    @flow
    def train():
        return fit()

    logged = train()
    train()
    name = logged.name
    first, second = eventually(lambda: found if len(found := told(name)) == 2 else None)
    found = ml.get_lineage(f"models:/{name}/1")
    assert first["event"] == "prefect-ml.model-version.created"
    assert first["resource"]["prefect.resource.id"] == f"prefect-ml.model-version.{name}.1"
    assert related(first)["flow-run"] == f"prefect.flow-run.{found.execution.flow_run_id}"
    assert related(first)["run"] == f"prefect-ml.run.{found.run.run_id}"
    payload = first["payload"]
    assert (payload["version"], payload["commit"]) == (1, found.code.commit)
    assert (payload["artifact_digest"], payload["run_id"]) == (found.digest, found.run.run_id)
    assert second["payload"]["version"] == 2
    assert found.execution.flow_name == "train"
    assert found.execution.task_run_id
    assert found.execution.attempt.number == 1
    key = "a-b-i-x-i-l-httpx-1-lineage"
    newest, oldest = eventually(lambda: shown if len(shown := artifacts(key)) == 2 else None)
    assert oldest["flow_run_id"] == found.execution.flow_run_id
    assert oldest["task_run_id"].replace("-", "") == found.execution.task_run_id
    assert "version 2" in newest["description"]
    text = oldest["data"]
    assert found.run.run_id in text
    assert found.code.commit in text
    assert r"a\`b\|\<i\>" in text
    assert "telling \\| \\`all\\`" in text
    assert "<i>" not in text.replace("\\<", "").partition("```")[0]


def test_a_promotion_is_told_step_by_step_and_each_step_once(told, folder):
    store = ml.open_store()
    for _ in range(2):
        register_model(store, folder, "steps")
    policy = PromotionPolicy(
        name="p", model_pattern="steps", aliases=["champion"], gates=[], approvals=2, emergency=["dan"]
    )

    @flow
    def promote(version):
        asked = request_promotion("steps", version, "champion", requester="ann", key=f"k{version}", policy=policy)
        request_promotion("steps", version, "champion", requester="ann", key=f"k{version}", policy=policy)
        for actor in ("bob", "bob", "cara"):
            if ml.open_store().get_request(asked.request_id).status == "PENDING":
                decide_promotion(asked.request_id, approve=True, actor=actor, reason="good")
        move_alias(asked.request_id, actor="cara")
        return move_alias(asked.request_id, actor="cara")

    promote(1)
    promote(2)

    @flow
    def undo():
        rollback_alias("steps", "champion", actor="dan", reason="it drifts")

    undo()
    found = eventually(lambda: seen if len(seen := told("steps")) >= 9 else None)
    # Not announced when it happened, and told all the same.
    assert [event["event"] for event in found[:2]] == ["prefect-ml.model-version.created"] * 2
    found = found[2:]
    step = ["prefect-ml.promotion.requested", "prefect-ml.promotion.approved", "prefect-ml.alias.moved"]
    assert [event["event"] for event in found] == [*step, *step, "prefect-ml.alias.emergency-rollback"]
    approved, moved, back = found[1], found[5], found[6]
    assert (approved["payload"]["actor"], approved["payload"]["reason"]) == ("cara", "good")
    assert approved["resource"]["prefect.resource.id"] == "prefect-ml.model-version.steps.1"
    assert moved["resource"]["prefect.resource.id"] == "prefect-ml.alias.steps.champion"
    assert related(moved)["model-version"] == "prefect-ml.model-version.steps.2"
    facts = {key: moved["payload"][key] for key in ("name", "version", "alias", "generation", "previous_version")}
    assert facts == {"name": "steps", "version": 2, "alias": "champion", "generation": 2, "previous_version": 1}
    assert (back["payload"]["version"], back["payload"]["generation"]) == (1, 3)
    assert (back["payload"]["actor"], back["payload"]["reason"]) == ("dan", "it drifts")


def test_what_gates_or_policies_decide_at_once_is_told_as_well(told, folder):
    register_model(ml.open_store(), folder, "at-once")
    lacking = [{"type": "metric_threshold", "metric": "auc", "minimum": 0.9}]
    strict = PromotionPolicy(name="strict", model_pattern="at-once", aliases=["champion"], gates=lacking)
    free = PromotionPolicy(name="free", model_pattern="at-once", aliases=["tried"], gates=[], approvals=0)
    refused = ml.request_promotion("at-once", 1, policy=strict)
    ml.request_promotion("at-once", 1, "tried", policy=free)
    with pytest.raises(InvalidInputError):
        ml.reject(refused.request_id, reason="")
    found = eventually(lambda: seen if len(seen := told("at-once")) >= 5 else None)[1:]
    assert [event["event"].rpartition(".")[2] for event in found] == ["requested", "rejected", "requested", "approved"]
    assert [event["payload"]["alias"] for event in found] == ["champion", "champion", "tried", "tried"]
    assert list(found[1]["payload"]["gates"].values()) == [False]


def test_a_retried_flow_and_its_children_are_told_apart():
    @task
    def fit(register):
        with ml.start_run(name="inner"):
            ml.log_model(MODEL, "model", input_example=X[:2], register=f"{register}-inner")
        ml.log_model(MODEL, "model", input_example=X[:2], register=register)

    tries = []

    @ml.track(experiment="retried")
    @flow(retries=1)
    def train():
        tries.append(1)
        fit("retried")
        ml.log_model(MODEL, "body", input_example=X[:2], register="retried-body")
        if len(tries) == 1:
            raise ValueError("once")

    train()
    found = [ml.get_lineage(f"models:/retried/{version}") for version in (1, 2)]
    assert [each.execution.attempt.number for each in found] == [1, 2]
    assert found[0].run.run_id == found[1].run.run_id
    assert len({each.execution.task_run_id for each in found}) == 2
    bodies = [ml.get_lineage(f"models:/retried-body/{version}").execution for version in (1, 2)]
    assert [(each.attempt.number, each.task_run_id) for each in bodies] == [(1, ""), (2, "")]
    inner = ml.get_lineage("models:/retried-inner/2")
    assert inner.execution.flow_run_id == found[0].execution.flow_run_id
    assert [parent.run_id for parent in inner.parents] == [found[0].run.run_id]
    assert all(each.execution.flow_name == "train" for each in (*found, inner))


@pytest.mark.long
def test_what_a_worker_of_a_process_pool_registers_is_told(told, folder):
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(registering.register, str(PREFECT_API_URL.value()), folder, "pooled").result(120)
    [event] = eventually(lambda: told("pooled"))
    assert event["payload"]["version"] == 1


def test_an_api_that_is_away_is_one_warning_and_nothing_else(folder, caplog):
    store = ml.open_store()
    background._sender.warned = False
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        for _ in range(3):
            announced.register_model(store, folder, "unheard")
        assert background.finish(60)
    warnings = [record for record in caplog.records if record.name == background.__name__]
    assert len(warnings) == 1
    assert len(store.search_model_versions("name = 'unheard'").items) == 3


def test_more_than_are_kept_waiting_are_dropped(monkeypatch, caplog):
    import threading

    go = threading.Event()
    sender = background._Sender()
    monkeypatch.setattr(background, "_sender", sender)
    for _ in range(1100):
        sender.add(lambda: go.wait(30) and None)
    assert sender.queue.qsize() <= 1000
    assert [record.levelname for record in caplog.records if "1000" in record.message] == ["WARNING"]
    assert not background.finish(0.05)
    go.set()
    assert background.finish(30)


def test_a_plain_script_does_not_pay_for_prefect(folder, home):
    script = f"""
import sys, prefect_ml as ml
ml.register_model({folder!r}, "plain")
ml.get_lineage("models:/plain/1")
with ml.start_run(experiment="e"):
    ml.load_model("models:/plain/1")
assert "prefect" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
