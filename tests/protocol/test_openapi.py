"""The OpenAPI document: valid, whole, explained, and true enough that requests made from it never break the server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from prefect_ml.protocol.table import ROUTES

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")


@pytest.fixture(scope="module")
def document(api):
    answer = api.client.get("/openapi.json")
    assert answer.status_code == 200
    return answer.json()


@pytest.fixture(scope="module")
def operations(document):
    return {(method.upper(), path): each for path, of in document["paths"].items() for method, each in of.items()}


def test_it_is_valid_openapi_3_1(document):
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()


def test_every_route_is_in_it_and_nothing_else(operations):
    # Where a parameter takes the rest of a path, the document has its name alone.
    routes = {(method, route.paths[0].replace(":path}", "}")) for route in ROUTES for method in route.methods}
    assert set(operations) == routes
    assert len(routes) > 60


def test_every_operation_is_explained_with_its_answer(operations):
    for at, each in operations.items():
        assert each["summary"], at
        assert each["description"], at
        assert each["tags"], at
        assert set(each["responses"]) == {"200", "4XX"}, at
        assert "schema" in each["responses"]["200"]["content"]["application/json"], at


def test_every_field_that_must_be_given_has_an_example(operations):
    without = []
    for at, each in operations.items():
        parameters = {found["name"]: found["schema"] for found in each.get("parameters", []) if found["required"]}
        body = each.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        fields = {name: body["properties"][name] for name in body.get("required", [])}
        without += [(*at, name) for name, schema in {**parameters, **fields}.items() if not schema.get("examples")]
    assert without == []


def test_the_page_of_the_documentation_is_served(api):
    answer = api.client.get("/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "/openapi.json" in answer.text


def test_no_request_made_from_it_breaks_the_server(server, tmp_path):
    command = [SCHEMATHESIS, "run", f"{server.url}/openapi.json", "--no-color", "--warnings", "off"]
    command += ["--checks", "not_a_server_error,response_schema_conformance,content_type_conformance"]
    command += ["--phases", "coverage,fuzzing", "--max-examples", "10", "--max-time", "15", "--workers", "2"]
    command += ["--seed", "1", "--suppress-health-check", "all", "--generation-database", "none"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    assert "generated" in done.stdout
