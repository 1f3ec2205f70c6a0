"""What a model folder asks for, as requirements that can be locked."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement

from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import InvalidInputError, NotFoundError
from prefect_ml.models.environment import REQUIREMENTS_FILE

if TYPE_CHECKING:
    from pathlib import Path

    from prefect_ml.models.mlmodel import ModelInfo

# The extra of prefect-ml that has what a flavor's loader imports.
_EXTRAS = {
    "sklearn": "sklearn",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "catboost": "catboost",
    "onnx": "onnx",
    "statsmodels": "statsmodels",
    "pytorch": "torch",
    "keras": "keras",
    "transformers": "transformers",
}
_MAX_BYTES = 1 << 20


def extras_of(info: ModelInfo) -> set[str]:
    """The extras of prefect-ml that load a model."""
    return {_EXTRAS[flavor] for flavor in info.flavors if flavor in _EXTRAS}


def needs_of(model: Path, wheels: Path) -> list[str]:
    """The lines of a model's requirements.txt that are requirements; wheels that it carries go to `wheels`.

    What MLflow wrote is loaded without it, so a line that asks for MLflow is left out.

    Raises:
        NotFoundError: the model has no such file, or not the wheel that it names.
        InvalidInputError: a line is an option, a URL or a path, which could bring anything from anywhere.
    """
    path = resolve(model, REQUIREMENTS_FILE)
    if not path.is_file():
        raise NotFoundError(f"The model keeps no {REQUIREMENTS_FILE}, so nobody knows what it needs; save it again.")
    if path.stat().st_size > _MAX_BYTES:
        raise InvalidInputError(f"The {REQUIREMENTS_FILE} of the model is longer than any list of requirements.")
    lines = [line.split(" #")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    kept = [line for line in lines if line and not line.startswith("#")]
    return [need for line in kept if (need := _need(line, model, wheels)) is not None]


def _need(line: str, model: Path, wheels: Path) -> str | None:
    if line.endswith(".whl") and "@" not in line:
        return _carried(line, model, wheels)
    try:
        wanted = Requirement(line)
    except InvalidRequirement as error:
        raise InvalidInputError(
            f"The model's requirement {line[:100]!r} cannot be locked; only lines like 'numpy==2.1.0' are."
        ) from error
    if wanted.url is not None:
        raise InvalidInputError(
            f"The model's requirement {line[:100]!r} comes from a place of its own, so its image is not built; "
            "publish it in a package index that uv is told of, and save the model again."
        )
    return None if wanted.name.lower() in ("mlflow", "prefect-ml", "prefect_ml") else str(wanted)


def _carried(line: str, model: Path, wheels: Path) -> str:
    """A wheel that lies in the model folder."""
    found = resolve(model, line.removeprefix("./"))
    if not found.is_file():
        raise NotFoundError(f"The model names the wheel {line!r} and does not have it; save it again.")
    shutil.copyfile(found, wheels / found.name)
    return f"./{wheels.name}/{found.name}"
