"""An export that somebody wrote to do harm does none: no file outside of it is read, none outside is written."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from prefect_ml.artifacts import open_artifacts
from prefect_ml.entities import Metric
from prefect_ml.errors import CorruptArtifactError, InvalidInputError, InvalidNameError, PrefectMLError
from prefect_ml.moving import folder_format as form
from prefect_ml.moving.export import export
from prefect_ml.moving.folder import FolderOrigin
from prefect_ml.moving.opening import own_origin
from prefect_ml.moving.report import Kind
from prefect_ml.moving.transfer import take_over

RUN = "a" * 32


@pytest.fixture
def folder(store, tmp_path):
    run = store.create_run(store.create_experiment("churn"), run_id=RUN)
    store.log_batch(RUN, metrics=[Metric("loss", 0.5, 1, 1)])
    open_artifacts(run.artifact_uri).put("a.txt", b"hello")
    export(own_origin(store), tmp_path / "export")
    return tmp_path / "export"


def rewrite(folder, table, change):
    """Change the lines of a table, and make the index fit, as whoever does harm would."""
    lines = [change(json.loads(line)) for line in (folder / table).read_text().splitlines()]
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()
    (folder / table).write_bytes(text)
    fit(folder, table, text)


def fit(folder, table, text):
    index = form.Index.model_validate_json((folder / form.INDEX).read_bytes())
    fact = form.TableFact(lines=text.count(b"\n"), size=len(text), sha256=hashlib.sha256(text).hexdigest())
    index = index.model_copy(update={"tables": {**index.tables, table: fact}})
    index = index.model_copy(update={"digest": index.computed})
    (folder / form.INDEX).write_text(index.model_dump_json())


@pytest.mark.parametrize(
    "name", ["../../secret.txt", "/etc/passwd", "a/../../b", "..", "C:/x", "a\\b", "", "x" * 300, ".prefect-ml/x"]
)
def test_a_name_that_leaves_its_folder_is_refused(folder, name):
    rewrite(folder, form.ARTIFACTS, lambda line: {**line, "name": name})
    with pytest.raises(InvalidNameError):
        FolderOrigin(folder)


@pytest.mark.parametrize("run_id", ["../../../etc", "..", "/etc", "a/b"])
def test_a_run_id_that_leaves_the_store_is_refused(folder, new_store, run_id):
    def change(line):
        line["run"]["run_id"] = run_id
        return line

    rewrite(folder, form.RUNS, change)
    target = new_store("target")
    report = take_over(FolderOrigin(folder), target)
    assert report.counts[Kind.RUNS].refused == 1
    assert report.counts[Kind.RUNS].copied == 0
    assert [entry.name for entry in (folder.parent / "target").iterdir() if entry.name.startswith("etc")] == []


def test_an_id_that_is_a_place_in_another_run_writes_nothing_there(folder, new_store):
    victim = "b" * 32
    target = new_store("target")
    run = target.create_run(target.create_experiment("churn"), run_id=victim)
    open_artifacts(run.artifact_uri).put("model/a.txt", b"mine")
    inside = f"{victim}/artifacts/model"

    def rename(line):
        line["run"]["run_id"] = inside
        return line

    rewrite(folder, form.RUNS, rename)
    rewrite(folder, form.ARTIFACTS, lambda line: {**line, "of": f"runs/{inside}"})
    moved = folder / "artifacts" / "runs" / inside
    moved.parent.mkdir(parents=True)
    (folder / "artifacts" / "runs" / RUN).rename(moved)
    report = take_over(FolderOrigin(folder), target)
    assert report.counts[Kind.RUNS].refused == 1
    assert [info.name for info in open_artifacts(run.artifact_uri).list("model")] == ["model/a.txt"]


def test_links_are_not_followed(folder, new_store, tmp_path):
    (tmp_path / "secret").write_bytes(b"hello")
    file = folder / "artifacts" / "runs" / RUN / "a.txt"
    file.unlink()
    file.symlink_to(tmp_path / "secret")
    report = take_over(FolderOrigin(folder), new_store("target"))
    assert any("symbolic link" in told for told in report.failures)


def test_a_pipe_is_not_waited_for(folder, new_store):
    file = folder / "artifacts" / "runs" / RUN / "a.txt"
    file.unlink()
    os.mkfifo(file)
    report = take_over(FolderOrigin(folder), new_store("target"))
    assert report.counts[Kind.RUNS].refused == 1


@pytest.mark.parametrize("content", [b"hellO", b"hello and more", b"hel"])
def test_a_file_that_is_not_the_exported_one_is_not_taken(folder, new_store, content):
    (folder / "artifacts" / "runs" / RUN / "a.txt").write_bytes(content)
    target = new_store("target")
    report = take_over(FolderOrigin(folder), target)
    assert report.counts[Kind.RUNS].refused == 1
    with pytest.raises(PrefectMLError):
        target.get_run(RUN)


def test_a_table_that_was_changed_is_seen(folder):
    with (folder / form.RUNS).open("ab") as stream:
        stream.write(b"\n")
    with pytest.raises(CorruptArtifactError, match="not the one that was exported"):
        FolderOrigin(folder)


def test_an_index_that_was_changed_is_seen(folder):
    index = json.loads((folder / form.INDEX).read_text())
    index["tables"][form.RUNS]["size"] += 1
    index["tables"][form.RUNS]["sha256"] = "0" * 64
    (folder / form.INDEX).write_text(json.dumps(index))
    with pytest.raises(CorruptArtifactError, match="does not fit its own digest"):
        FolderOrigin(folder)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"format": "x"}', "\x00", "x" * (form.LONGEST_INDEX + 1)], ids=lambda text: text[:9]
)
def test_what_is_no_index_is_refused(folder, text):
    (folder / form.INDEX).write_text(text)
    with pytest.raises(InvalidInputError):
        FolderOrigin(folder)


def test_a_newer_format_is_refused_with_the_way_out(folder):
    index = json.loads((folder / form.INDEX).read_text()) | {"version": 99}
    (folder / form.INDEX).write_text(json.dumps(index))
    with pytest.raises(InvalidInputError, match="upgrade prefect-ml"):
        FolderOrigin(folder)


def test_a_folder_without_an_index_is_no_export(folder):
    (folder / form.INDEX).unlink()
    with pytest.raises(InvalidInputError, match="no whole export"):
        FolderOrigin(folder)


@pytest.mark.parametrize("text", [b"{}\n", b"[1]\n", b"not json\n", b'{"run": 5}\n', b"{}"])
def test_a_line_that_is_nothing_is_refused_with_its_number(folder, text):
    (folder / form.RUNS).write_bytes(text)
    fit(folder, form.RUNS, text)
    with pytest.raises(InvalidInputError, match=r"Line 1 of runs.jsonl"):
        FolderOrigin(folder)
