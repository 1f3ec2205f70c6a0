"""Code of one's own that a model needs: where it lies, what it imports, and copying it along."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_ml.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CODE = "code"
# Code is small; what is larger is data that lies beside it, and would be copied with each model.
_MAX_BYTES = 64 << 20
_TESTS = frozenset({"test", "tests"})


def place_of(module: str) -> Path | None:
    """The file or the folder of a top-level module; None when it is built in, or not here.

    Of a package that is spread over several folders it is the first.
    """
    loaded = sys.modules.get(module)
    spec = getattr(loaded, "__spec__", None)
    if spec is None:
        with contextlib.suppress(ImportError, ValueError):
            spec = importlib.util.find_spec(module)
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or ())
    place = folders[0] if folders else spec.origin if spec.has_location else None
    # What is imported out of an archive has no files of its own.
    return Path(place) if place and Path(place).exists() else None


def imported_by(module: str) -> set[str]:
    """The top-level modules that the files of a module import, function bodies included."""
    found: set[str] = set()
    for path in _files(module):
        if path.suffix != ".py":
            continue
        with contextlib.suppress(SyntaxError, ValueError, OSError):  # a template, or written for another Python
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, ast.Import):
                    found.update(alias.name.split(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                    found.add(node.module.split(".")[0])
    return found


def copy_code(modules: Iterable[str], target: Path) -> None:
    """Copy the files of top-level modules below `target`; what is there already stays as it is.

    Left out are hidden files, links, compiled caches and folders of tests.

    Raises:
        InvalidInputError: a module is larger than 64 MiB.
    """
    for module in sorted(modules):
        place = place_of(module)
        if place is None or (target / place.name).exists():
            continue
        files = _files(module)
        size = sum(path.stat().st_size for path in files)
        if size > _MAX_BYTES:
            raise InvalidInputError(
                f"The code of {module!r} at {str(place)!r} has {size >> 20} MiB, and would go along with the model; "
                "move the data out of it, or install it as a wheel from an index."
            )
        for path in files:
            copy = target / path.relative_to(place.parent)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def _files(module: str) -> list[Path]:
    place = place_of(module)
    if place is None:
        return []
    return [place] if place.is_file() else sorted(_below(place))


def _below(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith(".") or path.is_symlink():
            continue
        if path.is_dir():
            if path.name != "__pycache__" and path.name not in _TESTS:
                yield from _below(path)
        elif path.is_file() and path.suffix != ".pyc":
            yield path
