"""Endpoints of SageMaker, against a real server that speaks its protocol, and the container that it would start."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import boto3
import httpx
import pytest
from moto.sagemaker.models import sagemaker_backends
from moto.sagemaker.responses import SageMakerResponse
from sklearn.linear_model import LinearRegression

from prefect_ml.cli import app
from prefect_ml.deploying import sagemaker
from prefect_ml.deploying.inside import command
from prefect_ml.deploying.model_data import pack
from prefect_ml.deploying.sagemaker import Capacity, deploy
from prefect_ml.errors import ArtifactError, InvalidInputError, InvalidNameError, NotFoundError
from prefect_ml.models.digest import folder_digest
from prefect_ml.models.folder import save_model
from prefect_ml.serving import run_server
from prefect_ml.settings import Settings
from prefect_ml.store import open_store

sys.path.append(str(Path(__file__).parents[1]))
from bucket import CREDENTIALS, NAME, Bucket

COMMAND = Path(sys.executable).with_name("prefect-ml")
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/linear:1"
ROLE = "arn:aws:iam::123456789012:role/service-role/models"
PLACE = f"s3://{NAME}/served"


def update_endpoint(self):
    """UpdateEndpoint, which moto's server does not know: the endpoint has another configuration at once."""
    asked = json.loads(self.body)
    endpoint = self.sagemaker_backend.endpoints[asked["EndpointName"]]
    config = self.sagemaker_backend.describe_endpoint_config(asked["EndpointConfigName"])
    endpoint.endpoint_config_name = config["EndpointConfigName"]
    return json.dumps({"EndpointArn": endpoint.arn})


@pytest.fixture(scope="module")
def bucket():
    with Bucket() as running, pytest.MonkeyPatch.context() as patch:
        patch.setattr(SageMakerResponse, "update_endpoint", update_endpoint, raising=False)
        yield running


