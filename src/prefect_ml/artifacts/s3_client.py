"""boto3's client of S3, and what it says as errors of ours."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.explained import explained as explained_by_system
from prefect_ml.artifacts.names import split_name
from prefect_ml.errors import (
    ArtifactError,
    InvalidInputError,
    InvalidNameError,
    NotFoundError,
    StoreUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]")
_MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
_REPLACED = frozenset({"PreconditionFailed", "412"})
_AWAY = 500
_MISSING_UPLOAD = "NoSuchUpload"


def place_of(uri: str) -> tuple[str, str]:
    """Bucket and key prefix of `s3://bucket/prefix`; the prefix is taken as it stands, nothing is decoded.

    Raises:
        InvalidInputError: it is no such URI.
    """
    bucket, _, prefix = uri[len("s3://") :].partition("/")
    prefix = prefix.rstrip("/")
    if not uri.startswith("s3://") or not _BUCKET.fullmatch(bucket) or "?" in prefix or "#" in prefix:
        raise InvalidInputError(f"The artifact URI {uri!r} must look like 's3://bucket/folder', without '?' and '#'.")
    if prefix:
        try:
            split_name(prefix)
        except InvalidNameError as error:
            raise InvalidInputError(f"The artifact URI {uri!r} names no folder: {error}") from error
    return bucket, prefix


def client_of(endpoint: str | None) -> Any:
    """The client of an endpoint, one for a process; credentials and region are found by boto3 in its own ways."""
    return _made(endpoint, os.getpid())


@lru_cache(maxsize=8)
def _made(endpoint: str | None, _process: int) -> Any:
    try:
        import boto3  # noqa: PLC0415 (an extra, and slow to import)
        from botocore.config import Config  # noqa: PLC0415
    except ImportError as error:
        raise ArtifactError(
            "Artifacts in S3 need boto3, which is not installed; install it with: pip install 'prefect-ml[s3]'."
        ) from error
    config = Config(
        signature_version="s3v4",
        retries={"mode": "standard", "total_max_attempts": 5},
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=32,
        # Other storages know neither buckets as host names nor the newer checksums.
        s3={"addressing_style": "path"} if endpoint else {},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    with explained("open the storage"):
        return boto3.session.Session().client("s3", endpoint_url=endpoint, config=config)


@contextmanager
def explained(action: str, *mistakes: str, missing_is_fine: bool = False) -> Iterator[None]:
    """Within, what boto3 raises becomes an error of ours; the codes in `mistakes` are those of a caller."""
    from botocore import exceptions as boto  # noqa: PLC0415 (an extra)

    try:
        with explained_by_system(action):
            yield
    except boto.ClientError as error:
        code, message = (error.response.get("Error", {}).get(field, "") for field in ("Code", "Message"))
        if missing_is_fine and code == _MISSING_UPLOAD:
            return
        if code in _REPLACED:
            raise ArtifactError(f"Cannot {action}: it was replaced meanwhile; try again.") from error
        if code in _MISSING:
            raise NotFoundError(f"Cannot {action}: it does not exist.") from error
        away = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= _AWAY
        kind = InvalidInputError if code in mistakes else StoreUnavailableError if away else ArtifactError
        raise kind(f"Cannot {action}: the storage answered {code}: {message}") from error
    except (boto.ConnectionError, boto.HTTPClientError) as error:
        raise StoreUnavailableError(f"Cannot {action}: the storage cannot be reached now: {error}") from error
    except boto.BotoCoreError as error:
        raise ArtifactError(f"Cannot {action}: {error}") from error
