"""A promotion as a team runs it: a Prefect server, a process worker, the shipped deployment, and the form over REST.

Nothing runs in this process but HTTP calls and reads of the store.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from prefect_ml.entities import Metric, RequestStatus
from prefect_ml.errors import NotFoundError
from prefect_ml.flows.approval import resume_waiting
from prefect_ml.models.folder import save_model
from prefect_ml.registry.promotion import decide
from prefect_ml.registry.register import register_model
from prefect_ml.store import open_store

sys.path.append(str(Path(__file__).parents[1]))
from orchestrator import PREFECT, Api, until

ROOT = Path(__file__).parents[2]
MODEL = "breast-cancer"
FEATURES, TARGET = load_breast_cancer(return_X_y=True, as_frame=True)
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}

pytestmark = pytest.mark.timeout(280)


class Team(NamedTuple):
    api: Api
    store: object
    folder: Path

    def ask(self, version, requester):
        """Start a promotion through the deployment; its flow run's id as soon as it waits for a person."""
        deployment = self.api.get("/deployments/name/promote-model/promote-model")
        parameters = {"name": MODEL, "version": version, "alias": "champion", "requester": requester}
        run_id = self.api.post(f"/deployments/{deployment['id']}/create_flow_run", {"parameters": parameters})["id"]
        self.wait_for(run_id, lambda run: run["state"]["name"] == "Suspended")
        return run_id

    def run(self, run_id):
        return self.api.get(f"/flow_runs/{run_id}")

    def wait_for(self, run_id, reached):
        def look():
            run = self.run(run_id)
            if run["state"] is not None and run["state"]["type"] in FINAL and not reached(run):
                raise AssertionError(f"the run ended as {run['state']}\n{self.logs()}")
            return run if run["state"] is not None and reached(run) else None

        return until(look, f"the awaited state of the flow run {run_id}")

    def form(self, run_id):
        """The schema and the text of the form of a suspended run."""
        keys = self.run(run_id)["state"]["state_details"]["run_input_keyset"]
        return (self.api.get(f"/flow_runs/{run_id}/input/{keys[part]}") for part in ("schema", "description"))

    def answer(self, run_id, **form):
        return self.api.post(f"/flow_runs/{run_id}/resume", {"run_input": form} if form else {})["status"]

    def task_runs(self, run_id):
        """How often each task of a flow run was run."""
        by_run = {"flow_runs": {"id": {"any_": [run_id]}}}
        found = self.api.post("/task_runs/filter", by_run)
        return Counter({task["name"]: task["run_count"] for task in found}), {task["state_type"] for task in found}

    def logs(self):
        return "\n".join(path.read_text()[-3000:] for path in sorted(self.folder.glob("*.log")))


@pytest.fixture(scope="module")
def team(orchestrator):
    home = orchestrator.folder / "approval"
    orchestrator.start_worker("ml", {"PREFECT_ML_HOME": str(home)})
    store = open_store(f"sqlite:///{home / 'store.db'}")
    subprocess.run(
        [PREFECT, "--no-prompt", "deploy", "--all", "--prefect-file", ROOT / "prefect.yaml"],
        env=orchestrator.environment,
        cwd=orchestrator.folder,
        check=True,
        capture_output=True,
    )
    # Each version asks by hand here.
    for automation in orchestrator.api.post("/automations/filter", {}):
        orchestrator.api.client.patch(f"/automations/{automation['id']}", json={"enabled": False})
    yield Team(orchestrator.api, store, orchestrator.folder)
    store.close()


