"""Importing what lies below `code/` of a trusted model folder by its plain name, for pickles and skops that name it.

A bytecode cache would be one more file of the model, whose digest and signature would hold no longer: none is written,
and none is read.
"""

from __future__ import annotations

import importlib
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_ml.models.own_code import CODE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from prefect_ml.models.trust import Trust


class SourceLoader(SourceFileLoader):
    """Reads a module from its source alone."""

    def path_stats(self, path: str) -> Mapping[str, Any]:
        """Without these, importlib neither reads bytecode nor writes it."""
        raise OSError(path)


def make_importable(folder: Path, trust: Trust) -> None:
    """Let what is below `code/` be imported, after everything that is installed; nothing when it is not trusted."""
    code = folder / CODE
    known = any(isinstance(finder, _Finder) and finder.code == code for finder in sys.meta_path)
    if trust.given and code.is_dir() and not code.is_symlink() and not known:
        sys.meta_path.insert(0, _Finder(code, top=False))
        sys.meta_path.append(_Finder(code, top=True))
        importlib.invalidate_caches()


class _Finder(MetaPathFinder):
    """Finds the top-level modules of a folder, or those in the packages that were found there."""

    def __init__(self, code: Path, *, top: bool) -> None:
        self.code = code
        self._top = top

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if self._top:
            folders = [] if path is not None else [str(self.code)]
        else:
            folders = [place for place in path or () if Path(place).is_relative_to(self.code)]
        for place in folders:
            finder = FileFinder(place, (SourceLoader, [".py"]), (ExtensionFileLoader, EXTENSION_SUFFIXES))
            if (spec := finder.find_spec(fullname, target)) is not None:
                return spec
        return None
