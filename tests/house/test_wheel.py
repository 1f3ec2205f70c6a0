"""The wheel holds the tree: nothing lost, nothing that does not belong."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tree() -> set[str]:
    package = {p.relative_to(ROOT / "src") for p in (ROOT / "src" / "prefect_ml").rglob("*.py")}
    for room in ("flows", "blocks"):
        package |= {Path("prefect_ml") / p.relative_to(ROOT) for p in (ROOT / room).rglob("*.py")}
    package |= {p.relative_to(ROOT / "src") for p in (ROOT / "src" / "prefect_ml" / "starter").glob("*.jinja")}
    return {p.as_posix() for p in package if "__pycache__" not in p.parts} | {"prefect_ml/py.typed"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(
        ROOT,
        source,
        symlinks=True,
        ignore=shutil.ignore_patterns(".git", ".venv", "*.egg-info", "build", "dist", ".*_cache", ".hypothesis"),
    )
    subprocess.run(
        [sys.executable, "-m", "uv", "build", "--wheel", "--out-dir", str(folder), str(source)],
        check=True,
        capture_output=True,
    )
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_exactly_the_tree(wheel):
    names = {n for n in zipfile.ZipFile(wheel).namelist() if n.startswith("prefect_ml/")}
    assert names == tree()


def test_the_wheel_carries_its_entry_points(wheel):
    archive = zipfile.ZipFile(wheel)
    entry_points = next(n for n in archive.namelist() if n.endswith("entry_points.txt"))
    text = archive.read(entry_points).decode()
    assert "prefect-ml = prefect_ml.cli:main" in text
    assert "prefect_ml = prefect_ml.blocks" in text