def registered(team, strength):
    """A real model of that regularization, registered with the run that evaluated it."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength)).fit(FEATURES[::2], TARGET[::2])
    run = team.store.create_run("0", name=f"C={strength}")
    accuracy = float(model.score(FEATURES[1::2], TARGET[1::2]))
    team.store.log_batch(run.run_id, metrics=[Metric("accuracy", accuracy, run.start_time)])
    folder = team.folder / f"model-{strength}"
    save_model(model, folder, input_example=FEATURES[:3])
    return register_model(team.store, str(folder), MODEL, run_id=run.run_id)


def test_the_shipped_deployments_are_complete(team):
    found = {d["name"]: d for d in team.api.post("/deployments/filter", {"work_pools": {"name": {"any_": ["ml"]}}})}
    assert set(found) >= {"promote-model", "deploy-model", "sweep", "reconcile-runs", "train-candidates"}
    for deployment in found.values():
        assert deployment["entrypoint"].startswith("prefect_ml.flows.")
        assert deployment["pull_steps"] in ([], None)
        assert deployment["work_pool_name"] == "ml"
    [schedule] = found["revalidate-champions"]["schedules"]
    assert schedule["active"]
    assert schedule["schedule"]["cron"] == "30 3 * * *"
    assert schedule["schedule"]["timezone"] == "UTC"


def test_a_person_approves_then_another_rejects(team):
    first = registered(team, 1.0)
    approve(team, first)
    reject(team, registered(team, 0.01), holder=first)
    assert team.store.verify_audit() == len(team.store.audit())


def approve(team, version):
    run_id = team.ask(version.version, requester="ann")
    [request] = team.store.list_requests(name=MODEL)
    assert request.status is RequestStatus.PENDING
    assert request.flow_run_id == run_id
    assert all(result.passed for result in request.evidence)
    with pytest.raises(NotFoundError):
        team.store.get_alias(MODEL, "champion")

    schema, text = team.form(run_id)
    assert {"decision", "approver"} <= set(schema["required"])
    assert schema["properties"]["decision"]["enum"] == ["approve", "reject"]
    assert f"Promote {MODEL} version {version.version} to @champion?" in text
    assert "accuracy" in text
    for result in request.evidence:
        assert result.gate.replace("_", "&#95;") in text
    assert text.count("✅ passed") == len(request.evidence) == 2

    asking = team.run(run_id)["infrastructure_pid"]
    assert team.answer(run_id) == "REJECT"
    assert team.answer(run_id, decision="maybe", approver="bob") == "REJECT"
    assert team.answer(run_id, decision="approve", approver="") == "REJECT"
    assert team.store.get_request(request.request_id).status is RequestStatus.PENDING
    assert team.answer(run_id, decision="approve", approver="bob", reason="more data") == "ACCEPT"
    ended = team.wait_for(run_id, lambda run: run["state"]["name"] == "Completed")
    assert ended["infrastructure_pid"] != asking

    names, states = until(
        lambda: found if (found := team.task_runs(run_id))[1] == {"COMPLETED"} else None, "the tasks' states"
    )
    assert states == {"COMPLETED"}
    assert names == {
        "gate loads": 1,
        "gate signature_present": 1,
        f"move alias for {request.request_id}": 1,
    }
    [request] = team.store.list_requests(name=MODEL)
    assert request.status is RequestStatus.PROMOTED
    [decision] = request.decisions
    assert (decision.actor, decision.approve, decision.reason) == ("bob", True, "more data")
    assert decision.channel == "prefect-ui"
    [move] = team.store.alias_history(MODEL, "champion")
    assert (move.version, move.generation, move.request_id) == (version.version, 1, request.request_id)
    assert team.store.get_alias(MODEL, "champion").version == version.version


def reject(team, version, holder):
    before = len(team.store.alias_history(MODEL, "champion"))
    run_id = team.ask(version.version, requester="ann")
    _, text = team.form(run_id)
    assert f"champion (version {holder.version})" in text
    # The form lets an empty reason pass; the rule about rejections does not, and the form comes back saying so.
    assert team.answer(run_id, decision="reject", approver="cara") == "ACCEPT"

    def asked_again(run):
        return run["state"]["name"] == "Suspended" and "refused" in list(team.form(run_id))[1]

    team.wait_for(run_id, asked_again)
    # Then she decides elsewhere, as the command line does; the waiting run is resumed and finds it recorded.
    request = team.store.get_request_by_key(f"flow-run-{run_id}")
    decided = decide(
        team.store, request.request_id, approve=False, actor="cara", reason="worse than before", channel="cli"
    )
    with temporary_settings({PREFECT_API_URL: str(team.api.client.base_url).rstrip("/")}):
        assert resume_waiting(decided)
    team.wait_for(run_id, lambda run: (run["state"]["type"], run["state"]["name"]) == ("COMPLETED", "Rejected"))

    request = team.store.get_request_by_key(f"flow-run-{run_id}")
    assert request.status is RequestStatus.REJECTED
    [decision] = request.decisions
    assert (decision.actor, decision.approve, decision.reason) == ("cara", False, "worse than before")
    assert decision.channel == "cli"
    names, _ = team.task_runs(run_id)
    assert names == {"gate loads": 1, "gate signature_present": 1}
    assert len(team.store.alias_history(MODEL, "champion")) == before
    assert team.store.get_alias(MODEL, "champion").version == holder.version
