"""Writing and reading one file of a bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from prefect_ml.artifacts.durable import CHUNK
from prefect_ml.artifacts.s3_client import explained
from prefect_ml.artifacts.verified import Tally, VerifiedReader
from prefect_ml.entities import ArtifactInfo
from prefect_ml.errors import ArtifactError, PrefectMLError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# How large the first parts are. A file has at most 10,000 parts, so they double after each thousand, up to 512 MiB:
# enough for 2.4 TiB.
PART = 8 << 20
_GROWTH = 1000
_DOUBLINGS = 6
# How often a read goes on after its connection broke.
_RESUMES = 4


class S3Writer:
    """An `ArtifactWriter` that sends a large file in parts as they come, and a small one in one request.

    Args:
        client: boto3's client.
        place: bucket and key of the file.
        encryption: parameters of server-side encryption.
        name: what the file is called in messages.
        digest_key: key of the object that will hold the digest of a file sent in parts; it ends in the token.
    """

    DIGEST = "prefect-ml-digest"
    TOKEN = "prefect-ml-digest-token"  # noqa: S105  no secret

    def __init__(
        self, client: Any, place: Mapping[str, str], encryption: Mapping[str, str], name: str, digest_key: str
    ) -> None:
        self._client = client
        self._place = place
        self._encryption = encryption
        self._name = name
        self._digest_key = digest_key
        self._tally = Tally()
        self._waiting = bytearray()
        self._upload: str | None = None
        self._parts: list[dict[str, Any]] = []
        self._noted = False

    def write(self, piece: bytes) -> None:
        self._tally.add(piece)
        self._waiting += piece
        while len(self._waiting) > (size := PART << min(len(self._parts) // _GROWTH, _DOUBLINGS)):
            with memoryview(self._waiting) as waiting:
                part = bytes(waiting[:size])
            del self._waiting[:size]
            self._send(part)

    def commit(self, expected: str | None = None) -> ArtifactInfo:
        self._tally.check(self._name, expected)
        digest = self._tally.digest
        with explained(f"write artifact {self._name!r}"):
            if self._upload is None:
                self._client.put_object(
                    **self._place, **self._encryption, Body=bytes(self._waiting), Metadata={self.DIGEST: digest}
                )
            else:
                self._complete(digest)
        self._waiting.clear()
        return ArtifactInfo(self._name, is_folder=False, size=self._tally.size, digest=digest)

    def abort(self) -> None:
        self._waiting.clear()
        if self._upload is None:
            return
        upload, self._upload = self._upload, None
        try:
            with explained(f"give up writing artifact {self._name!r}", missing_is_fine=True):
                self._client.abort_multipart_upload(**self._place, UploadId=upload)
                if self._noted:
                    self._client.delete_object(Bucket=self._place["Bucket"], Key=self._digest_key)
        except PrefectMLError:
            # The storage is away: what was sent is not readable, and a rule of the bucket clears it.
            return

    def _send(self, part: bytes) -> None:
        with explained(f"write artifact {self._name!r}"):
            if self._upload is None:
                token = self._digest_key.rpartition("/")[2]
                self._upload = self._client.create_multipart_upload(
                    **self._place, **self._encryption, Metadata={self.TOKEN: token}
                )["UploadId"]
            number = len(self._parts) + 1
            answer = self._client.upload_part(**self._place, UploadId=self._upload, PartNumber=number, Body=part)
            self._parts.append({"PartNumber": number, "ETag": answer["ETag"]})

    def _complete(self, digest: str) -> None:
        self._send(bytes(self._waiting))
        note = {"Bucket": self._place["Bucket"], "Key": self._digest_key}
        self._client.put_object(**note, **self._encryption, Body=digest.encode())
        self._noted = True
        self._client.complete_multipart_upload(
            **self._place, UploadId=self._upload, MultipartUpload={"Parts": self._parts}
        )
        self._upload = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()


class S3Reader(VerifiedReader):
    """An `ArtifactReader` of an object, which goes on where it was when a connection breaks.

    Args:
        client: boto3's client.
        place: bucket and key of the file.
        info: what is known of it.
        uri: the root, for messages.
        found: the answer that opened it; its body is used for the first read of the whole.
    """

    def __init__(
        self, client: Any, place: Mapping[str, str], info: ArtifactInfo, uri: str, found: Mapping[str, Any]
    ) -> None:
        self._client = client
        self._place = place
        self._uri = uri
        self._etag = found["ETag"]
        self._body: Any = found["Body"]
        self.info = info

    def _raw(self, start: int, stop: int) -> Iterator[bytes]:
        from botocore.exceptions import (  # noqa: PLC0415 (an extra)
            IncompleteReadError,
            ReadTimeoutError,
            ResponseStreamingError,
        )

        resumes = 0
        while start < stop:
            with explained(f"read artifact {self.info.name!r}"):
                body = self._body_of(start, stop)
                try:
                    while start < stop and (piece := body.read(min(CHUNK, stop - start))):
                        start += len(piece)
                        yield piece
                except (IncompleteReadError, ReadTimeoutError, ResponseStreamingError):
                    if resumes == _RESUMES:
                        raise
                finally:
                    body.close()
            resumes += 1
            if start < stop and resumes > _RESUMES:
                raise ArtifactError(f"The storage breaks off in the artifact {self.info.name!r}; read it again.")

    def _body_of(self, start: int, stop: int) -> Any:
        body, self._body = self._body, None
        if body is not None:
            if (start, stop) == (0, self.info.size):
                return body
            body.close()
        wanted = {"Range": f"bytes={start}-{stop - 1}", "IfMatch": self._etag}
        return self._client.get_object(**self._place, **wanted)["Body"]

    def close(self) -> None:
        if self._body is not None:
            self._body.close()
