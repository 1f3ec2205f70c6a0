"""Every artifact store that the contract is tested on."""

from __future__ import annotations

import contextlib
import uuid

import fsspec
import pytest

from bucket import NAME as BUCKET
from bucket import Bucket
from prefect_ml.artifacts import open_artifacts
from served import TrackingServer


@pytest.fixture(scope="session")
def bucket():
    with Bucket() as running:
        yield running


@pytest.fixture
def s3_url(bucket):
    return bucket.url


@pytest.fixture
def s3(bucket, monkeypatch):
    """boto3's own client, to look past our store at what is really there."""
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    return bucket.client


@pytest.fixture
def memory():
    """fsspec's file system in memory, one for the process, emptied after the test."""
    files = fsspec.filesystem("memory")
    yield files
    with contextlib.suppress(FileNotFoundError):
        files.rm("/", recursive=True)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A tracking server over a folder."""
    with TrackingServer(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def served(server, monkeypatch):
    monkeypatch.setenv("PREFECT_ML_STORE_URL", server.url)
    return server


@pytest.fixture(params=["folder", "s3", "memory", "served"])
def root_uri(request, tmp_path):
    """The URI of an empty artifact root; another kind of store joins the contract by one more parameter."""
    if request.param == "folder":
        return str(tmp_path / "artifact root")
    request.getfixturevalue(request.param)
    if request.param == "served":
        return f"mlflow-artifacts:/a b/{uuid.uuid4().hex}"
    place = BUCKET if request.param == "s3" else "team"
    return f"{request.param}://{place}/a b/{uuid.uuid4().hex}"


@pytest.fixture
def artifacts(root_uri):
    return open_artifacts(root_uri)
