"""Reading the small YAML files that describe a project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from prefect_ml.errors import InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES = 1 << 20
# Values that a file may have once its aliases (`*name`) are written out: a few lines of them can mean millions.
_MOST_VALUES = 100_000


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file of at most 1 MiB holds; plain data, never objects.

    Raises:
        InvalidInputError: it holds something else, or cannot be read.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(MOST_BYTES + 1)
        content = yaml.safe_load(text) if len(text) <= MOST_BYTES else None
    except (OSError, yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InvalidInputError(f"{path.name} cannot be read: {str(error)[:300]}") from error
    if not isinstance(content, dict):
        raise InvalidInputError(f"{path.name} must hold a mapping, and no more than {MOST_BYTES} bytes.")
    _bound(content, path.name)
    return content


def _bound(content: Any, name: str) -> None:
    queue, seen = [content], 0
    while queue:
        value = queue.pop()
        seen += 1
        if isinstance(value, dict | list):
            queue += value.values() if isinstance(value, dict) else value
        if seen + len(queue) > _MOST_VALUES:
            raise InvalidInputError(f"{name} has more than {_MOST_VALUES} values, its aliases written out.")
