"""Each setting, command and public name stands in the documentation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from cyclopts import App

import prefect_ml
from prefect_ml.cli import app
from prefect_ml.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", [each.name for each in fields(Settings)])
def test_each_setting_is_documented_with_its_default(name):
    text = (DOCS / "settings.md").read_text()
    assert f"`PREFECT_ML_{name.upper()}`" in text


def commands(root: App, prefix: str = "prefect-ml") -> Iterator[str]:
    for name in root:
        if name.startswith("-"):
            continue
        command = root[name]
        nested = [n for n in command if not n.startswith("-")]
        if nested:
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}"


@pytest.mark.parametrize("command", sorted(commands(app)))
def test_each_command_is_documented(command):
    assert f"`{command}" in (DOCS / "cli.md").read_text()


@pytest.mark.parametrize("name", sorted(prefect_ml.__all__))
def test_each_public_name_is_documented(name):
    assert f"`{name}" in (DOCS / "python.md").read_text()
