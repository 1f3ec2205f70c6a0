"""The large libraries, which are in a group of their own (`uv sync --group deep`)."""

from __future__ import annotations

import importlib
import importlib.util
import os
from types import ModuleType

import pytest


def need(name):
    """The module; the file's tests are skipped where it is missing, and fail where nothing may be."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        _without(error.name)


def need_later(name):
    """The same, imported when something of it is first asked for.

    Each process that runs tests reads all files, and few of their tests: seconds of imports for each library.
    """
    if importlib.util.find_spec(name) is None:
        _without(name)
    return _Later(name)


def _without(name):
    message = f"{name} is not installed; install the group `deep` (uv sync --group deep)"
    if os.environ.get("PREFECT_ML_REQUIRE_ALL") == "1":
        pytest.fail(message)
    pytest.skip(message, allow_module_level=True)


class _Later(ModuleType):
    def __getattr__(self, name):
        if name.startswith("_"):  # pytest asks everything in a file whether it is a test, a fixture or wrapped
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)
