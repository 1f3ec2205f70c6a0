"""The large libraries, which are in a group of their own (`uv sync --group deep`)."""

from __future__ import annotations

import importlib
import os

import pytest


def need(name):
    """The module; the file's tests are skipped where it is missing, and fail where nothing may be."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        message = f"{error.name} is not installed; install the group `deep` (uv sync --group deep)"
        if os.environ.get("PREFECT_ML_REQUIRE_ALL") == "1":
            pytest.fail(message)
        pytest.skip(message, allow_module_level=True)
