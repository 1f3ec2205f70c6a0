"""What the configuration in a `.keras` archive would make Keras run or read.

Keras has its own switch (`safe_mode`), which was passed by several times (CVE-2025-1550, -8747, -9906, -12058); so the
configuration is looked at before Keras sees it, and Keras' switch is on as well.
"""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any, NamedTuple

from prefect_ml.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CONFIG = "config.json"
_MAX_BYTES = 64 << 20
# They hold code, or a model of another library, which has its own pickles.
_CODE = frozenset({"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "FlaxLayer", "JaxLayer", "__typespec__"})
# A text in the place of a list of words is the path of a file.
_PATHS = frozenset({"vocabulary", "idf_weights"})


class Custom(NamedTuple):
    """A class that is not Keras' own: its module, and its name in Keras' registry, `package>Name`."""

    module: str
    registered_name: str


def unsafe_part(path: Path) -> str | None:
    """The first thing in the configuration that runs code or reads another file, in words; None when there is none.

    Raises:
        ArtifactError: it cannot be read.
    """
    for each in _dicts(_config(path)):
        if each.get("class_name") in _CODE:
            return f"a {each['class_name']}"
        for name in _PATHS & each.keys():
            if isinstance(each[name], str):
                return f"the path {each[name][:80]!r}"
    return None


def custom_classes(path: Path) -> list[Custom]:
    """The classes and functions that are of other modules than Keras' own."""
    found = []
    for each in _dicts(_config(path)):
        module, name = each.get("module"), each.get("class_name")
        if isinstance(module, str) and name and not f"{module}.".startswith(("keras.", "builtins.")):
            found.append(Custom(module, str(each.get("registered_name") or name)))
    return list(dict.fromkeys(found))


def _dicts(config: Any) -> Iterator[dict[str, Any]]:
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _config(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if len(names) != len(set(names)) or archive.getinfo(_CONFIG).file_size > _MAX_BYTES:
                raise ArtifactError(f"{path.name!r} is no archive that Keras made: it is ambiguous, or too large.")
            return json.loads(archive.read(_CONFIG))
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, RecursionError) as error:
        raise ArtifactError(f"The configuration in {path.name!r} cannot be read: {error!r}.") from error
