"""The MLmodel file of a model folder (https://mlflow.org/docs/latest/ml/model/#storage-format)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from prefect_ml.artifacts.durable import open_to_read
from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from prefect_ml.models.signature import Signature

FILE = "MLmodel"
# MLmodel files are a few KB; a schema of 10,000 columns is below 1 MB.
_MAX_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What an MLmodel file says; `flavors` are its sections by name, times are UTC as MLflow writes it."""

    flavors: Mapping[str, Mapping[str, Any]]
    model_uuid: str = ""
    utc_time_created: str = ""
    signature: Signature | None = None
    input_example: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    run_id: str | None = None
    size_bytes: int | None = None

    @property
    def python_version(self) -> str | None:
        """The Python that saved the model."""
        found = self.flavors.get("python_function", {}).get("python_version")
        return None if found is None else str(found)


def write_info(folder: Path, info: ModelInfo) -> None:
    """Write the MLmodel file; keys without a value are left out."""
    content = {
        "flavors": {name: dict(conf) for name, conf in info.flavors.items()},
        "metadata": dict(info.metadata) or None,
        "model_size_bytes": info.size_bytes,
        "model_uuid": info.model_uuid,
        "run_id": info.run_id,
        "saved_input_example_info": None if info.input_example is None else dict(info.input_example),
        "signature": None if info.signature is None else info.signature.to_mlmodel(),
        "utc_time_created": info.utc_time_created,
    }
    kept = {key: value for key, value in content.items() if value is not None}
    (folder / FILE).write_text(yaml.safe_dump(kept, allow_unicode=True), encoding="utf-8")


def read_info(folder: Path) -> ModelInfo:
    """Read the MLmodel file of a folder.

    Raises:
        ArtifactError: there is none, or it cannot be read.
    """
    try:
        with open_to_read(resolve(folder, FILE)) as stream:
            text = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ArtifactError(f"{str(folder)!r} is no model folder: it has no readable MLmodel file.") from error
    if len(text) > _MAX_BYTES:
        raise ArtifactError(f"The MLmodel file of {str(folder)!r} is larger than {_MAX_BYTES >> 20} MiB.")
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ArtifactError(f"The MLmodel file of {str(folder)!r} is no plain YAML: {error}.") from error
    return _parse(content, folder)


def _parse(content: Any, folder: Path) -> ModelInfo:
    flavors = content.get("flavors") if isinstance(content, dict) else None
    if not isinstance(flavors, dict) or not all(isinstance(conf, dict) for conf in flavors.values()):
        raise ArtifactError(f"The MLmodel file of {str(folder)!r} lists no flavors.")
    signature = content.get("signature")
    found = None
    if isinstance(signature, dict):
        from prefect_ml.models.signature import Signature  # noqa: PLC0415 - only those who use it pay for its import

        found = Signature.from_mlmodel(signature)
    example = content.get("saved_input_example_info")
    metadata, run_id, size = (content.get(key) for key in ("metadata", "run_id", "model_size_bytes"))
    return ModelInfo(
        flavors=flavors,
        model_uuid=str(content.get("model_uuid") or ""),
        utc_time_created=str(content.get("utc_time_created") or ""),
        signature=found,
        input_example=example if isinstance(example, dict) else None,
        metadata=metadata if isinstance(metadata, dict) else {},
        # An id of digits alone is a number to YAML.
        run_id=None if run_id is None else str(run_id),
        size_bytes=size if isinstance(size, int) else None,
    )
