"""The shipped deployments: what `prefect.yaml` says, what `deploy-flows` makes, and that it can be run again."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentUpdate

from prefect_ml.errors import InvalidInputError
from prefect_ml.flowruns import events
from prefect_ml.flows.deployments import ENDED_BY_ITSELF, deploy, shipped

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).with_name("prefect-ml")


def test_the_file_says_the_same():
    assert yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"] == shipped()


@pytest.mark.parametrize("given", shipped(), ids=lambda given: given["name"])
def test_each_is_a_flow_whose_parameters_its_automations_give(given):
    module, _, name = given["entrypoint"].rpartition(".")
    flow = getattr(importlib.import_module(module), name)
    assert given["name"] == flow.name
    known = {value for key, value in vars(events).items() if key.isupper() and isinstance(value, str)}
    for trigger in given.get("triggers", ()):
        assert set(trigger["parameters"]) <= set(flow.parameters.properties)
        assert set(flow.parameters.required) <= set(trigger["parameters"])
        assert set(trigger["expect"]) <= known | set(ENDED_BY_ITSELF)
        if not set(trigger["expect"]) & set(ENDED_BY_ITSELF):
            assert not any(label.startswith("prefect.resource") for label in trigger["match"])


def test_what_would_be_made_is_printed_without_a_server():
    environment = {**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    command = [COMMAND, "deploy-flows", "--dry-run", "--json", "--work-pool", "mine", "--models", "churn*"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    planned = json.loads(done.stdout)
    assert planned == shipped("mine", "churn*")


@pytest.mark.usefixtures("prefect_api")
def test_it_is_made_once_and_what_people_changed_stays():
    with pytest.raises(InvalidInputError, match=r"no work pool 'shipped'.*--create-pool"):
        deploy("shipped")
    with pytest.raises(InvalidInputError, match="no name of a model"):
        deploy("shipped", create_pool=True, models="*churn")
    first = deploy("shipped", create_pool=True)
    assert [each.name.partition("/")[2] for each in first] == [given["name"] for given in shipped()]
    assert all(each.made for each in first)
    with get_client(sync_client=True) as client:
        assert client.read_work_pool("shipped").type == "process"
        assert client.request("GET", "/block_types/slug/prefect-ml-tracking-server").is_success

        def read(name):
            return client.read_deployment_by_name(f"{name}/{name}")

        promote, nightly = read("promote-model"), read("revalidate-champions")
        assert promote.entrypoint == "prefect_ml.flows.promote.promote_model"
        assert promote.pull_steps == []
        assert set(promote.parameter_openapi_schema["required"]) == {"name", "version"}
        assert nightly.schedules[0].schedule.cron == "30 3 * * *"
        assert nightly.concurrency_options.collision_strategy == "CANCEL_NEW"
        assert nightly.global_concurrency_limit.limit == 1
        [automation] = client.read_automations_by_name("new version -> promote-model")
        # Somebody changes what they may want to have changed.
        client.update_deployment_schedule(nightly.id, nightly.schedules[0].id, active=False)
        client.update_deployment(promote.id, DeploymentUpdate(job_variables={"env": {"A": "1"}}))
        client.pause_automation(automation.id)

        again = deploy("shipped", models="churn*")
        assert not any(each.made for each in again)
        assert read("promote-model").id == promote.id
        assert read("promote-model").job_variables == {"env": {"A": "1"}}
        assert [schedule.active for schedule in read("revalidate-champions").schedules] == [False]
        assert [schedule.active for schedule in read("challenge-champions").schedules] == [True]
        [updated] = client.read_automations_by_name("new version -> promote-model")
        assert (updated.id, updated.enabled) == (automation.id, False)
        assert updated.trigger.match["prefect-ml.model"] == ["churn*"]