@pytest.fixture(scope="module")
def client(bucket):
    made = boto3.session.Session().client(
        "sagemaker",
        endpoint_url=bucket.url,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
    )
    yield made
    made.close()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two models, doubling and tripling."""
    folder = tmp_path_factory.mktemp("models")
    rows = [[1.0], [2.0], [3.0]]
    for factor in (2, 3):
        model = LinearRegression().fit(rows, [factor * row[0] for row in rows])
        save_model(model, folder / f"times-{factor}", input_example=rows)
    return folder


@pytest.fixture
def environment(bucket, monkeypatch):
    found = {**bucket.environment, "AWS_ENDPOINT_URL_SAGEMAKER": bucket.url}
    for key, value in found.items():
        monkeypatch.setenv(key, value)
    return found


@pytest.fixture
def deployed(environment, models):
    """Deploys a model under a name."""
    store = open_store()

    def make(factor=2, name="linear", **given):
        wanted = {"image": IMAGE, "role": ROLE, "place": PLACE, "settings": Settings(), "timeout": 60.0, **given}
        return deploy(store, str(models / f"times-{factor}"), name, **wanted)

    yield make
    store.close()


def names(client):
    return {
        "endpoints": [each["EndpointName"] for each in client.list_endpoints()["Endpoints"]],
        "configs": [each["EndpointConfigName"] for each in client.list_endpoint_configs()["EndpointConfigs"]],
        "models": [each["ModelName"] for each in client.list_models()["Models"]],
    }


def test_an_endpoint_is_made_updated_and_deleted_with_all_that_is_its_own(deployed, client, bucket, models):
    first = deployed(2, capacity=Capacity(environment={"PREFECT_ML_SERVE_THREADS": "2"}))
    assert first.changed
    assert names(client) == {"endpoints": ["linear"], "configs": [first.config], "models": [first.config]}
    assert client.describe_endpoint(EndpointName="linear")["EndpointStatus"] == "InService"
    container = client.describe_model(ModelName=first.config)["PrimaryContainer"]
    assert container["Image"] == IMAGE
    assert container["Environment"] == {"PREFECT_ML_SERVE_HOSTS": "*", "PREFECT_ML_SERVE_THREADS": "2"}
    assert container["ModelDataUrl"] == first.model_data
    [variant] = client.describe_endpoint_config(EndpointConfigName=first.config)["ProductionVariants"]
    assert (variant["ModelName"], variant["InstanceType"], variant["InitialInstanceCount"]) == (
        first.config,
        "ml.m5.large",
        1,
    )

    again = deployed(2, capacity=Capacity(environment={"PREFECT_ML_SERVE_THREADS": "2"}))
    assert again == first._replace(changed=False)

    second = deployed(3)
    assert second.changed
    assert second.digest == folder_digest(models / "times-3")
    assert client.describe_endpoint(EndpointName="linear")["EndpointConfigName"] == second.config
    assert names(client) == {"endpoints": ["linear"], "configs": [second.config], "models": [second.config]}
    keys = [each["Key"] for each in bucket.client.list_objects_v2(Bucket=NAME, Prefix="served/")["Contents"]]
    digests = [each.digest.removeprefix("sha256:") for each in (first, second)]
    assert sorted(keys) == sorted(f"served/linear/{digest}/model.tar.gz" for digest in digests)

    sagemaker.delete("linear", timeout=60)
    assert names(client) == {"endpoints": [], "configs": [], "models": []}
    with pytest.raises(NotFoundError, match="no endpoint 'linear'"):
        sagemaker.delete("linear")


def test_an_endpoint_that_failed_is_made_anew_and_one_that_does_not_come_is_said(deployed, client, monkeypatch):
    first = deployed(2, name="failing")
    known = sagemaker_backends["123456789012"]["us-east-1"].endpoints["failing"]
    monkeypatch.setattr(known, "endpoint_status", "Failed")
    again = deployed(2, name="failing")
    assert again == first
    known = sagemaker_backends["123456789012"]["us-east-1"].endpoints["failing"]
    assert known.endpoint_status == "InService"

    def back(self):
        known.failure_reason = "the container did not answer /ping"
        return json.dumps({"EndpointArn": known.arn})

    with monkeypatch.context() as patch:
        patch.setattr(SageMakerResponse, "update_endpoint", back)
        with pytest.raises(ArtifactError, match=r"serves what it did before: the container did not answer /ping"):
            deployed(3, name="failing")
        patch.setattr(known, "endpoint_status", "Updating")
        with pytest.raises(ArtifactError, match="is still Updating"):
            deployed(3, name="failing", timeout=0.0)
    assert client.describe_model(ModelName=first.config)["ModelName"] == first.config
    sagemaker.delete("failing", timeout=60)


def test_what_others_made_is_left_alone(deployed, client):
    client.create_model(ModelName="theirs", PrimaryContainer={"Image": IMAGE}, ExecutionRoleArn=ROLE)
    variant = {
        "VariantName": "a",
        "ModelName": "theirs",
        "InitialInstanceCount": 1,
        "InstanceType": "ml.m5.large",
        "InitialVariantWeight": 1.0,
    }
    client.create_endpoint_config(EndpointConfigName="theirs", ProductionVariants=[variant])
    client.create_endpoint(EndpointName="theirs", EndpointConfigName="theirs")
    with pytest.raises(InvalidInputError, match="was made by others"):
        deployed(name="theirs")
    with pytest.raises(InvalidInputError, match="was made by others"):
        sagemaker.delete("theirs")
    assert client.describe_endpoint(EndpointName="theirs")["EndpointConfigName"] == "theirs"


def test_the_commands_do_the_same(environment, models, client, capsys):
    options = ["--name", "by-command", "--image", IMAGE, "--role", ROLE, "--place", PLACE, "--instances", "2", "--json"]
    app(["sagemaker", "deploy", *options, "--", str(models / "times-2")], result_action="return_value")
    said = json.loads(capsys.readouterr().out)
    [variant] = client.describe_endpoint_config(EndpointConfigName=said["config"])["ProductionVariants"]
    assert variant["InitialInstanceCount"] == 2
    app(["sagemaker", "delete", "by-command"], result_action="return_value")
    assert "by-command" not in names(client)["endpoints"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "a/b"}, "no name of a deployment"),
        ({"image": "linear"}, "no tag of its own"),
        ({"role": "models"}, "is no role"),
        ({"place": "/models"}, "must look like"),
        ({"capacity": Capacity("m5.large")}, "cannot be meant"),
        ({"capacity": Capacity(instances=0)}, "cannot be meant"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_done(given, said, deployed, client):
    before = names(client)
    with pytest.raises(InvalidInputError, match=said):
        deployed(**given)
    assert names(client) == before


def test_a_bucket_that_is_not_there_is_said(deployed, client):
    before = names(client)
    with pytest.raises(InvalidInputError, match="NoSuchBucket"):
        deployed(name="nowhere", place="s3://not-there/served")
    assert names(client) == before


def test_without_a_region_it_is_said(monkeypatch, environment):
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(ArtifactError, match="region"):
        sagemaker.delete("linear")


def test_a_packed_model_has_the_same_bytes_everywhere_and_no_links(models, tmp_path):
    copy = shutil.copytree(models / "times-2", tmp_path / "copy", copy_function=shutil.copyfile)
    (copy / "MLmodel").chmod(0o600)
    pack(models / "times-2", tmp_path / "a.tar.gz")
    pack(copy, tmp_path / "b.tar.gz")
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()
    (copy / "link").symlink_to("/etc/passwd")
    with pytest.raises(InvalidNameError, match="link"):
        pack(copy, tmp_path / "c.tar.gz")


def test_only_where_every_name_is_served_a_server_without_a_token_is_reached_from_elsewhere(models):
    settings = Settings(serve_hosts=("model.example",))
    with pytest.raises(InvalidInputError, match="set PREFECT_ML_SERVE_TOKEN"):
        run_server(str(models / "times-2"), host="0.0.0.0", port=0, settings=settings)  # noqa: S104 - of this test


def test_the_container_answers_as_sagemaker_asks(deployed, bucket, tmp_path):
    """`serve` alone, the model that was unpacked, a Host that is not this machine's, and no token."""
    found = deployed(3, name="asked")
    key = found.model_data.removeprefix(f"s3://{NAME}/")
    packed = bucket.client.get_object(Bucket=NAME, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        archive.extractall(tmp_path / "model", filter="data")
    assert folder_digest(tmp_path / "model") == found.digest
    arguments = command(["serve"], sagemaker=tmp_path / "model")
    arguments[arguments.index("8080")] = "0"
    process = subprocess.Popen(
        [COMMAND, *arguments],
        env={**os.environ, "PREFECT_ML_HOME": str(tmp_path / "home"), "PREFECT_ML_SERVE_HOSTS": "*"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("Serving "), f"it ended with {process.wait(30)}"
        url = f"http://127.0.0.1:{line.strip().rpartition(':')[2]}"
        host = {"host": "169.254.180.2:8080"}
        assert httpx.get(f"{url}/ping", headers=host).status_code == 200
        headers = {**host, "content-type": "application/json", "accept": "application/json"}
        answer = httpx.post(f"{url}/invocations", content=b'{"inputs": [[5.0]]}', headers=headers, timeout=30)
        assert answer.json()["predictions"] == pytest.approx([15.0])
    finally:
        process.terminate()
        assert process.wait(40) == 0
        process.stdout.close()
    sagemaker.delete("asked", timeout=60)
