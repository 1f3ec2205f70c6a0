"""KServe's inference protocol, version 2, as a form of requests and answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from prefect_ml.errors import InvalidInputError
from prefect_ml.models.infer import data_kind
from prefect_ml.models.schema import Column, Tensor
from prefect_ml.serving.decoding import Request, parse_json
from prefect_ml.serving.failure import ModelFailedError
from prefect_ml.serving.forms import Answer
from prefect_ml.serving.kserve_tensors import json_data, raw_data, read_tensor, tensor_json
from prefect_ml.serving.rows import count_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prefect_ml.http.refusal import RefusedError
    from prefect_ml.models.signature import Signature
    from prefect_ml.serving.replica import Replica

# What observers are told that the body is: the protocol itself calls it JSON, or bytes.
MEDIA_TYPE = "application/vnd.kserve.v2"
_LENGTH = b"inference-header-content-length"
_OCTETS = (b"content-type", b"application/octet-stream")
# The name of what a model predicts, unless it has names of its own.
OUTPUT = "predictions"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a request wants of its answer: its id, and by name of an output, whether it is sent as bytes."""

    id: str | None
    outputs: dict[str, bool] | None
    raw: bool


class KServeForm:
    """JSON with tensors in it, or with their bytes behind it."""

    def content_type(self, headers: Mapping[bytes, bytes]) -> str:  # noqa: ARG002  of the protocol
        return MEDIA_TYPE

    def read(self, replica: Replica, headers: Mapping[bytes, bytes], body: bytes) -> Request:
        length = headers.get(_LENGTH)
        if length is None:
            content, raw = parse_json(body), memoryview(b"")
        else:
            size = int(length) if length.isdigit() and len(length) < 20 else len(body) + 1  # noqa: PLR2004  digits
            if size > len(body):
                raise InvalidInputError("Inference-Header-Content-Length is not the length of the JSON in the body.")
            content, raw = parse_json(body[:size]), memoryview(body)[size:]
        if not isinstance(content, dict) or not isinstance(content.get("inputs"), list) or not content["inputs"]:
            raise InvalidInputError("An inference request is an object with a list 'inputs'.")
        try:
            tensors = _tensors(content["inputs"], raw)
        except RecursionError as error:
            raise InvalidInputError("The data are nested too deeply; give a flat list.") from error
        signature = replica.model.signature
        parameters = content.get("parameters")
        parameters = parameters if isinstance(parameters, dict) else {}
        declared = {param.name for param in signature.params} if signature is not None else set()
        params = {name: value for name, value in parameters.items() if name in declared}
        data = replica.decoder.of_tensors(tensors) if signature is not None else _alone(tensors)
        return Request(data, params or None, asked=_asked(content, parameters))

    def write(self, name: str, replica: Replica, request: Request, predictions: Any) -> Answer:
        asked: _Asked = request.asked
        outputs = _named(predictions, replica.model.signature)
        wanted = asked.outputs if asked.outputs is not None else dict.fromkeys(outputs, asked.raw)
        if unknown := wanted.keys() - outputs.keys():
            raise InvalidInputError(
                f"The model has no output {min(unknown)[:60]!r}; it has {', '.join(map(repr, outputs))}."
            )
        head: dict[str, Any] = {"model_name": name, "outputs": []}
        if replica.version:
            head["model_version"] = replica.version
        if asked.id is not None:
            head["id"] = asked.id
        parts = []
        for output, raw in wanted.items():
            tensor = tensor_json(output, outputs[output])
            if raw:
                parts.append(raw_data(outputs[output]))
                tensor["parameters"] = {"binary_data_size": len(parts[-1])}
            else:
                tensor["data"] = json_data(outputs[output])
            head["outputs"].append(tensor)
        content = orjson.dumps(head)
        rows = count_rows(request.data)
        if not parts:
            return Answer(content, rows)
        return Answer(b"".join((content, *parts)), rows, (_OCTETS, (_LENGTH, b"%d" % len(content))))

    def refusal(self, refused: RefusedError) -> bytes:
        return orjson.dumps({"error": str(refused).encode(errors="replace").decode()})


KSERVE = KServeForm()


