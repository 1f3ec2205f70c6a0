"""Drift of a served model starts the training of the next version, by an automation, on a real server and worker."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from prefect_ml.store import open_store

sys.path.append(str(Path(__file__).parents[1]))
from orchestrator import PREFECT, until

EXAMPLE = Path(__file__).parents[2] / "examples" / "closed_loop.py"
DEPLOYMENTS = """
name: drift
pull: null
deployments:
  - name: on-drift
    entrypoint: closed_loop.py:train_spending
    triggers:
      - type: event
        match: {prefect-ml.model: spending, prefect-ml.alias: champion}
        expect: [prefect-ml.drift.detected]
        parameters: {age: 62.0, because: drift}
    work_pool: {name: drift}
  - name: detect-drift
    entrypoint: prefect_ml.flows.drift.detect_drift
    pull: []
    work_pool: {name: drift}
"""
BEFORE = """
import closed_loop as loop

loop.champion_of_today()
loop.traffic({log!r}, loop.OLD, seed=5)
"""

pytestmark = [pytest.mark.long, pytest.mark.timeout(550)]


def run(environment, folder, *command):
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def requests_of(home):
    with contextlib.closing(open_store(f"sqlite:///{home / 'store.db'}")) as store:
        return {request.version: str(request.status) for request in store.list_requests(name="spending")}


def test_a_worker_looks_for_drift_and_an_automation_has_it_train(orchestrator, tmp_path):
    home, log = tmp_path / "home", tmp_path / "log"
    environment = {**orchestrator.environment, "PREFECT_ML_HOME": str(home), "PREFECT_ML_INFERENCE_LOG": str(log)}
    orchestrator.start_worker("drift", environment)
    (tmp_path / "closed_loop.py").write_text(EXAMPLE.read_text())
    (tmp_path / "prefect.yaml").write_text(DEPLOYMENTS)
    run(environment, tmp_path, sys.executable, "-c", BEFORE.format(log=str(log)))
    run(environment, tmp_path, PREFECT, "--no-prompt", "deploy", "--all")
    assert requests_of(home) == {1: "PROMOTED"}
    parameters = ["--param", "models=spending"]
    run(environment, tmp_path, PREFECT, "deployment", "run", "detect-drift/detect-drift", *parameters)

    until(lambda: len(requests_of(home)) > 1, f"the request of a new version\n{orchestrator.logs()}", 240)
    assert requests_of(home) == {1: "PROMOTED", 2: "PENDING"}
    query = {"filter": {"event": {"name": ["prefect-ml.drift.detected"]}}}
    events = orchestrator.api.post("/events/filter", query)["events"]
    told = [event for event in events if event["resource"]["prefect.resource.id"].endswith(".spending.1")]
    assert len(told) == 1
    assert "input.age" in json.dumps(told[0]["payload"]["columns"])
    deployment = orchestrator.api.get("/deployments/name/train-spending/on-drift")
    query = {"flow_runs": {"deployment_id": {"any_": [deployment["id"]]}}}
    [trained] = orchestrator.api.post("/flow_runs/filter", query)
    assert trained["parameters"] == {"age": 62.0, "because": "drift"}
    orchestrator.api.client.delete(f"/deployments/{deployment['id']}").raise_for_status()


def test_the_example_goes_round_the_loop(orchestrator, tmp_path):
    environment = {**orchestrator.environment, "PREFECT_ML_HOME": str(tmp_path / "home")}
    said = run(environment, tmp_path, sys.executable, str(EXAMPLE))
    assert "As in training: []" in said
    assert "Older customers: ['input.age', 'output.prediction']" in said
    assert "Version 2 of spending asks for @champion: it is PENDING." in said
    assert requests_of(tmp_path / "home") == {1: "PROMOTED", 2: "PENDING"}
    assert orchestrator.api.client.get("/deployments/name/train-spending/on-drift").status_code == 404
