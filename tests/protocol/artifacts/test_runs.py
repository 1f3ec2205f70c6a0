"""The files of runs, model versions and logged models, found by what is recorded of them."""

from __future__ import annotations

import json
import uuid
from urllib.parse import quote, urlencode

import pytest

AJAX = "/ajax-api/2.0/mlflow"


def query(target, /, **given):
    return f"{target}?{urlencode(given, quote_via=quote)}"


def listed(wire, **given):
    answer = wire.send("GET", query("/api/2.0/mlflow/artifacts/list", **given))
    assert answer.status == 200
    return json.loads(answer.body)


def test_the_files_of_a_run_are_listed_and_sent(api, wire, run, root):
    wire.put(f"{root}/model/a b%.txt", b"content")
    run_id = run["run_id"]
    for named in ({"run_id": run_id}, {"run_uuid": run_id}):
        found = listed(wire, **named)
        assert found == {"root_uri": run["artifact_uri"], "files": [{"path": "model", "is_dir": True}]}
        found = listed(wire, path="model", **named)
        assert found["files"] == [{"path": "model/a b%.txt", "is_dir": False, "file_size": 7}]
        answer = wire.send("GET", query("/get-artifact", path="model/a b%.txt", **named))
        assert (answer.status, answer.body) == (200, b"content")
        assert answer.headers["content-disposition"] == (
            "attachment; filename=\"a b%.txt\"; filename*=UTF-8''a%20b%25.txt"
        )
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert listed(wire, run_id=run_id, path="nothing") == {"root_uri": run["artifact_uri"]}


def test_a_file_is_uploaded_to_a_run(api, wire, run):
    run_id = run["run_id"]
    answer = wire.send("POST", query(f"{AJAX}/upload-artifact", run_uuid=run_id, path="d/f.txt"), b"content")
    assert (answer.status, answer.body) == (200, b"{}")
    assert wire.send("GET", query("/get-artifact", run_id=run_id, path="d/f.txt")).body == b"content"
    for given, body, message in (
        ({"path": "f"}, b"x", "Request must specify run_uuid."),
        ({"run_uuid": run_id}, b"x", "Request must specify path."),
        ({"run_uuid": run_id, "path": "f"}, b"", "Request must specify data."),
        ({"run_uuid": run_id, "path": "../f"}, b"x", "Invalid path"),
    ):
        answer = wire.send("POST", query(f"{AJAX}/upload-artifact", **given), body)
        assert answer.status == 400
        assert json.loads(answer.body)["message"].startswith(message)
    api.post("runs/delete", run_id=run_id)
    answer = wire.send("POST", query(f"{AJAX}/upload-artifact", run_uuid=run_id, path="f"), b"x")
    assert (answer.status, json.loads(answer.body)["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize("kind", ["served", "runs", "models", "version"])
def test_a_file_of_a_model_version_is_found_wherever_its_source_leads(api, wire, run, root, kind):
    model_id = api.post("logged-models", experiment_id=run["experiment_id"], name="m")["model"]["info"]["model_id"]
    wire.put(f"{root}/model/MLmodel", b"flavors: {}")
    wire.put(f"{run['experiment_id']}/models/{model_id}/artifacts/MLmodel", b"flavors: {}")
    name = f"m-{uuid.uuid4().hex}"
    for each in (name, f"{name}-copy"):
        api.post("registered-models/create", name=each)
    sources = {
        "served": f"{run['artifact_uri']}/model",
        "runs": f"runs:/{run['run_id']}/model",
        "models": f"models:/{model_id}",
        "version": f"{run['artifact_uri']}/model",
    }
    made = api.post("model-versions/create", name=name, source=sources[kind])["model_version"]
    if kind == "version":
        name = f"{name}-copy"
        made = api.post("model-versions/create", name=name, source=f"models:/{name.removesuffix('-copy')}/1")
        made = made["model_version"]
    given = {"name": name, "version": made["version"], "path": "MLmodel"}
    answer = wire.send("GET", query("/model-versions/get-artifact", **given))
    assert (answer.status, answer.body) == (200, b"flavors: {}")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    for wrong in ({"path": "../MLmodel"}, {"version": "x"}, {"path": ""}):
        assert wire.send("GET", query("/model-versions/get-artifact", **{**given, **wrong})).status == 400
    assert wire.send("GET", query("/model-versions/get-artifact", **{**given, "path": "no"})).status == 404


def test_the_files_of_a_logged_model_are_listed_and_sent(api, wire, run):
    info = api.post("logged-models", experiment_id=run["experiment_id"], name="m")["model"]["info"]
    model_id = info["model_id"]
    root = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
    wire.put(f"{root}/d/f.json", b"{}")
    found = api.get(f"logged-models/{model_id}/artifacts/directories", artifact_directory_path="d")
    assert found == {
        "root_uri": info["artifact_uri"],
        "files": [{"path": "d/f.json", "is_dir": False, "file_size": 2}],
    }
    path = f"{AJAX}/logged-models/{model_id}/artifacts/files"
    assert wire.send("GET", query(path, artifact_file_path="d/f.json")).body == b"{}"
    assert wire.send("GET", query(path, artifact_file_path="../f.json")).status == 400
    assert wire.send("GET", path).status == 400
    assert wire.send("GET", query(path.replace(model_id, "m-unknown"), artifact_file_path="f")).status == 404


@pytest.mark.parametrize(
    "location",
    ["file:///etc", "/etc", "s3://bucket/x", "http://169.254.169.254/latest", "gs://bucket/x", "memory://x"],
)
def test_a_run_that_keeps_its_files_elsewhere_is_refused(api, wire, location):
    made = api.post("experiments/create", name=uuid.uuid4().hex, artifact_location=location)
    run = api.post("runs/create", experiment_id=made["experiment_id"])["run"]["info"]
    assert run["artifact_uri"].startswith(location)
    run_id = run["run_id"]
    for method, path, body in (
        ("GET", query("/api/2.0/mlflow/artifacts/list", run_id=run_id), None),
        ("GET", query("/get-artifact", run_id=run_id, path="passwd"), None),
        ("POST", query(f"{AJAX}/upload-artifact", run_uuid=run_id, path="f"), b"x"),
    ):
        answer = wire.send(method, path, body)
        assert answer.status == 400
        assert "not kept by this server" in json.loads(answer.body)["message"]


def test_a_run_recorded_before_the_server_is_served_from_its_folder(api, server, wire):
    for location in (str(server.artifacts / "before"), (server.artifacts / "be fore").as_uri()):
        made = api.post("experiments/create", name=uuid.uuid4().hex, artifact_location=location)
        run = api.post("runs/create", experiment_id=made["experiment_id"])["run"]["info"]
        given = {"run_uuid": run["run_id"], "path": "f"}
        assert wire.send("POST", query(f"{AJAX}/upload-artifact", **given), b"content").status == 200
        assert wire.send("GET", query("/get-artifact", **given)).body == b"content"
        assert [entry["path"] for entry in listed(wire, run_id=run["run_id"])["files"]] == ["f"]
    beside = api.post("experiments/create", name=uuid.uuid4().hex, artifact_location=f"{server.artifacts}-beside")
    run = api.post("runs/create", experiment_id=beside["experiment_id"])["run"]["info"]
    assert wire.send("GET", query("/get-artifact", run_id=run["run_id"], path="f")).status == 400
