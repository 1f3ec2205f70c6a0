"""Where the files of a new model version may lie: a client must not have the server point at other files of it."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from prefect_ml.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prefect_ml.store.contract import Store

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_LOCAL = frozenset({"", "file"})
PROMPT_TAG = "mlflow.prompt.is_prompt"
# What MLflow's clients give for a version of a prompt, whose text is in a tag.
_OF_PROMPTS = "dummy-source"
# As often as anything on the way might decode it.
_DECODINGS = 5
# A word that is no place, and that nothing opens.
_WORD = re.compile(r"[A-Za-z0-9_-]+")


def check_call(store: Store, call: str, arguments: Mapping[str, Any]) -> None:
    """Hold a call of the store's contract that makes a version to what a request of the protocol is held to.

    Raises:
        InvalidInputError: its source is refused.
        NotFoundError: it names a model, run or logged model that does not exist.
    """
    if call != "create_model_version" or _WORD.fullmatch(arguments["source"]):
        return
    prompt = is_prompt(store, arguments["name"])
    check_source(
        store, arguments["source"], arguments.get("run_id") or "", arguments.get("model_id") or "", prompt=prompt
    )


def is_prompt(store: Store, name: str) -> bool:
    """Whether a registered model is a prompt."""
    return store.get_registered_model(name).tags.get(PROMPT_TAG) == "true"


def check_source(store: Store, source: str, run_id: str, model_id: str, *, prompt: bool) -> None:
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
        _check_local(store, source, run_id, model_id)
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


def _check_local(store: Store, source: str, run_id: str, model_id: str) -> None:
    what = "run_id" if run_id or not model_id else "model_id"
    refused = InvalidInputError(
        f"Invalid model version source: '{source}'. To use a local path as a model version source, the {what} request "
        "parameter has to be specified and the local path has to be contained within the artifact directory of the "
        f"{what.removesuffix('_id')} specified by the {what}."
    )
    if not (run_id or model_id):
        raise refused
    path = _plain(source)
    if path is None or not any(_is_in(path, root) for root in _roots(store, run_id, model_id)):
        raise refused


def _roots(store: Store, run_id: str, model_id: str) -> Iterator[str]:
    """Where the files of a run, and of a logged model, are."""
    if run_id:
        yield store.get_run(run_id).artifact_uri
    if model_id:
        yield store.get_logged_model(model_id).artifact_uri


def _is_in(path: str, root: str) -> bool:
    inside = _plain(root)
    return inside is not None and (path == inside or path.startswith(inside.rstrip("/") + "/"))


def _plain(uri: str) -> str | None:
    """The path of a local path or `file:` URI; None when it is none, or has anything to resolve in it."""
    if "\x00" in uri or "%" in uri or "\\" in uri or "#" in uri or "?" in uri:
        return None
    path = uri[len("file:") :] if uri.lower().startswith("file:") else uri
    path = path[len("//") :] if path.startswith("///") else path
    if not path.startswith("/") or path.startswith("//") or posixpath.normpath(path) != path.rstrip("/"):
        return None
    return path
