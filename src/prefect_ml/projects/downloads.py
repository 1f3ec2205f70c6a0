"""Fetching what a parameter of type `path` names by a URL."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from prefect_ml.artifacts import open_artifacts
from prefect_ml.errors import ArtifactError, InvalidInputError
from prefect_ml.models.process_group import without_user_info

if TYPE_CHECKING:
    from pathlib import Path

OF_THE_STORE = ("runs:/", "models:/", "mlflow-artifacts:/")
_MOST_BYTES = 16 << 30
_SECONDS = 60.0


def download(url: str, folder: Path) -> Path:
    """A file or folder of this machine with what a URL names, in `folder`.

    Args:
        url: `http:`, `https:`, a place of artifacts such as `s3:`, or what the store knows, as for MLflow:
            `runs:/<run id>/<path>`, `models:/<name>/<version>`, `models:/<name>@<alias>`, `mlflow-artifacts:/<path>`.
        folder: where it goes, under its own name.

    Raises:
        ArtifactError: it cannot be fetched.
        NotFoundError: it is not there.
        InvalidInputError: the URL names no file, or has a password in it.
    """
    name = name_of(url)
    target = folder / name
    if urlsplit(url).scheme in {"http", "https"}:
        _fetch(url, target)
        return target
    if url.startswith(OF_THE_STORE):
        return _of_the_store(url, target)
    parent, _, last = url.rpartition("/")
    return open_artifacts(parent).download(last, target)


def name_of(url: str) -> str:
    """The name of the file or folder that a URL names.

    Raises:
        InvalidInputError: it names none, or has a password in it.
    """
    try:
        parts = urlsplit(url)
        name = PurePosixPath(unquote(parts.path)).name
    except ValueError:
        parts, name = None, ""
    if not name or name.startswith(".") or "\0" in name or parts is None or parts.password is not None:
        raise InvalidInputError(f"The URL {without_user_info(url)[:200]!r} names no file that can be fetched.")
    return name


def _of_the_store(uri: str, target: Path) -> Path:
    from prefect_ml.registry.resolve import resolve  # noqa: PLC0415 - few projects are given such a URI
    from prefect_ml.store import open_store  # noqa: PLC0415
    from prefect_ml.store.places import open_place  # noqa: PLC0415

    store = open_store()
    if uri.startswith("models:/"):
        parent, _, name = resolve(store, uri).source.rstrip("/").rpartition("/")
    elif uri.startswith("runs:/"):
        run_id, _, name = uri.removeprefix("runs:/").strip("/").partition("/")
        parent = store.get_run(run_id).artifact_uri
    else:
        parent, _, name = uri.rstrip("/").rpartition("/")
    return open_place(store, parent).download(name, target)


def _fetch(url: str, target: Path) -> None:
    import httpx  # noqa: PLC0415 - only who fetches pays for its import

    size = 0
    try:
        with httpx.stream("GET", url, follow_redirects=True, timeout=_SECONDS) as answer, target.open("wb") as stream:
            answer.raise_for_status()
            for piece in answer.iter_bytes(1 << 20):
                size += len(piece)
                if size > _MOST_BYTES:
                    where = url.partition("?")[0][:200]
                    raise ArtifactError(f"{where!r} is larger than {_MOST_BYTES >> 30} GiB.")
                stream.write(piece)
    except httpx.HTTPError as error:
        # The query of a URL is often what allows to read it, and the library's sentence has all of it.
        where, why = url.partition("?")[0][:200], str(error).replace(url, "it")
        raise ArtifactError(f"{where!r} cannot be fetched: {why}") from error
