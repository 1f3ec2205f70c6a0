"""The OpenAPI document of the routes, made from the models that serve (OpenAPI 3.1)."""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema

from prefect_ml.protocol.artifacts.documented import file_paths, file_schemas

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prefect_ml.protocol.route import Route

_REF = "#/components/schemas/{model}"
_AS_SENT: Literal["serialization"] = "serialization"
_PARAMETER = re.compile(r"\{(\w+)(?::path)?\}")
_ERROR = {
    "type": "object",
    "required": ["error_code", "message"],
    "properties": {
        "error_code": {"type": "string", "examples": ["INVALID_PARAMETER_VALUE"]},
        "message": {"type": "string", "description": "What is wrong, and what to do."},
    },
}


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The whole document; every route stands in it under its first path, that of `/api/2.0`, and files after them."""
    known = list(routes)
    requests = sorted({route.request for route in known}, key=lambda kind: kind.__qualname__)
    schemas, definitions = models_json_schema([(kind, "validation") for kind in requests], ref_template=_REF)
    kinds = {repr(route.answer): route.answer for route in known}.values()
    adapters = [(kind, _AS_SENT, TypeAdapter(kind)) for kind in kinds]
    answers, more = TypeAdapter.json_schemas(adapters, ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for route in known:
        request = _resolved(schemas[route.request, "validation"], definitions["$defs"])
        answer = answers[route.answer, _AS_SENT]
        for method in route.methods:
            place = paths.setdefault(route.paths[0].replace(":path}", "}"), {})
            place[method.lower()] = _operation(route, method, request, answer)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "prefect-ml",
            "version": version("prefect-ml"),
            "description": "MLflow's REST protocol over a store of prefect-ml. Every path also answers under "
            "`/ajax-api` in place of `/api`. Numbers may be sent as text, NaN and infinity as `NaN`, `Infinity` and "
            "`-Infinity`.",
        },
        "paths": {**paths, **file_paths()},
        "components": {"schemas": {**definitions["$defs"], **more.get("$defs", {}), **file_schemas(), "Error": _ERROR}},
    }


def _operation(route: Route, method: str, request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    in_path = _PARAMETER.findall(route.paths[0])
    operation: dict[str, Any] = {
        "tags": [route.tag],
        "summary": route.summary.partition("\n")[0].rstrip("."),
        "description": route.summary,
        "operationId": f"{route.work.__name__}_{method.lower()}",
        "responses": {
            "200": {"description": "It is done.", "content": {"application/json": {"schema": answer}}},
            "4XX": {"description": "Refused.", "content": {"application/json": {"schema": {"$ref": _error_ref()}}}},
        },
    }
    properties, required = request.get("properties", {}), set(request.get("required", ()))
    parameters = [_parameter(name, properties[name], "path", needed=True) for name in in_path]
    if method == "GET":
        rest = [name for name in properties if name not in in_path]
        parameters += [_parameter(name, properties[name], "query", needed=name in required) for name in rest]
    else:
        body = {**request, "properties": {k: v for k, v in properties.items() if k not in in_path}}
        body["required"] = sorted(required - set(in_path))
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    if parameters:
        operation["parameters"] = parameters
    return operation


def _parameter(name: str, schema: dict[str, Any], place: str, *, needed: bool) -> dict[str, Any]:
    found = {"name": name, "in": place, "required": needed, "schema": schema}
    if "description" in schema:
        found["description"] = schema["description"]
    return found


def _resolved(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema itself where it is a reference."""
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = definitions[name] if name else schema
    return found


def _error_ref() -> str:
    return _REF.format(model="Error")
