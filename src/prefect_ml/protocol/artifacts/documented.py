"""The routes of files in the OpenAPI document, which the table of routes cannot tell of: what they carry is no JSON."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from prefect_ml.protocol.artifacts import direct
from prefect_ml.protocol.route import AJAX

_ROOT = "/api/2.0/mlflow-artifacts"
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_FILE = {"application/octet-stream": _BYTES}
# A file is sent with the type that its name says.
_ANY_FILE = {"*/*": _BYTES}
_REF = "#/components/schemas/{model}"
_ERROR = {"application/json": {"schema": {"$ref": _REF.format(model="Error")}}}
_RUN = "0f6d3a4f9f5c4d8f8d2a2f1c9d1f7a55"


def file_schemas() -> dict[str, Any]:
    """What the bodies of these requests hold, by name."""
    kinds = [request for request, _ in direct.REQUESTS.values()]
    _, found = models_json_schema([(kind, "validation") for kind in kinds], ref_template=_REF)
    schemas: dict[str, Any] = found["$defs"]
    return schemas


def file_paths() -> dict[str, dict[str, Any]]:
    """The paths of files, each with its operations."""
    name = _in_path("name", "A file below the server's root.", f"1/{_RUN}/artifacts/roc.png")
    folder = _in_path("folder", "The folder of the file.", f"1/{_RUN}/artifacts")
    path = _in_url("path", "The file, from the root of its artifacts.", "roc.png")
    run_id = _in_url("run_id", "The run.", _RUN)
    paths = {
        f"{_ROOT}/artifacts/{{name}}": {
            "get": _operation("Download a file", "get_file", [name], answer=_ANY_FILE),
            "put": _operation("Upload a file, whole or not at all", "put_file", [name], body=_FILE),
            "delete": _operation("Delete a file, or a folder with all in it", "delete_file", [name]),
        },
        f"{_ROOT}/presigned/{{name}}": {
            "get": _operation("Get where a file can be downloaded from the storage itself", "presigned_file", [name])
        },
        "/get-artifact": {
            "get": _operation("Download a file of a run", "file_of_run", [run_id, path], answer=_ANY_FILE)
        },
        "/model-versions/get-artifact": {
            "get": _operation(
                "Download a file of a model version",
                "file_of_version",
                [_in_url("name", "The model.", "churn"), _in_url("version", "Its version.", "3"), path],
                answer=_ANY_FILE,
            )
        },
        f"{AJAX}/logged-models/{{model_id}}/artifacts/files": {
            "get": _operation(
                "Download a file of a logged model",
                "file_of_logged_model",
                [
                    _in_path("model_id", "The logged model.", f"m-{_RUN}"),
                    _in_url("artifact_file_path", "The file, from the root of the model.", "MLmodel"),
                ],
                answer=_ANY_FILE,
            )
        },
        f"{AJAX}/upload-artifact": {
            "post": _operation(
                "Upload a file to a run",
                "upload_file_to_run",
                [_in_url("run_uuid", "The run.", _RUN), path],
                body=_FILE,
            )
        },
    }
    for step, (request, sentence) in direct.REQUESTS.items():
        body = {"application/json": {"schema": {"$ref": _REF.format(model=request.__name__)}}}
        operation = _operation(sentence, f"{step}_direct_upload", [folder], body=body)
        paths[f"{_ROOT}/mpu/{step}/{{folder}}"] = {"post": operation}
    return paths


def _operation(
    summary: str,
    name: str,
    parameters: list[dict[str, Any]],
    *,
    answer: dict[str, Any] | None = None,
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    content = answer or {"application/json": {"schema": {"type": "object"}}}
    operation: dict[str, Any] = {
        "tags": ["Artifacts"],
        "summary": summary,
        "description": f"{summary}.",
        "operationId": name,
        "parameters": parameters,
        "responses": {
            "200": {"description": "It is done.", "content": content},
            "4XX": {"description": "Refused.", "content": _ERROR},
        },
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": body}
    return operation


def _in_path(name: str, description: str, example: str) -> dict[str, Any]:
    return _parameter(name, "path", description, example)


def _in_url(name: str, description: str, example: str) -> dict[str, Any]:
    return _parameter(name, "query", description, example)


def _parameter(name: str, place: str, description: str, example: str) -> dict[str, Any]:
    schema = {"type": "string", "examples": [example]}
    return {"name": name, "in": place, "required": True, "description": description, "schema": schema}
