"""The files of an ONNX graph: which tensors stand outside of it, and where (https://onnx.ai/onnx/repo-docs/ExternalData.html)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import ArtifactError, InvalidNameError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# By this name onnxruntime means an address in its own memory.
_MEMORY = "_ORT_MEM_ADDR_"


def read_graph(path: Path, origin: str) -> Any:
    """The graph without the tensors that stand outside of it.

    Raises:
        ArtifactError: the file is no ONNX graph.
    """
    import onnx  # noqa: PLC0415 - only for models of ONNX
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped] # noqa: PLC0415 - comes with onnx

    try:
        return onnx.load_model(str(path), format="protobuf", load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise ArtifactError(f"{path.name!r} of {origin!r} is no ONNX graph: {error}") from error


def check_outside_tensors(graph: Any, path: Path, origin: str) -> None:
    """Refuse tensors that are not in regular files below the folder of the graph.

    Raises:
        ArtifactError: a tensor's file is elsewhere, behind a link, missing, or too short.
    """
    for tensor in _tensors(graph):
        if tensor.data_location != tensor.EXTERNAL:
            continue
        where = {entry.key: entry.value for entry in tensor.external_data}
        location = where.get("location", "")
        try:
            file = resolve(path.parent, location)
            end = int(where.get("offset") or 0) + int(where.get("length") or 0)
        except (InvalidNameError, ValueError) as error:
            raise ArtifactError(
                f"The tensor {tensor.name!r} of {origin!r} is not in the model folder: {error}"
            ) from error
        if _MEMORY in location or not file.is_file() or not 0 <= end <= file.stat().st_size:
            raise ArtifactError(
                f"The tensor {tensor.name!r} of {origin!r} is to be in {location!r}, which is no file of the model "
                "folder or too short; download the model again."
            )


def tensor_bytes(graph: Any) -> int:
    """The bytes of the tensors that the graph holds itself."""
    return sum(len(tensor.raw_data) for tensor in _tensors(graph))


def _tensors(message: Any) -> Iterator[Any]:
    """Each tensor in a message, however deep: weights, attributes, subgraphs, functions, sparse ones."""
    if message.DESCRIPTOR.full_name == "onnx.TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if _is_repeated(field) else (value,):
                yield from _tensors(inner)


def _is_repeated(field: Any) -> bool:
    # Newer protobuf deprecates `label`, older has no `is_repeated`.
    return bool(field.is_repeated) if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED
