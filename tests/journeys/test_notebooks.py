"""Each notebook of the examples is executed from its first cell to its last, by a kernel of its own."""

from __future__ import annotations

import os
from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "examples" / "notebooks"


def test_there_is_one_for_each_component():
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == [
        "models", "projects", "quickstart", "registry_and_promotion", "serving", "tracking",
    ]  # fmt: skip


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore:Proactor event loop:RuntimeWarning")
def test_a_notebook_runs(path, prefect_api, tmp_path, monkeypatch):
    from prefect.settings import PREFECT_API_URL

    monkeypatch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code"), "outputs are not kept in git"
    nbclient.NotebookClient(
        notebook, timeout=200, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute(env=dict(os.environ))
