"""MLflow's own client, in a process of its own, against a server over a folder and one over a bucket."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import httpx
import pytest

from bucket import NAME, Bucket
from served import TrackingServer

MPU = "/api/2.0/mlflow-artifacts/mpu"
JSON = {"Content-Type": "application/json"}
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "true",
    "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": str(5 << 20),
    "MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE": str(5 << 20),
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "true",
    "MLFLOW_MULTIPART_DOWNLOAD_MINIMUM_FILE_SIZE": str(5 << 20),
    "MLFLOW_MULTIPART_DOWNLOAD_CHUNK_SIZE": str(5 << 20),
}

# Sends a tree with names that need encoding and a large file, lists, fetches and deletes, and prints what it saw.
SCRIPT = """
import json, sys
from pathlib import Path
from mlflow import MlflowClient
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

folder, large = Path(sys.argv[1]), sys.argv[2] == "large"
client = MlflowClient()
run = client.create_run("0").info
# A local file's name is cut at "#" and after a "%" by the client itself.
up = folder / "up"
for name in ("plain.txt", "a b.txt", "ü名.txt", "it's;here,+.txt"):
    for place in (up / name, up / "sub folder" / name):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(name)
if large:
    (up / "large.bin").write_bytes(bytes(range(256)) * (12 << 12))
client.log_artifacts(run.run_id, str(up), "in here")
client.log_text(run.run_id, "x", "delete/me.txt")
repository = get_artifact_repository(run.artifact_uri)
repository.delete_artifacts("delete")
repository.delete_artifacts("delete")
down = folder / "down"
down.mkdir()
client.download_artifacts(run.run_id, "in here", str(down))
try:
    client.download_artifacts(run.run_id, "missing.txt")
    missing = ""
except Exception as error:
    missing = str(error)
def read(root):
    return {p.relative_to(root).as_posix(): hash(p.read_bytes()) for p in root.rglob("*") if p.is_file()}
print(json.dumps({
    "root": run.artifact_uri,
    "same": read(up) == read(down / "in here"),
    "listed": [(f.path, f.is_dir, f.file_size) for f in client.list_artifacts(run.run_id, "in here")],
    "top": [f.path for f in client.list_artifacts(run.run_id)],
    "missing": missing,
}))
"""
LISTED = [
    ["in here/a b.txt", False, 7],
    ["in here/it's;here,+.txt", False, 15],
    ["in here/plain.txt", False, 9],
    ["in here/sub folder", True, None],
    ["in here/ü名.txt", False, 9],
]


def played(url, folder, size):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), size],
        env={**os.environ, **SETTINGS, "MLFLOW_TRACKING_URI": url},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_files_go_through_a_server_over_a_folder(server, tmp_path):
    seen, _ = played(server.url, tmp_path, "small")
    assert seen["same"]
    assert (seen["top"], seen["listed"]) == (["in here"], LISTED)
    assert "missing.txt" in seen["missing"]


@pytest.fixture(scope="module")
def bucket_server(tmp_path_factory):
    with Bucket() as bucket:
        server = TrackingServer(tmp_path_factory.mktemp("bucket"), bucket.environment)
        server.artifacts = f"s3://{NAME}/served"
        with server:
            yield server, bucket


def test_large_files_go_past_a_server_over_a_bucket(bucket_server, tmp_path):
    server, bucket = bucket_server
    seen, stderr = played(server.url, tmp_path, "large")
    assert seen["same"]
    assert (seen["top"], seen["listed"][2]) == (["in here"], ["in here/large.bin", False, 12 << 20])
    assert "HTTP 404" in stderr  # of the file that is not there
    assert stderr.count("Falling back to proxied download") == 1
    key = f"served/{seen['root'].removeprefix('mlflow-artifacts:/')}/in here/large.bin"
    found = bucket.client.head_object(Bucket=NAME, Key=key)
    assert found["ETag"].endswith('-3"')  # in three parts, which the client sent itself
    assert "prefect-ml-digest" not in found["Metadata"]
    assert bucket.client.list_multipart_uploads(Bucket=NAME).get("Uploads", []) == []


REFUSED = ["..", ".", "", "a/", ".prefect-ml", "x\\u0000", "x."]


@pytest.mark.parametrize("path", REFUSED)
@pytest.mark.parametrize("step", ["create", "complete", "abort"])
def test_a_direct_upload_has_a_plain_name(bucket_server, step, path):
    body = b'{"path": "%s", "num_parts": 1, "upload_id": "x", "parts": []}' % path.encode()
    answer = httpx.post(f"{bucket_server[0].url}{MPU}/{step}/team/d", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "Invalid path" in answer.json()["message"]


@pytest.mark.parametrize("path", ["../x", "/etc/x", "C:\\\\up\\\\x", "file:///x", "a/../../x", "x"])
def test_a_direct_upload_lands_in_the_folder_of_its_url(bucket_server, path):
    server, bucket = bucket_server
    body = b'{"path": "%s", "num_parts": 1}' % path.encode()
    made = httpx.post(f"{server.url}{MPU}/create/team/d", content=body, headers=JSON)
    assert made.status_code == 200
    uploads = bucket.client.list_multipart_uploads(Bucket=NAME)["Uploads"]
    assert [each["Key"] for each in uploads] == ["served/team/d/x"]
    given = {"path": "x", "upload_id": made.json()["upload_id"]}
    assert httpx.post(f"{server.url}{MPU}/abort/team/d", json=given).json() == {}