def metadata(name: str, replicas: Sequence[Replica]) -> dict[str, Any]:
    """What `/v2/models/<name>` tells of a model; a free axis is -1."""
    first = replicas[0]
    signature = first.model.signature
    return {
        "name": name,
        "versions": [replica.version for replica in replicas if replica.version],
        "platform": f"prefect-ml_{first.model.flavor.name}",
        "inputs": _described(signature.inputs if signature else None, ""),
        "outputs": _described(signature.outputs if signature else None, OUTPUT),
    }


_OF_COLUMNS = {
    "boolean": "BOOL", "integer": "INT32", "long": "INT64", "float": "FP32", "double": "FP64",
}  # fmt: skip
_OF_TENSORS = {"bool": "BOOL", "float16": "FP16", "float32": "FP32", "float64": "FP64"}


def _described(specs: Sequence[Column | Tensor] | None, default: str) -> list[dict[str, Any]]:
    described = []
    for at, spec in enumerate(specs or ()):
        name = str(spec.name) if spec.name is not None else default or f"input-{at}"
        if isinstance(spec, Tensor):
            datatype = _OF_TENSORS.get(spec.dtype) or (spec.dtype.upper() if "int" in spec.dtype else "BYTES")
            described.append({"name": name, "datatype": datatype, "shape": list(spec.shape)})
        else:
            datatype = _OF_COLUMNS.get(spec.type, "BYTES") if isinstance(spec.type, str) else "BYTES"
            described.append({"name": name, "datatype": datatype, "shape": [-1]})
    return described


def _tensors(inputs: list[Any], raw: memoryview) -> dict[str, Any]:
    tensors: dict[str, Any] = {}
    for tensor in inputs:
        if not isinstance(tensor, dict):
            raise InvalidInputError("Each input is an object with 'name', 'datatype', 'shape' and 'data'.")
        parameters = tensor.get("parameters")
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        if size is None:
            array = read_tensor(tensor, None)
        elif type(size) is int and 0 <= size <= len(raw):
            array, raw = read_tensor(tensor, raw[:size]), raw[size:]
        else:
            raise InvalidInputError("An input's 'binary_data_size' is more than the bytes behind the JSON.")
        if tensor["name"] in tensors:
            raise InvalidInputError(f"There are two inputs {tensor['name'][:60]!r}.")
        tensors[tensor["name"]] = array
    if len(raw):
        raise InvalidInputError(f"There are {len(raw)} bytes behind the last input.")
    return tensors


def _alone(tensors: dict[str, Any]) -> Any:
    """The only array, or all by name, for a model that does not say what it takes."""
    return next(iter(tensors.values())) if len(tensors) == 1 else tensors


def _asked(content: Mapping[str, Any], parameters: Mapping[str, Any]) -> _Asked:
    raw = parameters.get("binary_data_output") is True
    outputs = content.get("outputs")
    wanted: dict[str, bool] | None = None
    if outputs:
        if not isinstance(outputs, list) or not all(
            isinstance(o, dict) and isinstance(o.get("name"), str) for o in outputs
        ):
            raise InvalidInputError("'outputs' is a list of objects with a 'name'.")
        wanted = {}
        for output in outputs:
            own = output.get("parameters")
            own = own.get("binary_data", raw) if isinstance(own, dict) else raw
            wanted[output["name"]] = own is True
    id_ = content.get("id")
    return _Asked(id_ if isinstance(id_, str) else None, wanted, raw)


def _named(predictions: Any, signature: Signature | None) -> dict[str, Any]:
    """The arrays of what a model predicts, by name."""
    import numpy as np  # noqa: PLC0415  only where there are tensors

    kind = data_kind(predictions)
    if kind == "frame":
        return {str(label): predictions.iloc[:, at].to_numpy() for at, label in enumerate(predictions.columns)}
    if not isinstance(predictions, dict):
        outputs = signature.outputs if signature is not None else None
        name = str(outputs[0].name) if outputs and len(outputs) == 1 and outputs[0].name is not None else OUTPUT
        predictions = {name: predictions}
    try:
        return {str(name): np.asarray(values) for name, values in predictions.items()}
    except ValueError as error:
        raise ModelFailedError(f"The model's answer is no tensor: {error}. Ask at /invocations.") from error
