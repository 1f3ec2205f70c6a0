"""boto3's client of SageMaker, and what it says as errors of ours."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import ArtifactError, InvalidInputError, NotFoundError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

_AWAY = 500
# SageMaker answers ValidationException for what is not there as for what is wrong.
_MISSING = re.compile(r"could not find|does not exist|not found", re.IGNORECASE)
_THERE = re.compile(r"already exist", re.IGNORECASE)


class AlreadyThereError(InvalidInputError):
    """SageMaker has something of that name."""


@contextmanager
def sagemaker_client() -> Iterator[Any]:
    """The client; credentials, region and endpoint are found by boto3 in its own ways.

    Raises:
        ArtifactError: boto3 is not installed, or knows no region.
    """
    try:
        import boto3  # noqa: PLC0415 (an extra, and slow to import)
        from botocore.config import Config  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415
    except ImportError as error:
        raise ArtifactError(
            "SageMaker needs boto3, which is not installed; install it with: pip install 'prefect-ml[sagemaker]'."
        ) from error
    config = Config(retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=10, read_timeout=60)
    try:
        client = boto3.session.Session().client("sagemaker", config=config)
    except BotoCoreError as error:
        raise ArtifactError(f"SageMaker cannot be called: {error}.") from error
    try:
        yield client
    finally:
        client.close()


@contextmanager
def told(action: str) -> Iterator[None]:
    """Within, what boto3 raises becomes an error of ours.

    Raises:
        NotFoundError, AlreadyThereError: by what SageMaker says of a name.
        StoreUnavailableError: it cannot be reached, or fails itself.
        ArtifactError: it refuses, by its own words.
    """
    from botocore import exceptions as boto  # noqa: PLC0415 (an extra)

    try:
        yield
    except boto.ClientError as error:
        said = error.response.get("Error", {})
        code, message = said.get("Code", ""), said.get("Message", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        text = f"Cannot {action}: SageMaker answered {code}: {message}"
        if code == "ResourceNotFound" or (code.startswith("Validation") and _MISSING.search(message)):
            raise NotFoundError(text) from error
        if _THERE.search(message):
            raise AlreadyThereError(text) from error
        if status >= _AWAY:
            raise StoreUnavailableError(text) from error
        raise ArtifactError(text) from error
    except (boto.ConnectionError, boto.HTTPClientError) as error:
        raise StoreUnavailableError(f"Cannot {action}: SageMaker cannot be reached now: {error}") from error
    except boto.BotoCoreError as error:
        raise ArtifactError(f"Cannot {action}: {error}") from error
