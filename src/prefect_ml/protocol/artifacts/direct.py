"""Uploads and downloads past the server, where its storage can be reached by clients."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic import Field

from prefect_ml.artifacts.contract import DirectPart, DirectTransfer
from prefect_ml.http.refusal import RefusedError
from prefect_ml.protocol.artifacts.places import checked
from prefect_ml.protocol.fields import Int64, Text
from prefect_ml.protocol.wire import Request, from_body

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from prefect_ml.protocol.backend import Backend


_SEPARATOR = re.compile(r"[/\\]")


class DirectUpload(Request):
    path: Text = Field(description="The file on the client's side; its last part counts.", examples=["roc.png"])


class CreateUpload(DirectUpload):
    num_parts: Int64 = Field(examples=[3])


class UploadedPart(Request):
    part_number: Int64 = Field(examples=[1])
    etag: Text = Field(examples=['"9b2cf535f27731c974343645a3985328"'])


class CompleteUpload(DirectUpload):
    upload_id: Text = Field(examples=["2~iCw_lDY8VoBhoRrIJbPMrUqnE3Z-3Qh"])
    parts: list[UploadedPart] = Field(examples=[[{"part_number": 1, "etag": '"9b2cf535f27731c974343645a3985328"'}]])


class AbortUpload(DirectUpload):
    upload_id: Text = Field(examples=["2~iCw_lDY8VoBhoRrIJbPMrUqnE3Z-3Qh"])


def create(here: Backend, folder: str, body: bytes) -> dict[str, Any]:
    """Begin an upload in parts: its id, and where each part is sent."""
    request = from_body(CreateUpload, body, {})
    upload_id, requests = _direct(here).begin_direct(_name(folder, request.path), request.num_parts)
    credentials = [
        {"url": each.url, "part_number": number, "headers": dict(each.headers)}
        for number, each in enumerate(requests, 1)
    ]
    return {"upload_id": upload_id, "credentials": credentials}


def complete(here: Backend, folder: str, body: bytes) -> dict[str, Any]:
    """Publish what was sent in parts."""
    request = from_body(CompleteUpload, body, {})
    parts = [DirectPart(part.part_number, part.etag) for part in request.parts]
    _direct(here).complete_direct(_name(folder, request.path), request.upload_id, parts)
    return {}


def abort(here: Backend, folder: str, body: bytes) -> dict[str, Any]:
    """Give an upload in parts up."""
    request = from_body(AbortUpload, body, {})
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


# What each step takes, and what it does, for the documentation.
REQUESTS: Mapping[str, tuple[type[Request], str]] = {
    "create": (CreateUpload, "Begin an upload of a file in parts, past the server"),
    "complete": (CompleteUpload, "Publish a file that was sent in parts"),
    "abort": (AbortUpload, "Give an upload in parts up"),
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
