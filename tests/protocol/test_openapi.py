"""The OpenAPI document: valid, whole, explained, and true enough that requests made from it never break the server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from prefect_ml.protocol.artifacts.documented import file_paths
from prefect_ml.protocol.table import ROUTES
from prefect_ml.server.promotions import ROUTES as PROMOTIONS

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


def test_every_schema_that_it_refers_to_is_in_it(document):
    names = set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(document)))
    assert names
    assert {name for name in names if not name.startswith("#/components/schemas/")} == set()
    assert {name.rpartition("/")[2] for name in names} <= set(document["components"]["schemas"])


def test_every_route_is_in_it_and_nothing_else(operations):
    # Where a parameter takes the rest of a path, the document has its name alone.
    served = (*ROUTES, *PROMOTIONS)
    routes = {(method, route.paths[0].replace(":path}", "}")) for route in served for method in route.methods}
    files = {(method.upper(), path) for path, of in file_paths().items() for method in of}
    assert set(operations) == routes | files
    assert not routes & files
    assert len(routes) > 60


def test_every_path_of_files_that_it_tells_of_is_answered(api):
    for path, operations in file_paths().items():
        for method in operations:
            filled = re.sub(r"\{\w+\}", "none", path)
            answer = api.client.request(method.upper(), filled, json={})
            assert answer.headers["content-type"] == "application/json", (method, path, answer.text)


def test_every_operation_is_explained_with_its_answer(operations):
    for at, each in operations.items():
        assert each["summary"], at
        assert each["description"], at
        assert each["tags"], at
        assert set(each["responses"]) == {"200", "4XX"}, at
        [content] = each["responses"]["200"]["content"].values()
        assert "schema" in content, at


def test_every_field_that_must_be_given_has_an_example(operations, document):
    without = []
    for at, each in operations.items():
        parameters = {found["name"]: found["schema"] for found in each.get("parameters", []) if found["required"]}
        body = each.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        body = document["components"]["schemas"][body["$ref"].rpartition("/")[2]] if "$ref" in body else body
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
    command += ["--exclude-path-regex", "mpu|presigned"]  # what only a bucket can do is answered 501
    command += ["--seed", "1", "--suppress-health-check", "all", "--generation-database", "none"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    assert "generated" in done.stdout
