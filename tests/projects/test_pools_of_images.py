"""What jobs of pools that run images are told, rendered by Prefect's own templates and held to their schemas."""

from __future__ import annotations

import asyncio
import copy
import json
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
from prefect.server.api.collections_data import views
from prefect.workers.base import BaseJobConfiguration

from prefect_ml.errors import InvalidInputError
from prefect_ml.flows.project_on_pool import job_variables_of
from prefect_ml.projects.definition import DockerEnvironment

pytestmark = pytest.mark.usefixtures("prefect_api")
ENVIRONMENT = DockerEnvironment("team/train:1.2", (), (("ALPHA", "$(touch x)"), "FROM_HERE", "NOT_HERE"))


def template(kind: str) -> dict:
    """The base job template of a type of work pool, as Prefect ships it."""
    known = json.loads(Path(views.__path__[0], "aggregate-worker-metadata.json").read_text())
    [found] = [workers[kind] for workers in known.values() if kind in workers]
    return copy.deepcopy(found["default_base_job_configuration"])


def rendered(kind: str, values: dict) -> dict:
    found = template(kind)
    jsonschema.validate(values, {**found["variables"], "required": []})

    class Configuration(BaseJobConfiguration):
        image: str | None = None
        volumes: list[str] | None = None
        job_manifest: dict | None = None

    made = asyncio.run(Configuration.from_template_and_values(found, values))
    return made.model_dump()


def test_docker(monkeypatch):
    monkeypatch.setenv("FROM_HERE", "here")
    environment = DockerEnvironment(ENVIRONMENT.image, ("/data:/data:ro",), ENVIRONMENT.environment)
    job = rendered("docker", job_variables_of("docker", environment))
    assert job["image"] == "team/train:1.2"
    assert job["volumes"] == ["/data:/data:ro"]
    assert job["env"] == {"ALPHA": "$(touch x)", "FROM_HERE": "here"}


def test_kubernetes(monkeypatch):
    monkeypatch.delenv("FROM_HERE", raising=False)
    job = rendered("kubernetes", job_variables_of("kubernetes", ENVIRONMENT))["job_manifest"]
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "team/train:1.2"
    container["env"] = [{"name": name, "value": value} for name, value in container["env"].items()]
    job["metadata"].pop("namespace", None)
    for version in ("1.30", "1.34"):
        kubernetes_validate.validate(job, version, strict=False)
    with pytest.raises(InvalidInputError, match="takes no volumes"):
        job_variables_of("kubernetes", DockerEnvironment("x", ("/a:/b",)))


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "HF_TOKEN", "MY_API_KEY", "PREFECT_API_KEY"])
def test_secrets_of_this_process_are_not_told_to_jobs_where_prefect_shows_them(name, monkeypatch):
    monkeypatch.setenv(name, "hunter2")
    with pytest.raises(InvalidInputError, match=f"takes {name} from here") as caught:
        job_variables_of("docker", DockerEnvironment("x", (), (name,)))
    assert "hunter2" not in str(caught.value)
    monkeypatch.delenv(name)
    assert job_variables_of("docker", DockerEnvironment("x", (), (name, ("MODE", "fast")))) == {
        "image": "x", "env": {"MODE": "fast"},
    }  # fmt: skip


def test_a_pool_of_processes_runs_no_image():
    with pytest.raises(InvalidInputError, match="docker or kubernetes"):
        job_variables_of("process", ENVIRONMENT)
