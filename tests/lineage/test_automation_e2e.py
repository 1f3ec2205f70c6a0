"""A new version starts a deployment: the automation and the flow that the documentation shows, on a real server."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from prefect_ml.lineage.read import get_lineage
from prefect_ml.store import open_store

sys.path.append(str(Path(__file__).parents[1]))
from orchestrator import PREFECT, until

DOCS = Path(__file__).parents[2] / "docs" / "lineage.md"
TRAIN = """
    import numpy as np
    from prefect import flow, task
    from sklearn.linear_model import LinearRegression
    import prefect_ml as ml

    X = np.arange(12.0).reshape(6, 2)

    @task
    def fit():
        model = LinearRegression().fit(X, X.sum(axis=1))
        ml.log_model(model, "model", input_example=X[:2], register="churn")

    @ml.track(experiment="automation")
    @flow
    def train():
        fit()

    train()
"""

pytestmark = [pytest.mark.long, pytest.mark.timeout(280)]


def shown(language: str) -> str:
    """The block of a language that the documentation shows."""
    [block] = re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(), re.DOTALL)
    return block


@pytest.fixture(scope="module")
def home(orchestrator):
    return orchestrator.folder / "lineage-home"


@pytest.fixture(scope="module")
def deployed(orchestrator, home, tmp_path_factory):
    """What the documentation shows, deployed to a worker; the environment of what runs beside it."""
    tmp_path = tmp_path_factory.mktemp("deployed")
    environment = {**orchestrator.environment, "PREFECT_ML_HOME": str(home)}
    documented = shown("yaml")
    assert "name: ml\n" in documented
    # A pool of its own: on this server another test's worker may listen to the documented one, with another home.
    (tmp_path / "prefect.yaml").write_text(documented.replace("name: ml\n", "name: lineage\n"))
    (tmp_path / "checks.py").write_text(shown("python"))
    (tmp_path / "train.py").write_text(textwrap.dedent(TRAIN))
    orchestrator.start_worker("lineage", environment)
    run(environment, tmp_path, PREFECT, "--no-prompt", "deploy", "--all")
    run(environment, tmp_path, sys.executable, "train.py")
    return environment, tmp_path


def run(environment, folder, *command):
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_new_version_starts_the_deployment_with_its_number(orchestrator, home, deployed):
    deployment = orchestrator.api.get("/deployments/name/check-version/check-version")

    def ended():
        query = {"flow_runs": {"deployment_id": {"any_": [deployment["id"]]}}}
        return [
            r for r in orchestrator.api.post("/flow_runs/filter", query) if r["state_type"] in ("FAILED", "COMPLETED")
        ]

    [started] = until(ended, f"the run of the deployment\n{orchestrator.logs()}", 120)
    assert started["parameters"] == {"name": "churn", "version": 1}
    # The script lay in no repository, which the flow refuses: so it ran, and read the lineage of that version.
    assert "models:/churn/1 was made from code that is in no commit" in started["state"]["message"]
    store = open_store(f"sqlite:///{home / 'store.db'}")
    found = get_lineage(store, "models:/churn/1")
    store.close()
    events = orchestrator.api.post("/events/filter", {"filter": {"event": {"prefix": ["prefect-ml."]}}})["events"]
    created = [event for event in events if event["payload"]["name"] == "churn" and event["payload"]["version"] == 1]
    assert [event["event"] for event in created] == ["prefect-ml.model-version.created"]
    assert created[0]["payload"]["flow_run_id"] == found.execution.flow_run_id != ""
    query = {"artifacts": {"key": {"any_": ["churn-lineage"]}}}
    [artifact] = orchestrator.api.post("/artifacts/filter", query)
    assert artifact["flow_run_id"] == found.execution.flow_run_id
    assert found.run.run_id in artifact["data"]


def test_a_command_tells_of_what_it_did_before_it_ends(orchestrator, home, deployed):
    environment, folder = deployed
    command = Path(sys.executable).with_name("prefect-ml")
    run(environment, folder, command, "models", "register", "models:/churn/1", "copied")

    def created():
        query = {"filter": {"resource": {"id": ["prefect-ml.model-version.copied.1"]}}}
        return orchestrator.api.post("/events/filter", query)["events"]

    [event] = until(created, "the event of the command")
    assert event["payload"]["run_id"] == event["related"][0]["prefect.resource.id"].removeprefix(
        "prefect.flow-run."
    ).replace("-", "")
