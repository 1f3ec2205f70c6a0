"""Where the files of a new model version may lie: a client must not have the server point at other files of it."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from prefect_ml.errors import InvalidInputError

if TYPE_CHECKING:
    from prefect_ml.protocol.backend import Backend

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_LOCAL = frozenset({"", "file"})
# What MLflow's clients give for a version of a prompt, whose text is in a tag.
_OF_PROMPTS = "dummy-source"
# As often as anything on the way might decode it.
_DECODINGS = 5


def check_source(here: Backend, source: str, run_id: str, model_id: str, *, prompt: bool) -> None:
    """Refuse the source of a version that would be a file of the server's own, or that leaves its place by `..`.

    A local path must lie in the artifacts of the run or logged model that is named with it. A version of a prompt may
    have the placeholder that clients send, which is no place at all.

    Raises:
        InvalidInputError: it is such a source.
        NotFoundError: the run or logged model of a local path does not exist.
    """
    if prompt and source == _OF_PROMPTS:
        return
    scheme = match.group()[:-1].lower() if (match := _SCHEME.match(source)) else ""
    if scheme in _LOCAL or len(scheme) == 1:  # one letter is a Windows drive
        _check_local(here, source, run_id, model_id)
    elif scheme not in ("models", "runs") and _leaves(source):
        raise InvalidInputError(
            f"Invalid model version source: '{source}'. If supplying a source as an http, https, local file path, ftp, "
            "objectstore, or mlflow-artifacts uri, an absolute path must be provided without relative path references "
            "present. Please provide an absolute path."
        )


def _leaves(source: str) -> bool:
    """Whether a URI has `..`, a NUL or a backslash in its path, decoded however often."""
    text = source
    for _ in range(_DECODINGS):
        path = urlsplit(text).path if "://" in text else text.partition(":")[2]
        if "\x00" in text or "\\" in path or any(part in {".", ".."} for part in path.split("/")):
            return True
        decoded = unquote(text)
        if decoded == text:
            return False
        text = decoded
    return True


def _check_local(here: Backend, source: str, run_id: str, model_id: str) -> None:
    what = "run_id" if run_id or not model_id else "model_id"
    refused = InvalidInputError(
        f"Invalid model version source: '{source}'. To use a local path as a model version source, the {what} request "
        "parameter has to be specified and the local path has to be contained within the artifact directory of the "
        f"{what.removesuffix('_id')} specified by the {what}."
    )
    if not (run_id or model_id):
        raise refused
    root = here.store.get_run(run_id).artifact_uri if run_id else here.store.get_logged_model(model_id).artifact_uri
    inside, path = _plain(root), _plain(source)
    if inside is None or path is None or not (path == inside or path.startswith(inside.rstrip("/") + "/")):
        raise refused


def _plain(uri: str) -> str | None:
    """The path of a local path or `file:` URI; None when it is none, or has anything to resolve in it."""
    if "\x00" in uri or "%" in uri or "\\" in uri or "#" in uri or "?" in uri:
        return None
    path = uri[len("file:") :] if uri.lower().startswith("file:") else uri
    path = path[len("//") :] if path.startswith("///") else path
    if not path.startswith("/") or path.startswith("//") or posixpath.normpath(path) != path.rstrip("/"):
        return None
    return path
