"""Artifacts in a bucket of S3, or of any storage that speaks its protocol.

The digest of a file that was sent in one request stands in the object's metadata. Of one that was sent in parts it is
known only when its metadata is written already: there stands the token of a small object beside it, written before the
file comes into being, that holds the digest.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.contract import DirectPart, DirectRequest
from prefect_ml.artifacts.explained import conflict
from prefect_ml.artifacts.names import HIDDEN, own_name
from prefect_ml.artifacts.s3_client import explained
from prefect_ml.artifacts.s3_files import S3Reader, S3Writer
from prefect_ml.artifacts.streamed import StreamedStore
from prefect_ml.entities import ArtifactInfo
from prefect_ml.errors import InvalidInputError, InvalidNameError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# What S3 takes in one request to delete, and as parts of one file.
_BATCH = 1000
_MOST_PARTS = 10_000
_PRESIGNED_SECONDS = 900
# Folders that are known to be no files; forgotten altogether when they become too many.
_REMEMBERED = 10_000


class S3ArtifactStore(StreamedStore):
    """An `ArtifactStore` below a prefix of a bucket; `list` gives no digests.

    Args:
        bucket: name of the bucket, which exists.
        prefix: key prefix without slashes at its ends; "" for the whole bucket.
        client: boto3's client of S3.
        kms_key: id of the customer's KMS key that files are encrypted with; None leaves it to the bucket.
    """

    def __init__(self, bucket: str, prefix: str, client: Any, kms_key: str | None = None) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._client = client
        self._encryption: Mapping[str, str] = (
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else {}
        )
        self._folders: set[str] = set()

    @property
    def uri(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def writer(self, name: str) -> S3Writer:
        """Begin to write one file; a large one is sent in parts as they come."""
        key = self._key(name)
        with explained(f"write artifact {name!r}"):
            self._check_free(name, key)
        return S3Writer(self._client, self._at(key), self._encryption, name, digest_key(key, uuid.uuid4().hex))

    def reader(self, name: str) -> S3Reader:
        key = self._key(name)
        with explained(f"read artifact {name!r}"):
            found = self._client.get_object(**self._at(key))
            token = found["Metadata"].get(S3Writer.TOKEN)
            digest = found["Metadata"].get(S3Writer.DIGEST) or (self._noted(digest_key(key, token)) if token else None)
        info = ArtifactInfo(name, is_folder=False, size=found["ContentLength"], digest=digest)
        return S3Reader(self._client, self._at(key), info, self.uri, found)

    def list(self, name: str = "") -> Sequence[ArtifactInfo]:
        folder = f"{self._key(name)}/" if name else self._prefix
        found = []
        with explained(f"list artifacts {name!r}"):
            for page in self._pages(folder, Delimiter="/"):
                folders = [(entry["Prefix"].rstrip("/"), None) for entry in page.get("CommonPrefixes", ())]
                files = [(entry["Key"], entry["Size"]) for entry in page.get("Contents", ()) if entry["Key"] != folder]
                found += [self._describe(key, size) for key, size in (*folders, *files)]
        return sorted((info for info in found if info is not None), key=lambda info: info.name)

    def delete(self, name: str) -> None:
        key = self._key(name)
        self._folders.clear()
        with explained(f"delete artifact {name!r}"):
            self._client.delete_object(**self._at(key))
            for prefix in (f"{key}/", digest_key(key, "")):
                for page in self._pages(prefix, PaginationConfig={"PageSize": _BATCH}):
                    self._delete_all([entry["Key"] for entry in page.get("Contents", ())])

    def begin_direct(self, name: str, parts: int) -> tuple[str, Sequence[DirectRequest]]:
        """See `DirectTransfer.begin_direct`."""
        if not 1 <= parts <= _MOST_PARTS:
            raise InvalidInputError(f"A file is sent in 1 to {_MOST_PARTS:,} parts, not in {parts:,}.")
        key = self._key(name)
        with explained(f"write artifact {name!r}"):
            self._check_free(name, key)
            upload = self._client.create_multipart_upload(**self._at(key), **self._encryption)["UploadId"]
            numbers = range(1, parts + 1)
            urls = [
                self._presigned("upload_part", {**self._at(key), "UploadId": upload, "PartNumber": number})
                for number in numbers
            ]
        return upload, [DirectRequest(url, {}) for url in urls]

    def complete_direct(self, name: str, upload_id: str, parts: Sequence[DirectPart]) -> None:
        key = self._key(name)
        sent = [{"PartNumber": part.number, "ETag": part.etag} for part in sorted(parts)]
        with explained(f"write artifact {name!r}", "NoSuchUpload", "InvalidPart", "InvalidPartOrder", "MalformedXML"):
            self._client.complete_multipart_upload(**self._at(key), UploadId=upload_id, MultipartUpload={"Parts": sent})

    def abort_direct(self, name: str, upload_id: str) -> None:
        key = self._key(name)
        with explained(f"give up writing artifact {name!r}", missing_is_fine=True):
            self._client.abort_multipart_upload(**self._at(key), UploadId=upload_id)

    def direct_download(self, name: str) -> tuple[DirectRequest, int]:
        key = self._key(name)
        with explained(f"read artifact {name!r}"):
            size: int = self._client.head_object(**self._at(key))["ContentLength"]
            # A browser that is sent there shall save the file, not show it.
            answer = {
                "ResponseContentDisposition": "attachment",
                "ResponseContentType": "application/octet-stream",
            }
            url = self._presigned("get_object", {**self._at(key), **answer})
        return DirectRequest(url, {}), size

    def _key(self, name: str) -> str:
        return self._prefix + "/".join(own_name(name))

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": key}

    def _presigned(self, call: str, params: Mapping[str, Any]) -> str:
        url: str = self._client.generate_presigned_url(call, Params=params, ExpiresIn=_PRESIGNED_SECONDS)
        return url

    def _pages(self, prefix: str, **options: Any) -> Iterator[Mapping[str, Any]]:
        pages = self._client.get_paginator("list_objects_v2")
        yield from pages.paginate(Bucket=self._bucket, Prefix=prefix, **options)

    def _describe(self, key: str, size: int | None) -> ArtifactInfo | None:
        """The entry of a listing; None for what has no name here."""
        name = key[len(self._prefix) :]
        try:
            own_name(name)
        except InvalidNameError:
            return None
        return ArtifactInfo(name, is_folder=size is None, size=size)

    def _check_free(self, name: str, key: str) -> None:
        """Refuse a name that is a folder, or below one that is a file: a folder of this machine cannot hold both."""
        below = self._client.list_objects_v2(Bucket=self._bucket, Prefix=f"{key}/", MaxKeys=2).get("Contents", ())
        if any(entry["Key"] != f"{key}/" for entry in below):
            raise conflict(name)
        segments = name.split("/")
        for depth in range(1, len(segments)):
            folder = self._prefix + "/".join(segments[:depth])
            if folder not in self._folders and self._is_file(folder):
                raise conflict(name)
            if len(self._folders) >= _REMEMBERED:
                self._folders.clear()
            self._folders.add(folder)

    def _is_file(self, key: str) -> bool:
        found = self._client.list_objects_v2(Bucket=self._bucket, Prefix=key, MaxKeys=1).get("Contents", ())
        return any(entry["Key"] == key for entry in found)  # a key sorts before all that it is the beginning of

    def _noted(self, key: str) -> str:
        noted: bytes = self._client.get_object(**self._at(key))["Body"].read()
        return noted.decode()

    def _delete_all(self, keys: Sequence[str]) -> None:
        if not keys:
            return
        answer = self._client.delete_objects(
            Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
        )
        for refused in answer.get("Errors", ()):
            raise OSError(None, f"{refused.get('Code')}: {refused.get('Message')}", refused.get("Key"))


def digest_key(key: str, token: str) -> str:
    """The key of the small object that holds the digest of a file sent in parts."""
    folder, _, base = key.rpartition("/")
    return "/".join(part for part in (folder, HIDDEN, "digests", base) if part) + f"/{token}"
