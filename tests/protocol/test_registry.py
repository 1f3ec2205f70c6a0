"""The registry over the wire, in the words that MLflow's clients look for."""

from __future__ import annotations

import contextlib
import shlex
import time
import uuid

import pytest

from prefect_ml.entities import Policy, Route
from prefect_ml.store import open_store

SOURCE = "s3://models/churn"
LOCAL = "To use a local path as a model version source, the {} request parameter has to be specified"
PLACE = "an absolute path must be provided without relative path references present"


@pytest.fixture
def name(api):
    made = f"model {uuid.uuid4().hex}"
    api.post("registered-models/create", name=made)
    return made


@pytest.fixture(scope="module")
def model(api):
    """A model with one version, which no test changes."""
    made = f"kept {uuid.uuid4().hex}"
    api.post("registered-models/create", name=made)
    api.post("model-versions/create", name=made, source=SOURCE)
    return made


def version(api, name, **asked):
    return api.post("model-versions/create", name=name, source=SOURCE, **asked)["model_version"]


def test_a_model_has_the_shape_that_clients_read(api):
    name = f"shape {uuid.uuid4().hex}"
    tags = [{"key": "a", "value": "1"}]
    made = api.post("registered-models/create", name=name, tags=tags, description="who leaves")["registered_model"]
    assert set(made) == {"name", "creation_timestamp", "last_updated_timestamp", "description", "tags"}
    version(api, name)
    api.post("registered-models/alias", name=name, alias="champion", version=1)
    found = api.get("registered-models/get", name=name)["registered_model"]
    assert found["aliases"] == [{"alias": "champion", "version": "1"}]
    [latest] = found["latest_versions"]
    assert latest | {"creation_timestamp": 0, "last_updated_timestamp": 0} == {
        "name": name,
        "version": "1",
        "creation_timestamp": 0,
        "last_updated_timestamp": 0,
        "current_stage": "None",
        "description": "",
        "source": SOURCE,
        "run_id": "",
        "status": "READY",
        "run_link": "",
        "aliases": ["champion"],
    }
    assert found["last_updated_timestamp"] >= made["last_updated_timestamp"]


@pytest.mark.parametrize(
    ("route", "body", "message"),
    [
        ("POST registered-models/create", {"name": None}, "Missing value for required parameter 'name'"),
        ("POST registered-models/create", {"name": ""}, "Missing value for required parameter 'name'"),
        ("POST registered-models/rename", {}, "Missing value for required parameter 'new_name'"),
        ("POST registered-models/rename", {"new_name": ""}, "Missing value for required parameter 'new_name'"),
        ("POST registered-models/set-tag", {"value": "x"}, "Missing value for required parameter 'key'"),
        ("POST registered-models/set-tag", {"key": "", "value": "x"}, "Missing value for required parameter 'key'"),
        (
            "POST registered-models/set-tag",
            {"key": "k", "value": "x" * 100_001},
            "'value' exceeds the maximum length of 100000 characters",
        ),
        ("GET model-versions/get", {"version": "I am not a version"}, "Parameter 'version' must be an integer, got"),
        ("GET model-versions/get", {"version": "-1"}, "Parameter 'version' must be an integer, got '-1'"),
        ("POST model-versions/create", {}, "Missing value for required parameter 'source'"),
        ("POST registered-models/alias", {"alias": "LATEST", "version": "1"}, "(case insensitive) is reserved."),
        ("POST registered-models/alias", {"alias": "v12", "version": "1"}, "Version alias name 'v12' is reserved."),
        ("POST registered-models/alias", {"alias": "x" * 256, "version": "1"}, "255"),
        ("GET registered-models/alias", {"alias": "none"}, "Registered model alias none not found."),
        (
            "POST model-versions/transition-stage",
            {"version": "1", "stage": "unknown"},
            "Invalid Model Version stage: unknown. Value must be one of None, Staging, Production, Archived.",
        ),
        (
            "POST model-versions/transition-stage",
            {"version": "1", "stage": "Archived", "archive_existing_versions": True},
            "because 'Archived' is not an Active stage. Valid stages are ['Staging', 'Production']",
        ),
        (
            "POST model-versions/transition-stage",
            {"version": "1", "stage": "Staging", "archive_existing_versions": "perhaps"},
            "Invalid value \"perhaps\" for parameter 'archive_existing_versions'",
        ),
        ("POST registered-models/get-latest-versions", {"stages": ["no"]}, "Invalid Model Version stage"),
    ],
)
def test_what_is_refused_says_so_in_mlflows_words(api, model, route, body, message):
    method, path = route.split()
    status, code, said = api.refused(path, method, **({"name": model} | body))
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert message in said


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "registered-models/get", {}),
        ("PATCH", "registered-models/update", {"description": "x"}),
        ("POST", "registered-models/rename", {"new_name": "x"}),
        ("DELETE", "registered-models/delete", {}),
        ("POST", "registered-models/set-tag", {"key": "a", "value": "b"}),
        ("DELETE", "registered-models/delete-tag", {"key": "a"}),
        ("POST", "registered-models/get-latest-versions", {}),
        ("POST", "registered-models/alias", {"alias": "a", "version": "1"}),
        ("GET", "registered-models/alias", {"alias": "a"}),
        ("POST", "model-versions/create", {"source": SOURCE}),
        ("GET", "model-versions/get", {"version": "1"}),
        ("GET", "model-versions/get-download-uri", {"version": "1"}),
    ],
)
def test_what_is_not_there_is_404(api, method, path, body):
    unknown = f"unknown {uuid.uuid4().hex}"
    status, code, said = api.refused(path, method, name=unknown, **body)
    assert (status, code) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert f"name={unknown}" in said


