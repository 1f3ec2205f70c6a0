"""Uploads and downloads past the server, where its storage can be reached by clients."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.contract import DirectPart, DirectTransfer
from prefect_ml.http.refusal import RefusedError
from prefect_ml.protocol.artifacts.places import checked
from prefect_ml.protocol.fields import Int64, Text
from prefect_ml.protocol.wire import Request, from_body

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from prefect_ml.protocol.backend import Backend


_SEPARATOR = re.compile(r"[/\\]")


class _Upload(Request):
    path: Text


class _Create(_Upload):
    num_parts: Int64


class _Part(Request):
    part_number: Int64
    etag: Text


class _Complete(_Upload):
    upload_id: Text
    parts: list[_Part]


class _Abort(_Upload):
    upload_id: Text


def create(here: Backend, folder: str, body: bytes) -> dict[str, Any]:
    """Begin an upload in parts: its id, and where each part is sent."""
    request = from_body(_Create, body, {})
    upload_id, requests = _direct(here).begin_direct(_name(folder, request.path), request.num_parts)
    credentials = [
        {"url": each.url, "part_number": number, "headers": dict(each.headers)}
        for number, each in enumerate(requests, 1)
    ]
    return {"upload_id": upload_id, "credentials": credentials}


def complete(here: Backend, folder: str, body: bytes) -> dict[str, Any]:
    """Publish what was sent in parts."""
    request = from_body(_Complete, body, {})
    parts = [DirectPart(part.part_number, part.etag) for part in request.parts]
    _direct(here).complete_direct(_name(folder, request.path), request.upload_id, parts)
    return {}


def abort(here: Backend, folder: str, body: bytes) -> dict[str, Any]:
    """Give an upload in parts up."""
    request = from_body(_Abort, body, {})
    _direct(here).abort_direct(_name(folder, request.path), request.upload_id)
    return {}


def presigned(here: Backend, name: str) -> dict[str, Any]:
    """Where a file can be downloaded from the storage itself."""
    request, size = _direct(here).direct_download(checked(name))
    return {"url": request.url, "headers": dict(request.headers), "file_size": size}


UPLOADS: Mapping[str, Callable[[Backend, str, bytes], dict[str, Any]]] = {
    "create": create,
    "complete": complete,
    "abort": abort,
}


def _name(folder: str, path: str) -> str:
    """The whole name: clients send the folder in the URL, and in the body the path that the file has on their side."""
    base = _SEPARATOR.split(path)[-1]
    return checked(f"{folder}/{base}" if folder else base)


def _direct(here: Backend) -> DirectTransfer:
    if isinstance(here.artifacts, DirectTransfer):
        return here.artifacts
    raise RefusedError(
        501,
        "NOT_IMPLEMENTED",
        "The storage of this server cannot be reached past it; send and fetch files through the server.",
    )
