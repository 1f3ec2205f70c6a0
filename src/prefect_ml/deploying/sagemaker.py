"""Endpoints of Amazon SageMaker that serve a model with the image of `prefect-ml build-image`.

SageMaker starts the image with the word `serve`, unpacks the model into `/opt/ml/model`, and asks `/ping` and
`/invocations` on port 8080
(https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html); AWS itself asks who calls.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from prefect_ml.artifacts import s3_client
from prefect_ml.deploying.model_data import pack
from prefect_ml.deploying.names import deployment_name, image_reference
from prefect_ml.deploying.sagemaker_client import AlreadyThereError, sagemaker_client, told
from prefect_ml.errors import ArtifactError, InvalidInputError, NotFoundError
from prefect_ml.models.digest import folder_digest
from prefect_ml.registry.resolve import fetch, resolve, settled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.settings import Settings
    from prefect_ml.store.contract import Store

_ROLE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]{1,512}", re.ASCII)
_INSTANCE = re.compile(r"ml\.[a-z0-9-]+\.[a-z0-9]+", re.ASCII)
_TAG = "prefect-ml.model-uri"
_FILE = "model.tar.gz"
_VARIANT = "model"
_LOOK_SECONDS = 5.0
# The longest that SageMaker takes as the value of a tag.
_LONGEST_TAG = 256
# Of what SageMaker refuses in the value of a tag.
_UNTAGGABLE = re.compile(r"[^\w\s.:/=+\-@]")


@dataclass(frozen=True, slots=True)
class Capacity:
    """What an endpoint runs on.

    Attributes:
        instance_type: for example `"ml.m5.large"`.
        instances: how many.
        environment: variables of the container; who may describe the endpoint's model reads them, so no secrets.
    """

    instance_type: str = "ml.m5.large"
    instances: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)


class Deployed(NamedTuple):
    """An endpoint that is in service.

    Attributes:
        name: of the endpoint.
        config: name of its configuration and its model, which says all that was asked for.
        model_data: the model in S3.
        digest: of the model's files.
        changed: whether anything was done.
    """

    name: str
    config: str
    model_data: str
    digest: str
    changed: bool


def deploy(
    store: Store,
    model_uri: str,
    name: str,
    *,
    image: str,
    role: str,
    place: str,
    settings: Settings,
    capacity: Capacity | None = None,
    timeout: float = 1800.0,
) -> Deployed:
    """Create an endpoint, or update the one that is there without a pause, and wait until it is in service.

    Done again with the same arguments, nothing changes. What an update replaced is removed once the new one serves.

    Args:
        store: where the URI is looked up.
        model_uri: any model URI; what it means now is served, and no alias is followed.
        name: of the endpoint.
        image: in ECR, made by `prefect-ml build-image` of this model or of one with the same environment.
        role: ARN of the role that SageMaker takes to read the model and the image.
        place: `s3://bucket/folder` that the model is put into.
        settings: of the cache, and of S3.
        capacity: one ml.m5.large when None.
        timeout: seconds until it must be in service.

    Raises:
        InvalidInputError: a name, image, role, place or capacity that cannot be meant, or an endpoint that was made by
            others.
        NotFoundError: there is no such model.
        ArtifactError: SageMaker refuses, the endpoint failed or went back to what it was, or took too long.
        StoreUnavailableError: AWS cannot be reached.
    """
    capacity = _checked(role, capacity or Capacity())
    deployment_name(name)
    image_reference(image)
    bucket, prefix = s3_client.place_of(place)
    resolved = settled(store, resolve(store, model_uri), settings.cache_folder)
    folder = fetch(resolved, settings.cache_folder)
    digest = folder_digest(folder)
    key = "/".join(filter(None, (prefix, name, digest.removeprefix("sha256:"), _FILE)))
    model_data = f"s3://{bucket}/{key}"
    container = {
        "Image": image,
        "ModelDataUrl": model_data,
        # AWS asks who calls before it calls the container, under names of its own.
        "Environment": {"PREFECT_ML_SERVE_HOSTS": "*", **capacity.environment},
    }
    variant = {
        "VariantName": _VARIANT,
        "InstanceType": capacity.instance_type,
        "InitialInstanceCount": capacity.instances,
        "InitialVariantWeight": 1.0,
    }
    config = f"{name}-{_short(container, variant, role)}"
    with sagemaker_client() as client:
        before = _described(client, name)
        if before and before["EndpointStatus"] == "InService" and before["EndpointConfigName"] == config:
            return Deployed(name, config, model_data, digest, changed=False)
        _upload(folder, bucket, key, settings)
        tags = [{"Key": _TAG, "Value": _UNTAGGABLE.sub("_", model_uri)[:_LONGEST_TAG]}]
        with suppress(AlreadyThereError), told(f"make the model {config}"):
            client.create_model(ModelName=config, PrimaryContainer=container, ExecutionRoleArn=role, Tags=tags)
        with suppress(AlreadyThereError), told(f"make the configuration {config}"):
            client.create_endpoint_config(
                EndpointConfigName=config, ProductionVariants=[{**variant, "ModelName": config}], Tags=tags
            )
        _bring(client, name, config, before, tags=tags, deadline=time.monotonic() + timeout)
        if before and before["EndpointConfigName"] != config:
            _forget(client, name, before["EndpointConfigName"])
    return Deployed(name, config, model_data, digest, changed=True)


def delete(name: str, *, timeout: float = 600.0) -> None:
    """Delete an endpoint with its configuration and its model; what lies in S3 stays.

    Args:
        name: of the endpoint.
        timeout: seconds until it must be gone.

    Raises:
        NotFoundError: there is no such endpoint.
        InvalidInputError: it was made by others.
        ArtifactError: SageMaker refuses, or takes too long.
        StoreUnavailableError: AWS cannot be reached.
    """
    with sagemaker_client() as client:
        found = _described(client, deployment_name(name))
        if found is None:
            raise NotFoundError(f"SageMaker has no endpoint {name!r} here; is it in another region?")
        _remove(client, name, time.monotonic() + timeout)
        _forget(client, name, found["EndpointConfigName"])


def _checked(role: str, capacity: Capacity) -> Capacity:
    if not _ROLE.fullmatch(role):
        raise InvalidInputError(f"{role[:200]!r} is no role; write it like 'arn:aws:iam::123456789012:role/models'.")
    if not _INSTANCE.fullmatch(capacity.instance_type) or capacity.instances < 1:
        raise InvalidInputError(
            f"{capacity.instances} of {capacity.instance_type!r} cannot be meant; write it like 1 of 'ml.m5.large'."
        )
    return capacity


def _short(*what: Any) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]


def _upload(folder: Path, bucket: str, key: str, settings: Settings) -> None:
    """The same model has the same bytes, so what is there under its digest is replaced by itself."""
    encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": settings.s3_kms_key} if settings.s3_kms_key else {}
    with tempfile.TemporaryDirectory() as scratch:
        packed = Path(scratch) / _FILE
        pack(folder, packed)
        client = s3_client.client_of(settings.s3_endpoint)
        action = f"put the model into s3://{bucket}/{key}"
        with packed.open("rb") as stream, s3_client.explained(action, "NoSuchBucket"):
            client.upload_fileobj(stream, bucket, key, ExtraArgs={"ContentType": "application/gzip", **encryption})


def _described(client: Any, name: str) -> dict[str, Any] | None:
    """What SageMaker says of an endpoint of ours; None when there is none.

    Raises:
        InvalidInputError: it was made by others.
    """
    try:
        with told(f"look at the endpoint {name}"):
            found: dict[str, Any] = client.describe_endpoint(EndpointName=name)
            tags = client.list_tags(ResourceArn=found["EndpointArn"])["Tags"]
    except NotFoundError:
        return None
    if all(tag["Key"] != _TAG for tag in tags):
        raise InvalidInputError(
            f"The endpoint {name!r} was made by others (it has no tag {_TAG}); choose another name."
        )
    return found


def _bring(
    client: Any,
    name: str,
    config: str,
    before: Mapping[str, Any] | None,
    *,
    tags: list[dict[str, str]],
    deadline: float,
) -> None:
    if before and before["EndpointStatus"] == "Failed":
        _remove(client, name, deadline)  # SageMaker updates none that failed
        before = None
    with told(f"bring the endpoint {name} to {config}"):
        if before is None:
            client.create_endpoint(EndpointName=name, EndpointConfigName=config, Tags=tags)
        else:
            client.update_endpoint(EndpointName=name, EndpointConfigName=config)
    while True:
        with told(f"look at the endpoint {name}"):
            found = client.describe_endpoint(EndpointName=name)
        status, reason = found["EndpointStatus"], found.get("FailureReason", "CloudWatch has the container's log")
        if status == "InService" and found["EndpointConfigName"] == config:
            return
        if status in ("InService", "Failed", "UpdateRollbackFailed"):
            went = "serves what it did before" if status == "InService" else f"is {status}"
            raise ArtifactError(f"The endpoint {name!r} could not be brought to {config} and {went}: {reason}.")
        _wait(deadline, f"The endpoint {name!r} is still {status}; it goes on without this process.")


def _remove(client: Any, name: str, deadline: float) -> None:
    with told(f"delete the endpoint {name}"):
        client.delete_endpoint(EndpointName=name)
    while _described(client, name) is not None:
        _wait(deadline, f"The endpoint {name!r} is still being deleted; it goes on without this process.")


def _forget(client: Any, name: str, config: str) -> None:
    """Delete a configuration and its model, if they are ours by their name."""
    if not re.fullmatch(rf"{re.escape(name)}-[0-9a-f]{{12}}", config):
        return
    with suppress(NotFoundError), told(f"delete the configuration {config}"):
        client.delete_endpoint_config(EndpointConfigName=config)
    with suppress(NotFoundError), told(f"delete the model {config}"):
        client.delete_model(ModelName=config)


def _wait(deadline: float, late: str) -> None:
    if time.monotonic() >= deadline:
        raise ArtifactError(late)
    time.sleep(min(_LOOK_SECONDS, max(0.0, deadline - time.monotonic())))