def test_names_are_taken_once_and_differ_by_case(api, name):
    status, code, said = api.refused("registered-models/create", name=name)
    assert (status, code) == (400, "RESOURCE_ALREADY_EXISTS")
    assert f"Registered Model (name={name}) already exists." in said
    assert api.post("registered-models/create", name=name.upper())["registered_model"]["name"] == name.upper()
    assert api.refused("registered-models/rename", name=name, new_name=name.upper())[1] == "RESOURCE_ALREADY_EXISTS"


def test_numbers_of_deleted_versions_are_not_given_again(api, name):
    assert [version(api, name)["version"] for _ in range(3)] == ["1", "2", "3"]
    assert api.send("DELETE", "model-versions/delete", {"name": name, "version": "3"}).json() == {}
    assert version(api, name)["version"] == "4"
    for method, path, more in (
        ("GET", "model-versions/get", {}),
        ("PATCH", "model-versions/update", {"description": "x"}),
        ("DELETE", "model-versions/delete", {}),
        ("POST", "model-versions/set-tag", {"key": "a", "value": "b"}),
        ("POST", "model-versions/transition-stage", {"stage": "Staging"}),
        ("POST", "registered-models/alias", {"alias": "a"}),
    ):
        status, code, said = api.refused(path, method, name=name, version="3", **more)
        assert (status, code) == (404, "RESOURCE_DOES_NOT_EXIST")
        assert f"Model Version (name={name}, version=3) not found" in said


def test_a_rename_carries_the_versions(api, name):
    made = version(api, name)
    api.post("registered-models/alias", name=name, alias="champion", version="1")
    time.sleep(0.002)
    renamed = api.post("registered-models/rename", name=name, new_name=name + " b")["registered_model"]
    assert renamed["name"] == name + " b"
    found = api.get("registered-models/alias", name=name + " b", alias="champion")["model_version"]
    assert (found["name"], found["version"]) == (name + " b", "1")
    assert min(found["last_updated_timestamp"], renamed["last_updated_timestamp"]) > made["last_updated_timestamp"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/etc/passwd", LOCAL.format("run_id")),
        ("file:///etc", LOCAL.format("run_id")),
        ("./model", LOCAL.format("run_id")),
        ("model", LOCAL.format("run_id")),
        ("C:\\model", LOCAL.format("run_id")),
        ("dummy-source", LOCAL.format("run_id")),
        ("http://host/../secret", PLACE),
        ("https://host/a/%2e%2e/b", PLACE),
        ("s3://bucket/%252e%252e/b", PLACE),
        ("s3a://bucket/a%2f..%2fb", PLACE),
        ("gs://bucket/a/..", PLACE),
        ("dbfs:/a/../b", PLACE),
        ("ftp://host/%00", PLACE),
        ("mlflow-artifacts://host:1/../a", PLACE),
        ("mlflow-artifacts:/a/../b", PLACE),
        ("mysql://host/../a", PLACE),
    ],
)
def test_a_source_that_is_no_place_of_its_own_is_refused(api, model, source, message):
    status, code, said = api.refused("model-versions/create", name=model, source=source)
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert f"Invalid model version source: '{source}'" in said
    assert message in said


