"""One command on an empty Prefect server; then a version that MLflow's client registers starts its own promotion."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))
from orchestrator import until
from prefect_ml.flows.deployments import shipped
from served import TrackingServer

COMMAND = Path(sys.executable).with_name("prefect-ml")
POOL = "driven"
REGISTER = """
import sys
from mlflow import MlflowClient
client = MlflowClient(sys.argv[1])
client.create_registered_model("driven.by.mlflow")
run = client.create_run("0", tags={"mlflow.user": "ann"})
client.create_model_version("driven.by.mlflow", "s3://models/churn", run.info.run_id)
"""

pytestmark = [pytest.mark.long, pytest.mark.timeout(280)]


@pytest.fixture
def deployed(orchestrator):
    """What the command says that it made; other tests of this server find their deployments as they left them."""
    api = orchestrator.api
    pools = {each["id"]: each["work_pool_name"] for each in api.post("/deployments/filter", {})}
    forget_automations(api)
    command = [COMMAND, "deploy-flows", "--work-pool", POOL, "--create-pool", "--json"]
    environment = {**orchestrator.environment, "PREFECT_ML_HOME": str(orchestrator.folder / "driven")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    yield json.loads(done.stdout)
    forget_automations(api)
    for deployment, pool in pools.items():
        api.client.patch(f"/deployments/{deployment}", json={"work_pool_name": pool}).raise_for_status()


def forget_automations(api):
    """Remove the shipped ones."""
    for automation in api.post("/automations/filter", {}):
        if "->" in automation["name"]:
            api.client.delete(f"/automations/{automation['id']}").raise_for_status()


def test_a_version_that_mlflow_registers_starts_its_promotion(orchestrator, deployed, tmp_path):
    assert [each["name"].partition("/")[2] for each in deployed] == [given["name"] for given in shipped()]
    pools = {"work_pools": {"name": {"any_": [POOL]}}}
    found = {each["name"]: each for each in orchestrator.api.post("/deployments/filter", pools)}
    assert set(found) == {given["name"] for given in shipped()}
    promotion = found["promote-model"]["id"]

    prefect = {key: orchestrator.environment[key] for key in ("PREFECT_API_URL", "PREFECT_HOME")}
    with TrackingServer(tmp_path, prefect) as server:
        quiet = {**orchestrator.environment, "MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"}
        subprocess.run([sys.executable, "-c", REGISTER, server.url], env=quiet, check=True, timeout=120)

        def started():
            query = {"deployments": {"id": {"any_": [promotion]}}}
            return orchestrator.api.post("/flow_runs/filter", query)

        [run] = until(started, f"the promotion\n{server.log()}\n{orchestrator.logs()}", 60)
        assert server.stop() == 0
    assert run["parameters"] == {"name": "driven.by.mlflow", "version": 1, "requester": "ann"}
    assert run["work_pool_name"] == POOL
    query = {"filter": {"event": {"prefix": ["prefect-ml."]}, "resource": {"labels": {"prefect-ml.model": "driven.*"}}}}
    [event] = orchestrator.api.post("/events/filter", query)["events"]
    assert event["event"] == "prefect-ml.model-version.created"
    assert event["resource"]["prefect-ml.version"] == "1"
