"""What a model predicted on its input example, kept beside it so that another machine can be asked for the same."""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import ArtifactError
from prefect_ml.models.infer import data_kind
from prefect_ml.models.inference import as_plain

if TYPE_CHECKING:
    from pathlib import Path

FILE = "output_example.json"
# Examples are a few rows; outputs that are longer are not worth their place in every copy of the model.
_MAX_BYTES = 4 << 20
_SHOWN = 80


def plain_outputs(outputs: Any) -> Any:
    """Outputs as JSON: a frame as its columns and rows, arrays and series as lists, numbers that JSON lacks as text.

    Raises:
        TypeError: some of it has no JSON.
    """
    outputs = as_plain(outputs)
    kind = data_kind(outputs)
    if kind == "frame":
        return {"columns": [str(name) for name in outputs.columns], "data": _plain(outputs.to_numpy().tolist())}
    return _plain(outputs.tolist() if kind else outputs)


def write_outputs(folder: Path, outputs: Any) -> None:
    """Keep the outputs in the model folder; those that have no JSON, or a very long one, are not kept."""
    try:
        text = json.dumps(plain_outputs(outputs))
    except (TypeError, ValueError, RecursionError):
        return
    if len(text) <= _MAX_BYTES:
        (folder / FILE).write_text(text)


def read_outputs(folder: Path) -> Any:
    """The outputs that were kept, as `plain_outputs` gives them; None when none were.

    Raises:
        ArtifactError: the file is no JSON, or too long.
    """
    path = resolve(folder, FILE)
    try:
        with path.open("rb") as stream:
            text = stream.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise ArtifactError(
                f"{FILE} of {str(folder)!r} is too long ({_MAX_BYTES >> 20} MiB); save the model again."
            )
        return json.loads(text)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"The outputs kept in {str(folder)!r} cannot be read: {error}.") from error


def difference(kept: Any, found: Any, tolerance: float, where: str = "the output") -> str | None:
    """The first difference of two plain outputs as words, None when there is none.

    Numbers with a fraction may differ by `tolerance`, absolutely below 1 and relatively above; all else is compared
    exactly.
    """
    if isinstance(kept, list) and isinstance(found, list):
        if len(kept) != len(found):
            return f"{where} has {len(found)} items instead of {len(kept)}"
        pairs = enumerate(zip(kept, found, strict=True))
        return next((d for i, (k, f) in pairs if (d := difference(k, f, tolerance, f"{where}[{i}]"))), None)
    if isinstance(kept, dict) and isinstance(found, dict):
        if kept.keys() != found.keys():
            return f"{where} has the keys {_shown(sorted(found))} instead of {_shown(sorted(kept))}"
        return next((d for k in kept if (d := difference(kept[k], found[k], tolerance, f"{where}[{_shown(k)}]"))), None)
    fractions = isinstance(kept, float) or isinstance(found, float)
    same = _close(kept, found, tolerance) if fractions else _equal(kept, found)
    return None if same else f"{where} is {_shown(found)} instead of {_shown(kept)}"


def _close(kept: Any, found: Any, tolerance: float) -> bool:
    if isinstance(kept, bool) or isinstance(found, bool) or not isinstance(kept, (int, float)):
        return False
    return isinstance(found, (int, float)) and abs(kept - found) <= tolerance * max(1.0, abs(kept))


def _equal(kept: Any, found: Any) -> bool:
    return type(kept) is type(found) and bool(kept == found)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if data_kind(value) == "frame":
        return plain_outputs(value)
    return _plain(value.tolist()) if hasattr(value, "tolist") else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, (dt.date, dt.datetime)):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