def test_a_local_source_needs_the_run_or_model_that_it_lies_in(api, name, tmp_path):
    location = {"name": f"local {uuid.uuid4().hex}", "artifact_location": str(tmp_path)}
    experiment = api.post("experiments/create", **location)["experiment_id"]
    run = api.post("runs/create", experiment_id=experiment)["run"]["info"]
    inside = f"{run['artifact_uri']}/model"
    made = api.post("model-versions/create", name=name, source=inside, run_id=run["run_id"])["model_version"]
    assert made["source"] == inside
    for outside in ("/etc", f"{run['artifact_uri']}/../model", f"{run['artifact_uri']}-other"):
        said = api.refused("model-versions/create", name=name, source=outside, run_id=run["run_id"])
        assert said[:2] == (400, "INVALID_PARAMETER_VALUE")
    unknown = api.refused("model-versions/create", name=name, source=inside, run_id=uuid.uuid4().hex)
    assert unknown[:2] == (404, "RESOURCE_DOES_NOT_EXIST")
    logged = api.post("logged-models", experiment_id=experiment)["model"]["info"]
    own = api.post("model-versions/create", name=name, source=logged["artifact_uri"], model_id=logged["model_id"])
    assert own["model_version"]["model_id"] == logged["model_id"]
    elsewhere = api.refused("model-versions/create", name=name, source=inside, model_id=logged["model_id"])
    assert LOCAL.format("model_id") in elsewhere[2]
    # Nobody looks for the run of a place that is not the server's.
    remote = api.post("model-versions/create", name=name, source=SOURCE, run_id="of another server")
    assert remote["model_version"]["run_id"] == "of another server"


def test_a_copy_has_the_place_of_its_original(api, name, model):
    copy = api.post("model-versions/create", name=name, source=f"models:/{model}/1")["model_version"]
    found = api.get("model-versions/get-download-uri", name=name, version=copy["version"])
    assert found == {"artifact_uri": SOURCE}
    assert api.refused("model-versions/create", name=name, source="models:/none/1")[0] == 404


def test_an_alias_moves_and_goes_with_its_version(api, name):
    for _ in range(2):
        version(api, name)
    for number in ("1", "2"):
        assert api.post("registered-models/alias", name=name, alias="champion", version=number) == {}
        found = api.get("registered-models/alias", name=name, alias="champion")["model_version"]
        assert (found["version"], found["aliases"]) == (number, ["champion"])
    assert api.refused("registered-models/alias", name=name, alias="a", version="9")[0] == 404
    api.send("DELETE", "model-versions/delete", {"name": name, "version": "2"})
    assert api.refused("registered-models/alias", "GET", name=name, alias="champion")[0] == 400
    for _ in range(2):
        gone = api.send("DELETE", "registered-models/alias", {"name": name, "alias": "champion"})
        assert (gone.status_code, gone.json()) == (200, {})
    assert api.get("registered-models/alias", name=name, alias="latest")["model_version"]["version"] == "1"


def test_archiving_touches_the_others_of_the_stage(api, name):
    for _ in range(3):
        version(api, name)
    for number in ("1", "2"):
        moved = api.post("model-versions/transition-stage", name=name, version=number, stage="pRoduction")
        assert moved["model_version"]["current_stage"] == "Production"
    before = api.get("model-versions/get", name=name, version="1")["model_version"]["last_updated_timestamp"]
    archive = {"stage": "Production", "archive_existing_versions": True}
    api.post("model-versions/transition-stage", name=name, version="3", **archive)
    for number in ("1", "2"):
        found = api.get("model-versions/get", name=name, version=number)["model_version"]
        assert found["current_stage"] == "Archived"
        assert found["last_updated_timestamp"] >= before
    latest = api.post("registered-models/get-latest-versions", name=name, stages=["production", "ARCHIVED"])
    assert {(each["current_stage"], each["version"]) for each in latest["model_versions"]} == {
        ("Production", "3"),
        ("Archived", "2"),
    }
    assert api.get("registered-models/get-latest-versions", name=name, stages=["Staging"]) == {}


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        ("registered-models", {"max_results": 0}, "Invalid value 0 for parameter 'max_results' supplied"),
        ("registered-models", {"max_results": 1001}, "It must be at most 1000"),
        ("registered-models", {"page_token": "evilhax"}, "Invalid page token, could not base64-decode"),
        ("registered-models", {"filter": "name!=something"}, "string value something. Use either single or double"),
        ("registered-models", {"filter": "run_id = 'a'"}, "Invalid attribute key 'run_id' specified. Valid keys are"),
        ("registered-models", {"filter": "evilhax = true"}, "Invalid clause(s) in filter string: evilhax, =, true"),
        (
            "registered-models",
            {"order_by": "creation_timestamp"},
            "Invalid order by key 'creation_timestamp' specified. Valid keys are",
        ),
        ("model-versions", {"max_results": 200_001}, "It must be at most 200000"),
        ("model-versions", {"filter": "colour = 'a'"}, "Invalid attribute key 'colour' specified"),
        (
            "model-versions",
            {"filter": "run_id IN ()"},
            "expected a non-empty list of string values, but got empty list",
        ),
        ("model-versions", {"filter": "run_id IN (1, 2)"}, "but got different type in list: (1"),
        ("model-versions", {"filter": "run_id IN ('a' 'b')"}, "ill-formed list"),
    ],
)
def test_a_search_that_is_none_is_refused(api, path, query, message):
    status, code, said = api.refused(f"{path}/search", "GET", **query)
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert message in said


