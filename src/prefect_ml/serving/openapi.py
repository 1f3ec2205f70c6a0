"""The OpenAPI document of a serving process: each model's inputs, parameters and outputs as its signature has them."""

from __future__ import annotations

from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Any

import orjson

from prefect_ml.models.schema import AnyType, ArrayType, Column, MapType, ObjectType, Tensor
from prefect_ml.serving.columnar_bodies import MEDIA_TYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect_ml.models.schema import Param, ValueType
    from prefect_ml.models.signature import Signature
    from prefect_ml.serving.picking import ServedModel, ServedModels
    from prefect_ml.serving.replica import Replica

_SCALARS: dict[str, dict[str, Any]] = {
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer", "format": "int32"},
    "long": {"type": "integer", "format": "int64"},
    "float": {"type": "number", "format": "float"},
    "double": {"type": "number", "format": "double"},
    "string": {"type": "string"},
    "binary": {"type": "string", "contentEncoding": "base64"},
    "datetime": {"type": "string", "format": "date-time"},
}
# The example of a request that a model folder may have, and bytes beyond which it is no help to a reader.
_EXAMPLE = "serving_input_example.json"
_MOST_EXAMPLE = 64 << 10
_ERRORS = {
    "400": "The request breaks the signature, or the model failed on it.",
    "401": "The token is missing or wrong.",
    "413": "The body is larger than this server takes.",
    "415": "The content type is not known.",
    "429": "The client sends more requests a second than it may.",
    "503": "As many requests wait as may; `Retry-After` says when to come again.",
}


def document(models: ServedModels) -> dict[str, Any]:
    """The document, in OpenAPI 3.1."""
    schemas: dict[str, Any] = {
        "Error": {
            "type": "object",
            "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}},
            "required": ["error_code", "message"],
        }
    }
    paths: dict[str, Any] = {}
    for number, model in enumerate(models):
        replicas = model.replicas()
        if not replicas:
            continue
        operation = _operation(model, replicas[0], number, schemas)
        if model is models.first:
            paths["/invocations"] = {"post": operation | {"operationId": "predict"}}
        paths[f"/models/{model.name}/invocations"] = {"post": operation}
    for path, summary in _PLAIN.items():
        answer = {"200": {"description": "It is."}}
        paths[path] = {"get": {"summary": summary, "operationId": f"get{path.replace('/', '_')}", "responses": answer}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "prefect-ml", "version": installed_version("prefect-ml")},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


_PLAIN = {
    "/ping": "Whether the process answers",
    "/health": "What is served",
    "/version": "The release of prefect-ml",
    "/metrics": "Numbers for Prometheus",
    "/v2": "The server, by KServe's protocol",
}


def example_of(replica: Replica) -> Any:
    """The example of a request that the model folder has, as JSON; None when there is none that a reader would like."""
    path = replica.model.folder / _EXAMPLE
    try:
        content = path.read_bytes()
        return orjson.loads(content) if len(content) <= _MOST_EXAMPLE else None
    except (OSError, orjson.JSONDecodeError):
        return None


def json_type(type_: ValueType) -> dict[str, Any]:
    """The JSON schema of a value of a signature."""
    match type_:
        case ArrayType(items):
            return {"type": "array", "items": json_type(items)}
        case MapType(values):
            return {"type": "object", "additionalProperties": json_type(values)}
        case ObjectType(properties):
            return {
                "type": "object",
                "properties": {name: json_type(each.type) for name, each in properties},
                "required": [name for name, each in properties if each.required],
            }
        case AnyType():
            return {}
        case _:
            return dict(_SCALARS[type_])


def _operation(model: ServedModel, replica: Replica, number: int, schemas: dict[str, Any]) -> dict[str, Any]:
    signature = replica.model.signature
    request, answer = f"Request{number}", f"Answer{number}"
    schemas[request] = _request(signature)
    schemas[answer] = {
        "type": "object",
        "properties": {"predictions": _outputs(signature)},
        "required": ["predictions"],
    }
    content: dict[str, Any] = {"application/json": {"schema": {"$ref": f"#/components/schemas/{request}"}}}
    example = example_of(replica)
    if example is not None:
        content["application/json"]["example"] = example
    content["text/csv"] = {"schema": {"type": "string"}}
    content |= {media_type: {} for media_type in MEDIA_TYPES}
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    answers: dict[str, Any] = {
        "application/json": {"schema": {"$ref": f"#/components/schemas/{answer}"}},
        **{media_type: {} for media_type in MEDIA_TYPES},
    }
    return {
        "summary": f"Predict with {model.name}",
        "operationId": f"predict_{number}",
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": "The predictions.", "content": answers},
            **{status: {"description": text, "content": error} for status, text in _ERRORS.items()},
        },
    }


