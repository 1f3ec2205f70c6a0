"""In a real Jupyter kernel a run keeps the cells that were executed."""

from __future__ import annotations

import hashlib
import os
import re

import nbclient
import nbformat
import pytest

import prefect_ml as ml
from prefect_ml.artifacts import open_artifacts
from prefect_ml.tracking.capture import notebook

# Jupyter's own loops and sockets.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

RUN = "with ml.start_run('notes') as run:\n    run.log_metric('a', 1)\nml.flush()\nprint(run.run_id)"


def execute(folder, *sources: str):
    """The runs that the cells printed the ids of, after they ran in a kernel."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    made = nbformat.v4.new_notebook(cells=cells)
    client = nbclient.NotebookClient(made, timeout=120, kernel_name="python3", resources={"metadata": {"path": folder}})
    client.execute(env=dict(os.environ))
    outputs = [output for cell in made.cells for output in cell.outputs if output.output_type == "stream"]
    ids = re.findall(r"\b[0-9a-f]{32}\b", "".join(output.text for output in outputs if output.name == "stdout"))
    return [ml.get_run(run_id) for run_id in ids]


def kept(run):
    content = open_artifacts(run.artifact_uri).read("source/notebook.ipynb")
    assert run.tags["prefect_ml.source.notebook_digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
    found = nbformat.reads(content.decode(), as_version=4)
    nbformat.validate(found)
    return found


def test_cells_as_executed_with_plain_outputs_and_no_secrets(tmp_path):
    [run] = execute(
        str(tmp_path),
        "import prefect_ml as ml",
        "1 + 1",
        "%time x = 'ü\\ud83d'",
        "password = 'hunter2'\npassword",
        "import threading\nthreading.Lock()",
        RUN,
    )
    found = kept(run)
    assert [cell.source for cell in found.cells[:3]] == ["import prefect_ml as ml", "1 + 1", "%time x = 'ü\\ud83d'"]
    assert found.cells[-1].source == RUN
    assert found.cells[1].outputs[0].data["text/plain"] == "2"
    assert found.cells[4].outputs[0].data["text/plain"] == "<_thread.lock>"
    assert "password = [redacted]" in found.cells[3].source
    assert run.tags["mlflow.source.type"] == "NOTEBOOK"
    assert run.tags["mlflow.source.name"] == "notebook"
    assert run.tags["prefect_ml.entry_point"] == "notebook"
    assert "hunter2" not in nbformat.writes(found)


def test_each_run_has_the_cells_so_far(tmp_path):
    first, second = execute(str(tmp_path), "import prefect_ml as ml", RUN, "y = 2", RUN)
    assert [len(kept(run).cells) for run in (first, second)] == [2, 4]
    assert first.tags["prefect_ml.source.notebook_digest"] != second.tags["prefect_ml.source.notebook_digest"]


def test_the_editors_name_of_the_notebook(tmp_path, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "explore.ipynb"))
    by_server, by_editor = execute(
        str(tmp_path), "import prefect_ml as ml", RUN, "__vsc_ipynb_file__ = '/home/me/other.ipynb'", RUN
    )
    assert by_server.tags["mlflow.source.name"] == str(tmp_path / "explore.ipynb")
    assert by_editor.tags["mlflow.source.name"] == "/home/me/other.ipynb"


def test_it_is_bounded_and_keeps_the_last_cells(tmp_path):
    big = "\n".join(f"value_{n} = 'some words of text'" for n in range(8000))
    [run] = execute(str(tmp_path), "import prefect_ml as ml", *[big] * 5, RUN)
    found = kept(run)
    assert found.metadata.prefect_ml.cells_left_out >= 2
    assert found.cells[-1].source == RUN
    assert len(nbformat.writes(found)) < 2 * notebook.MOST_BYTES


def test_an_object_of_the_user_is_not_asked(tmp_path):
    code = "class Bomb:\n    asked = 0\n    def __repr__(self):\n        Bomb.asked += 1\n        return 'bomb'"
    [run] = execute(
        str(tmp_path), "import prefect_ml as ml", code, "Bomb()",
        "before = Bomb.asked\n" + RUN + "\nassert Bomb.asked == before",
    )  # fmt: skip
    assert kept(run).cells[2].outputs[0].data["text/plain"] == "<__main__.Bomb>"


def test_it_can_be_turned_off(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_ML_CAPTURE", "git,host")
    [run] = execute(str(tmp_path), "import prefect_ml as ml", RUN)
    assert "prefect_ml.source.notebook_digest" not in run.tags
    assert open_artifacts(run.artifact_uri).list() == []


def test_outside_of_jupyter_there_is_none():
    assert notebook.shell() is None
    assert notebook.snapshot() is None