def test_versions_come_last_updated_first(api, name):
    for _ in range(3):
        version(api, name, tags=[{"key": "K", "value": "1"}])
    api.send("PATCH", "model-versions/update", {"name": name, "version": "1", "description": "newest"})
    found = api.get("model-versions/search", filter=f"name = '{name}'")["model_versions"]
    assert [each["version"] for each in found] == ["1", "3", "2"]
    assert api.get("model-versions/search", filter=f"name = '{name}' AND tags.`k` = '1'") == {}
    half = api.post("model-versions/search", filter=f"name = '{name}' AND version_number > 1", max_results="1")
    assert ([each["version"] for each in half["model_versions"]], "next_page_token" in half) == (["3"], True)


@pytest.fixture(scope="module")
def protected(api, server):
    """A model whose version 1 is @champion and in Production, both protected; version 2 is neither."""
    name = f"protected {uuid.uuid4().hex}"
    api.post("registered-models/create", name=name)
    for _ in range(2):
        version(api, name)
    api.post("registered-models/alias", name=name, alias="champion", version="1")
    api.post("model-versions/transition-stage", name=name, version="1", stage="Production")
    with contextlib.closing(open_store(server.url)) as store:
        policy = Policy(f"of {name}", 0, model_pattern=name, aliases=("champion",), stages=("Production",))
        store.save_policy(policy, actor="ops")
    return name


@pytest.mark.parametrize(
    ("route", "body", "way"),
    [
        ("POST registered-models/alias", {"alias": "champion", "version": "2"}, "2 --alias champion"),
        ("POST registered-models/alias", {"alias": "champion", "version": "1"}, "1 --alias champion"),
        ("DELETE registered-models/alias", {"alias": "champion"}, "VERSION --alias champion"),
        (
            "POST model-versions/transition-stage",
            {"version": "2", "stage": "pRODUCTION"},
            "2 --alias champion --stage Production",
        ),
        (
            "POST model-versions/transition-stage",
            {"version": "1", "stage": "None"},
            "1 --alias champion --stage Production",
        ),
        ("DELETE model-versions/delete", {"version": "1"}, "VERSION --alias champion"),
        ("DELETE registered-models/delete", {}, "VERSION --alias champion"),
        ("POST registered-models/rename", {"new_name": "elsewhere"}, "VERSION --alias champion"),
    ],
)
def test_what_a_policy_protects_is_403_with_the_way_to_ask(api, protected, route, body, way):
    def state():
        model = api.get("registered-models/get", name=protected)
        return model, api.get("model-versions/search", filter=f"name = '{protected}'")

    method, path = route.split()
    before = state()
    status, code, said = api.refused(path, method, name=protected, **body)
    assert (status, code) == (403, "PERMISSION_DENIED")
    asked = said.partition(f"is protected by policy 'of {protected}'. Request a promotion: ")[2]
    assert shlex.split(asked) == ["prefect-ml", "promote", protected, *way.split()]
    assert state() == before


def test_what_an_endpoint_routes_to_is_403_for_who_would_take_it_away(api, server, name):
    version(api, name)
    with contextlib.closing(open_store(server.url)) as store:
        api.post("registered-models/alias", name=name, alias="champion", version="1")
        store.create_endpoint("routed", [Route(name, alias="champion", weight=100.0)])
        for path, body in (
            ("model-versions/delete", {"version": "1"}),
            ("registered-models/alias", {"alias": "champion"}),
            ("registered-models/delete", {}),
        ):
            status, code, said = api.refused(path, "DELETE", name=name, **body)
            assert (status, code) == (403, "PERMISSION_DENIED")
            assert f"the endpoint 'routed' routes to models:/{name}@champion" in said
        assert api.refused("registered-models/rename", "POST", name=name, new_name="elsewhere")[0] == 403
        store.delete_endpoint("routed")
    api.send("DELETE", "registered-models/delete", {"name": name}).raise_for_status()
