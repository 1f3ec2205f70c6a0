"""Artifacts behind a tracking server of ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

from prefect_ml.artifacts.durable import CHUNK
from prefect_ml.artifacts.explained import explained
from prefect_ml.artifacts.names import own_name, split_name
from prefect_ml.artifacts.served_client import ATTEMPTS, TryAgainError, check, client_of, patient
from prefect_ml.artifacts.sources import opened
from prefect_ml.artifacts.spooled import SpooledWriter
from prefect_ml.artifacts.streamed import StreamedStore
from prefect_ml.artifacts.verified import Tally, VerifiedReader
from prefect_ml.artifacts.wire import DIGEST_HEADER, PREFIX, SERVED, digest_header, digest_of, etag
from prefect_ml.entities import ArtifactInfo
from prefect_ml.errors import ArtifactError, InvalidInputError, InvalidNameError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import httpx

    from prefect_ml.settings import Settings


def open_served(uri: str, settings: Settings) -> ServedArtifactStore:
    """Open the store at `mlflow-artifacts:/<folder>`, through the server that `store_url` names.

    Raises:
        InvalidInputError: it is no such URI, or `store_url` names no server.
    """
    folder = uri[len(SERVED) :].rstrip("/")
    if not uri.startswith(SERVED) or uri.startswith(f"{SERVED}/") or "?" in folder or "#" in folder:
        raise InvalidInputError(f"The artifact URI {uri!r} must look like 'mlflow-artifacts:/folder'.")
    if folder:
        try:
            split_name(folder)
        except InvalidNameError as error:
            raise InvalidInputError(f"The artifact URI {uri!r} names no folder: {error}") from error
    url = settings.resolved_store_url
    if not url.lower().startswith(("http://", "https://")):
        raise InvalidInputError(
            f"The artifacts at {uri!r} are behind a tracking server; set PREFECT_ML_STORE_URL to its URL, "
            "like https://host:5000."
        )
    return ServedArtifactStore(folder, client_of(url, settings.server_token))


class ServedArtifactStore(StreamedStore):
    """An `ArtifactStore` through a server: uploads are repeated and downloads go on where a connection broke.

    Args:
        folder: below the server's root; "" is the root itself.
        client: of the server.
    """

    def __init__(self, folder: str, client: httpx.Client) -> None:
        self._folder = folder
        self._client = client

    @property
    def uri(self) -> str:
        return f"{SERVED}{self._folder}"

    def writer(self, name: str) -> ServedWriter:
        """Begin to write one file; it is collected on this machine and sent at the commit."""
        return ServedWriter(self._client, self._path(name), name)

    def put(self, name: str, source: Path | bytes | BinaryIO) -> ArtifactInfo:
        """Write one file; one of this machine is sent as it is, without another copy."""
        path = self._path(name)
        if not isinstance(source, (bytes, Path)):
            return super().put(name, source)
        with explained(f"write artifact {name!r}"), opened(source) as stream:
            return _send(self._client, path, name, stream, _tallied(stream))

    def reader(self, name: str) -> ServedReader:
        path = self._path(name)
        answer = patient(f"read artifact {name!r}", lambda: _asked(self._client, name, path))
        return ServedReader(self._client, path, name, self.uri, answer)

    def list(self, name: str = "") -> Sequence[ArtifactInfo]:
        action = f"list artifacts {name!r}"
        if name:
            own_name(name)
        below = f"{self._folder}/" if self._folder else ""

        def ask() -> list[dict[str, Any]]:
            answer = self._client.get(PREFIX, params={"path": (below + name).rstrip("/")})
            check(action, answer)
            found: list[dict[str, Any]] = answer.json()
            return found

        return [ArtifactInfo(**{**each, "name": each["name"][len(below) :]}) for each in patient(action, ask)]

    def delete(self, name: str) -> None:
        path = self._path(name)
        action = f"delete artifact {name!r}"
        patient(action, lambda: check(action, self._client.delete(path)))

    def _path(self, name: str) -> str:
        own_name(name)
        whole = f"{self._folder}/{name}" if self._folder else name
        return f"{PREFIX}/{quote(whole)}"


class ServedWriter(SpooledWriter):
    """An `ArtifactWriter` that sends a file to the server, and again if need be."""

    def __init__(self, client: httpx.Client, path: str, name: str) -> None:
        super().__init__(name)
        self._client = client
        self._path = path

    def _publish(self, path: Path, tally: Tally) -> ArtifactInfo:
        with path.open("rb") as stream:
            return _send(self._client, self._path, self._name, stream, tally)


class ServedReader(VerifiedReader):
    """An `ArtifactReader` of an answer, which goes on with the rest of the same version when the connection breaks."""

    def __init__(self, client: httpx.Client, path: str, name: str, uri: str, answer: httpx.Response) -> None:
        self._client = client
        self._path = path
        self._uri = uri
        self._answer: httpx.Response | None = answer
        digest = digest_of(answer.headers.get(DIGEST_HEADER, ""))
        self.info = ArtifactInfo(name, is_folder=False, size=int(answer.headers["content-length"]), digest=digest)

    def _raw(self, start: int, stop: int) -> Iterator[bytes]:
        import httpx  # noqa: PLC0415 (loaded already by whoever has a client)

        broken = 0
        while start < stop:
            before = start
            answer = self._answer_from(start, stop)
            try:
                for piece in answer.iter_raw(CHUNK):
                    start += len(piece)
                    yield piece
            except httpx.TransportError as error:
                broken = broken + 1 if start == before else 0
                if broken == ATTEMPTS:
                    raise ArtifactError(
                        f"The server breaks off in the artifact {self.info.name!r} after {start:,} bytes; "
                        "it may be corrupt there, which the server's log would say."
                    ) from error
            finally:
                answer.close()

    def _answer_from(self, start: int, stop: int) -> httpx.Response:
        """The answer that is open already when it is the one that is needed, else that to a request for a part."""
        answer, self._answer = self._answer, None
        if answer is not None:
            if (start, stop) == (0, self.info.size):
                return answer
            answer.close()
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        if self.info.digest is not None:
            headers["If-Range"] = etag(self.info.digest)
        name = self.info.name
        answer = patient(f"read artifact {name!r}", lambda: _asked(self._client, name, self._path, headers))
        if answer.status_code != 206:  # noqa: PLR2004  Partial Content
            answer.close()
            raise ArtifactError(
                f"The artifact {name!r} was replaced while it was read, or has no digest by which to go on with it; "
                "read it again."
            )
        return answer

    def close(self) -> None:
        if self._answer is not None:
            self._answer.close()


def _asked(client: httpx.Client, name: str, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    """The open answer to a request for a file."""
    answer = client.send(client.build_request("GET", path, headers=headers), stream=True)
    try:
        check(f"read artifact {name!r}", answer)
    except BaseException:
        answer.close()
        raise
    return answer


def _send(client: httpx.Client, path: str, name: str, stream: BinaryIO, tally: Tally) -> ArtifactInfo:
    """Upload what a stream holds, again from its beginning when the connection breaks."""
    action = f"write artifact {name!r}"
    headers = {"Content-Length": str(tally.size), DIGEST_HEADER: digest_header(tally.digest)}

    def attempt() -> None:
        stream.seek(0)
        answer = client.put(path, content=iter(lambda: stream.read(CHUNK), b""), headers=headers)
        check(action, answer)
        if digest_of(answer.headers.get(DIGEST_HEADER, "")) != tally.digest:
            raise TryAgainError("the server did not confirm the digest")

    patient(action, attempt)
    return ArtifactInfo(name, is_folder=False, size=tally.size, digest=tally.digest)


def _tallied(stream: BinaryIO) -> Tally:
    tally = Tally()
    while piece := stream.read(CHUNK):
        tally.add(piece)
    return tally
