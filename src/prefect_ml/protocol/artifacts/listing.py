"""What lies in the folders of runs, logged models and the server's root."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from prefect_ml.protocol.artifacts.places import below_root, checked, of_logged_model, of_run
from prefect_ml.protocol.backend import Backend
from prefect_ml.protocol.fields import Text
from prefect_ml.protocol.route import Route, Routes
from prefect_ml.protocol.wire import Request

SERVED = ("/api/2.0/mlflow-artifacts", "/ajax-api/2.0/mlflow-artifacts")

routes = Routes("Artifacts")


class FileInfo(TypedDict):
    path: str
    is_dir: bool
    file_size: NotRequired[int]


class Files(TypedDict):
    files: NotRequired[list[FileInfo]]


class RootFiles(Files):
    root_uri: str


class RunFolder(Request):
    run_id: Text = ""
    run_uuid: Text = Field("", description="The older name of `run_id`.")
    path: Text = Field("", examples=["model"])


class ModelFolder(Request):
    model_id: Text = Field(examples=["m-0f6d3a4f9f5c4d8f8d2a2f1c9d1f7a55"])
    artifact_directory_path: Text = ""


class Folder(Request):
    path: Text = Field("", examples=["1/0f6d3a4f9f5c4d8f8d2a2f1c9d1f7a55/artifacts"])


@routes.on("GET", "artifacts/list")
def list_run(here: Backend, request: RunFolder) -> RootFiles:
    """List a folder of a run's artifacts; paths count from the run's root."""
    run_id = request.run_id or request.run_uuid
    root = here.store.get_run(run_id).artifact_uri
    return {"root_uri": root, **_files(here, of_run(here, run_id, request.path), below_root(here, root))}


@routes.on("GET", "logged-models/{model_id}/artifacts/directories")
def list_logged_model(here: Backend, request: ModelFolder) -> RootFiles:
    """List a folder of a logged model's artifacts; paths count from the model's root."""
    root = here.store.get_logged_model(request.model_id).artifact_uri
    folder = of_logged_model(here, request.model_id, request.artifact_directory_path)
    return {"root_uri": root, **_files(here, folder, below_root(here, root))}


def list_folder(here: Backend, request: Folder) -> Files:
    """List a folder below the server's root; paths count from that folder."""
    folder = checked(request.path) if request.path else ""
    return _files(here, folder, folder)


_PATHS = tuple(f"{prefix}/artifacts" for prefix in SERVED)
routes.all.append(Route(("GET",), _PATHS, Folder, Files, list_folder, "Artifacts"))


def list_own(here: Backend, request: Folder) -> list[dict[str, Any]]:
    """List a folder below the server's root for our own stores, with all that is known; names count from the root."""
    return [asdict(info) for info in here.artifacts.list(request.path)]


def _files(here: Backend, folder: str, root: str) -> Files:
    found = [_file(info.name[len(root) :].lstrip("/"), info.size) for info in here.artifacts.list(folder)]
    return {"files": found} if found else {}


def _file(path: str, size: int | None) -> FileInfo:
    return {"path": path, "is_dir": True} if size is None else {"path": path, "is_dir": False, "file_size": size}
