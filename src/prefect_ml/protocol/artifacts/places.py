"""Where the files of a run or model lie below the server's own root.

The only way from what is recorded of a run to files that the server opens: a client can have any place recorded, but
the server reads and writes below its root alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect_ml.artifacts.local import LocalArtifactStore
from prefect_ml.artifacts.names import own_name
from prefect_ml.artifacts.open import local_path
from prefect_ml.errors import InvalidInputError, InvalidNameError

if TYPE_CHECKING:
    from prefect_ml.protocol.backend import Backend

_SERVED = "mlflow-artifacts:/"


def of_run(here: Backend, run_id: str, path: str = "") -> str:
    """The name, below the server's root, of a path in a run's artifacts; "" is all of them.

    Raises:
        NotFoundError: there is no such run.
        InvalidNameError: the path is none.
        InvalidInputError: the run keeps its artifacts elsewhere.
    """
    return _joined(below_root(here, here.store.get_run(run_id).artifact_uri), path)


def of_logged_model(here: Backend, model_id: str, path: str = "") -> str:
    """As `of_run`, of a logged model."""
    return _joined(below_root(here, here.store.get_logged_model(model_id).artifact_uri), path)


def of_version(here: Backend, name: str, version: int, path: str) -> str:
    """As `of_run`, of a model version, wherever its source leads."""
    found = here.store.get_model_version(name, version)
    source = found.location or found.source
    kind, _, rest = source.partition(":/")
    first, _, inside = rest.partition("/")
    if kind == "runs":
        return _joined(of_run(here, first, inside), path)
    if kind == "models" and not inside:
        return of_logged_model(here, first, path)
    return _joined(below_root(here, source), path)


def below_root(here: Backend, uri: str) -> str:
    """The name that a recorded URI has below the server's root.

    Raises:
        InvalidInputError: it lies elsewhere.
    """
    name = _after(_SERVED, uri)
    if name is None:
        root = here.artifacts.uri
        name = _after(f"{root.rstrip('/')}/", _path(uri) if isinstance(here.artifacts, LocalArtifactStore) else uri)
    try:
        own_name(name or "")
    except InvalidNameError as error:
        raise InvalidInputError(
            f"The files at {uri!r} are not kept by this server, which serves those below its own artifact root alone; "
            "read and write them there, with the credentials of that place."
        ) from error
    return name or ""


def checked(path: str) -> str:
    """A path that a client names, unchanged.

    Raises:
        InvalidNameError: it is none below a root, in the words that clients look for.
    """
    try:
        own_name(path)
    except InvalidNameError as error:
        raise InvalidNameError(f"Invalid path. {error}") from error
    return path


def _joined(root: str, path: str) -> str:
    return f"{root}/{checked(path)}" if path else root


def _after(start: str, uri: str) -> str | None:
    return uri[len(start) :] if uri.startswith(start) else None


def _path(uri: str) -> str:
    """The absolute path of a folder path or `file:` URI; "" for another URI."""
    try:
        return str(local_path(uri))
    except InvalidInputError:
        return ""
