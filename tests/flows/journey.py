"""What the journeys of a promotion act on and look at: Prefect's REST API, a tracking server, a worker, the events.

Nothing runs in the process of the tests but HTTP calls.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import prefect_ml as ml
from orchestrator import Orchestrator, until
from prefect_ml.registry.model_gates import Loads, SignaturePresent
from prefect_ml.registry.policy import PromotionPolicy
from prefect_ml.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from holding import HoldingProxy
    from prefect_ml.entities import ModelVersion, PromotionRequest
    from served import TrackingServer

FEATURES, TARGET = load_breast_cancer(return_X_y=True, as_frame=True)
# Seconds within which a flow run gets where it is to get, on a machine that is busy.
SOON = 240
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
CREATED = "prefect-ml.model-version.created"


class Journeys:
    """One world for all journeys.

    Args:
        orchestrator: Prefect's server, and where workers are started.
        server: our tracking server.
        proxy: before it; what the flow runs talk to.
    """

    def __init__(self, orchestrator: Orchestrator, server: TrackingServer, proxy: HoldingProxy) -> None:
        self.orchestrator, self.api, self.server, self.proxy = orchestrator, orchestrator.api, server, proxy
        self.store = open_store(server.url)
        self.environment = {
            "PREFECT_ML_HOME": str(orchestrator.folder / "journeys"),
            "PREFECT_ML_STORE_URL": proxy.url,
        }

    def deploy(self, pool: str) -> str:
        """The shipped flow as a deployment of a pool; its id."""
        flow = self.api.post("/flows/", {"name": "promote-model"})["id"]
        deployment = {
            "name": pool,
            "flow_id": flow,
            "entrypoint": "prefect_ml.flows.promote.promote_model",
            "pull_steps": [],
            "work_pool_name": pool,
            "enforce_parameter_schema": False,
        }
        return self.api.post("/deployments/", deployment)["id"]

    def promote_each_new_version(self, of: str, deployment: str) -> None:
        """An automation: a new version of a model starts a deployment, in the name of who registered it."""

        def filled(template: str) -> dict[str, str]:
            return {"__prefect_kind": "jinja", "template": template}

        parameters = {
            "name": filled("{{ event.payload.name }}"),
            "version": {"__prefect_kind": "json", "value": filled("{{ event.payload.version }}")},
            "requester": filled("{{ event.payload.actor }}"),
        }
        trigger = {
            "type": "event",
            "posture": "Reactive",
            "match": {"prefect-ml.model": of},
            "expect": [CREATED],
            "threshold": 1,
            "within": 0,
        }
        action = {
            "type": "run-deployment",
            "source": "selected",
            "deployment_id": deployment,
            "parameters": parameters,
        }
        self.api.post("/automations/", {"name": f"promote {of}", "trigger": trigger, "actions": [action]})

    def protect(self, pattern: str, *, name: str, expires_after: float = 3600.0) -> None:
        """Protect @champion of models by two gates and four eyes."""
        policy = PromotionPolicy(
            name=name,
            model_pattern=pattern,
            aliases=("champion",),
            gates=(Loads(), SignaturePresent()),
            four_eyes=True,
            expires_after=expires_after,
        )
        self.store.save_policy(policy.to_entity(), actor="ops")

    def log(self, strength: float = 1.0, *, prefix: str = "") -> str:
        """Fit a model of that regularization and log it through the tracking server; its URI.

        Args:
            strength: the inverse of the regularization.
            prefix: of its columns' names, where it is not to fit those of others.
        """
        features = FEATURES.add_prefix(prefix)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength)).fit(features[::2], TARGET[::2])
        with self._recording(), ml.start_run("journeys") as run:
            run.log_metric("accuracy", float(model.score(features[1::2], TARGET[1::2])))
            ml.log_model(model, "model", input_example=features[:3])
            return f"runs:/{run.run_id}/model"

    def register(self, name: str, uri: str) -> ModelVersion:
        """Register a logged model, which Prefect is told."""
        with self._recording():
            return ml.register_model(uri, name)

    def files(self, version: ModelVersion) -> Path:
        """Where the server keeps the files of a version."""
        inside = (version.location or version.source).partition(":/")[2].lstrip("/")
        return self.server.artifacts / inside

    # --- flow runs

    def asked(self, version: ModelVersion) -> str:
        """The id of the flow run that was started for a version, as soon as it is there."""

        wanted = {"name": version.name, "version": version.version}

        def look() -> str | None:
            found = self.api.post("/flow_runs/filter", {"limit": 200})
            return next((run["id"] for run in found if run["parameters"].items() >= wanted.items()), None)

        return until(look, f"the flow run about {version.name} {version.version}", SOON)

    def run(self, run_id: str) -> dict[str, Any]:
        return self.api.get(f"/flow_runs/{run_id}")

    def state(self, run_id: str) -> str:
        """The name of a run's state."""
        return (self.run(run_id)["state"] or {"name": ""})["name"]

    def wait_for(self, run_id: str, *names: str) -> dict[str, Any]:
        """The run, in a state of one of these names."""

        def look() -> dict[str, Any] | None:
            run = self.run(run_id)
            state = run["state"] or {"name": "", "type": ""}
            if state["name"] in names:
                return run
            assert state["type"] not in FINAL, f"the run ended as {state}{self._why()}"
            return None

        return until(look, f"{names} of the flow run {run_id}", SOON)

    def suspended(self, run_id: str, *, saying: str = "") -> str:
        """The text of the form of a run that waits for a person, which says this."""

        def look() -> str | None:
            text = self.form(run_id)[1] if self.run(run_id)["state"]["name"] == "Suspended" else ""
            return text if text and saying in text else None

        return until(look, f"the form of the flow run {run_id} with {saying!r}", SOON)

    def form(self, run_id: str) -> tuple[dict[str, Any], str]:
        """The schema and the text of the form of a suspended run."""
        keys = self.run(run_id)["state"]["state_details"]["run_input_keyset"]

        def read(part: str) -> Any:
            # Prefect writes a part of the form after the state that names it.
            answer = self.api.client.get(f"/flow_runs/{run_id}/input/{keys[part]}")
            return answer.json() if answer.is_success else None

        return tuple(
            until(lambda part=part: read(part), f"the form's {part}", 30) for part in ("schema", "description")
        )

    def answer(self, run_id: str, **form: str) -> str:
        """What Prefect says of an answer given over its REST API."""
        try:
            return self.api.post(f"/flow_runs/{run_id}/resume", {"run_input": form} if form else {})["status"]
        except httpx.HTTPStatusError as error:
            if error.response.status_code != httpx.codes.CONFLICT:
                raise
            return "CONFLICT"

    def tasks(self, run_id: str) -> Counter[str]:
        """How often each task of a run that has ended was executed, all of them well."""

        def look() -> list[dict[str, Any]] | None:
            found = self.api.post("/task_runs/filter", {"flow_runs": {"id": {"any_": [run_id]}}})
            return found if {each["state_type"] for each in found} == {"COMPLETED"} else None

        found = until(look, f"the tasks of the flow run {run_id}")
        return Counter({each["name"]: each["run_count"] for each in found})

    def artifact(self, run_id: str, key: str) -> str:
        """The text of an artifact of a run."""
        query = {"flow_runs": {"id": {"any_": [run_id]}}, "artifacts": {"key": {"any_": [key]}}}
        [found] = self.api.post("/artifacts/filter", query)
        return found["data"]

    def kill(self, run_id: str) -> None:
        """SIGKILL the process that executes a run."""
        pid = int(self.run(run_id)["infrastructure_pid"].rpartition(":")[2])
        os.kill(pid, signal.SIGKILL)

    def crashed(self, run_id: str) -> None:
        """What an automation of Prefect's sets when a run's heart beats no more: nobody told it of this death."""
        state = {"type": "CRASHED", "name": "Crashed", "message": "No heartbeat"}
        answer = self.api.post(f"/flow_runs/{run_id}/set_state", {"state": state, "force": True})
        assert answer["status"] == "ACCEPT", answer

    def stop_automation(self, name: str) -> None:
        query = {"automations": {"name": {"any_": [name]}}}
        for automation in self.api.post("/automations/filter", query):
            self.api.client.patch(f"/automations/{automation['id']}", json={"enabled": False}).raise_for_status()

    # --- the record

    def request_of(self, name: str) -> PromotionRequest:
        """The newest request about a model."""
        return self.store.list_requests(name=name)[0]

    def steps(self, name: str) -> Counter[str]:
        """The actions of the audit log about a model's @champion."""
        return Counter(entry.action for entry in self.store.audit(subject=f"models:/{name}@champion"))

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.store.close()

    @contextlib.contextmanager
    def _recording(self) -> Iterator[None]:
        """This process records to the tracking server, and tells Prefect's of it."""
        variables = {
            "PREFECT_ML_STORE_URL": self.server.url,
            "PREFECT_ML_HOME": str(self.server.folder / "home"),
            "PREFECT_ML_CAPTURE": "",
            "PREFECT_ML_WATCH": "false",
            "PREFECT_ML_SYSTEM_METRICS_INTERVAL": "0",
        }
        with temporary_settings({PREFECT_API_URL: self.orchestrator.url}), pytest.MonkeyPatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            yield

    def _why(self) -> str:
        return f"\n{self.orchestrator.logs()}"
