"""Every artifact store that the contract is tested on."""

from __future__ import annotations

import contextlib
import uuid

import boto3
import fsspec
import pytest
from moto.server import ThreadedMotoServer

from prefect_ml.artifacts import open_artifacts

BUCKET = "artifacts"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.fixture(scope="session")
def s3_url():
    """A server that speaks S3's protocol."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def s3_client(s3_url):
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=s3_url,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
    )
    client.create_bucket(Bucket=BUCKET)
    yield client
    client.close()


@pytest.fixture
def s3(s3_client, s3_url, monkeypatch):
    """boto3's own client, to look past our store at what is really there."""
    for name, value in {**CREDENTIALS, "PREFECT_ML_S3_ENDPOINT": s3_url}.items():
        monkeypatch.setenv(name, value)
    return s3_client


@pytest.fixture
def memory():
    """fsspec's file system in memory, one for the process, emptied after the test."""
    files = fsspec.filesystem("memory")
    yield files
    with contextlib.suppress(FileNotFoundError):
        files.rm("/", recursive=True)


@pytest.fixture(params=["folder", "s3", "memory"])
def root_uri(request, tmp_path):
    """The URI of an empty artifact root; another kind of store joins the contract by one more parameter."""
    if request.param == "folder":
        return str(tmp_path / "artifact root")
    request.getfixturevalue(request.param)
    place = BUCKET if request.param == "s3" else "team"
    return f"{request.param}://{place}/a b/{uuid.uuid4().hex}"


@pytest.fixture
def artifacts(root_uri):
    return open_artifacts(root_uri)