def _request(signature: Signature | None) -> dict[str, Any]:
    inputs = () if signature is None or signature.inputs is None else signature.inputs
    shapes = _tensor_shapes(inputs) if inputs and isinstance(inputs[0], Tensor) else _table_shapes(inputs)
    params = _params(signature.params if signature is not None else ())
    return {
        "oneOf": [
            {
                "type": "object",
                "properties": {key: schema, "params": params},
                "required": [key],
                "additionalProperties": False,
            }
            for key, schema in shapes.items()
        ]
    }


def _table_shapes(inputs: Sequence[Any]) -> dict[str, Any]:
    columns = [spec for spec in inputs if isinstance(spec, Column)]
    cells = [_cell(column) for column in columns]
    row: dict[str, Any] = {"type": "array", "items": {}}
    record: dict[str, Any] = {"type": "object"}
    if columns:
        names = [str(at if column.name is None else column.name) for at, column in enumerate(columns)]
        record["properties"] = dict(zip(names, cells, strict=True))
        record["required"] = [n for n, column in zip(names, columns, strict=True) if column.required]
    by_column = {name: {"type": "array", "items": cell} for name, cell in record.get("properties", {}).items()}
    split = {
        "type": "object",
        "properties": {
            "columns": {"type": "array", "items": {"type": ["string", "number"]}},
            "index": {"type": "array"},
            "data": {"type": "array", "items": row},
        },
        "required": ["data"],
        "additionalProperties": False,
    }
    records = {"type": "array", "items": record}
    return {
        "dataframe_split": split,
        "dataframe_records": records,
        "instances": {"type": "array", "items": {"anyOf": [record, row]}},
        "inputs": {"anyOf": [{"type": "object", "properties": by_column}, records, {"type": "array", "items": row}]},
    }


def _tensor_shapes(inputs: Sequence[Any]) -> dict[str, Any]:
    if inputs[0].name is None:
        array = _array(inputs[0])
        return {"inputs": array, "instances": array}
    each = {str(tensor.name): _array(tensor) for tensor in inputs}
    by_row = {str(tensor.name): _array(tensor).get("items", {}) for tensor in inputs}
    return {
        "inputs": {"type": "object", "properties": each, "required": list(each)},
        "instances": {"type": "array", "items": {"type": "object", "properties": by_row, "required": list(by_row)}},
    }


def _cell(column: Column) -> dict[str, Any]:
    schema = json_type(column.type)
    if not column.required and "type" in schema:
        schema["type"] = [schema["type"], "null"]
    return schema


def _array(tensor: Tensor) -> dict[str, Any]:
    kinds = {"b": {"type": "boolean"}, "i": {"type": "integer"}, "u": {"type": "integer"}, "f": {"type": "number"}}
    schema: dict[str, Any] = dict(kinds.get(tensor.dtype[0], {}))
    for size in reversed(tensor.shape):
        schema = {"type": "array", "items": schema}
        if size >= 0:
            schema |= {"minItems": size, "maxItems": size}
    return schema


def _params(params: Sequence[Param]) -> dict[str, Any]:
    properties = {}
    for param in params:
        one = dict(_SCALARS.get(param.type, {}))
        schema = one if param.shape is None else {"type": "array", "items": one}
        properties[param.name] = schema | ({"default": param.default} if _is_json(param.default) else {})
    return {"type": "object", "properties": properties}


def _outputs(signature: Signature | None) -> dict[str, Any]:
    outputs = None if signature is None else signature.outputs
    if not outputs:
        return {}
    if isinstance(outputs[0], Tensor):
        return _array(outputs[0]) if len(outputs) == 1 and outputs[0].name is None else {"type": "object"}
    columns = [spec for spec in outputs if isinstance(spec, Column)]
    if len(columns) == 1 and columns[0].name is None:
        return {"type": "array", "items": _cell(columns[0])}
    row = {str(column.name): _cell(column) for column in columns}
    return {"type": "array", "items": {"type": "object", "properties": row}}


def _is_json(value: Any) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True
