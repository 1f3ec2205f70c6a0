"""Runs of plain scripts: artifacts, models, nesting, and reading back what was written."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import yaml

import prefect_ml as ml
from prefect_ml.artifacts import open_artifacts
from prefect_ml.entities import RunStatus
from prefect_ml.errors import InvalidInputError, InvalidNameError, NoActiveRunError
from prefect_ml.tracking.sync import sync_journals


def test_a_run_reads_what_it_wrote():
    with ml.start_run("plain", "first", tags={"team": "blue"}) as run:
        assert ml.current_run() is run
        ml.log_param("c", 1)
        ml.log_metric("auc", 0.5, step=3, timestamp=1234)
        found = ml.get_run(run.run_id)
        assert (found.status, found.name, found.params, found.metrics) == (
            RunStatus.RUNNING, "first", {"c": "1"}, {"auc": 0.5},
        )  # fmt: skip
        assert found.tags["team"] == "blue"
        [point] = ml.get_metric_history(run.run_id, "auc")
        assert (point.step, point.timestamp) == (3, 1234)
    assert ml.get_run(run.run_id).status is RunStatus.FINISHED
    with pytest.raises(NoActiveRunError):
        ml.current_run()


def test_a_nested_run_is_a_child_in_the_same_experiment():
    with ml.start_run("outer") as outer:
        with ml.start_run() as inner:
            ml.log_metric("m", 1)
        ml.log_metric("m", 2)
    child, parent = ml.get_run(inner.run_id), ml.get_run(outer.run_id)
    assert child.tags["mlflow.parentRunId"] == outer.run_id
    assert child.experiment_id == parent.experiment_id
    assert (child.metrics, parent.metrics) == ({"m": 1.0}, {"m": 2.0})


def test_threads_each_have_their_own_current_run():
    failures = []

    def work():
        try:
            ml.current_run()
        except NoActiveRunError:
            failures.append(True)

    with ml.start_run("threads"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert failures == [True]


def test_artifacts(tmp_path):
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "a.txt").write_text("a")
    (tmp_path / "folder" / "deep" / "b.txt").write_text("b")
    with ml.start_run("artifacts") as run:
        ml.log_text("héllo", "notes/hello.txt")
        ml.log_dict({"a": [1, None], 2: "x"}, "data.json")
        ml.log_dict({"a": 1}, "data.yaml")
        ml.log_artifact(tmp_path / "folder" / "a.txt", "copies")
        ml.log_artifacts(tmp_path / "folder")
    files = open_artifacts(run.artifact_uri)
    assert files.read("notes/hello.txt").decode() == "héllo"
    assert json.loads(files.read("data.json")) == {"a": [1, None], "2": "x"}
    assert yaml.safe_load(files.read("data.yaml")) == {"a": 1}
    assert files.read("copies/a.txt") == files.read("a.txt") == b"a"
    assert files.read("deep/b.txt") == b"b"


@pytest.mark.parametrize("name", ["../up", "/abs", "a/../b", "", "a\\b", "C:x", "file:///x"])
def test_artifact_names_stay_below_the_run(name, tmp_path):
    (tmp_path / "f").write_text("x")
    with ml.start_run("names"):
        for log in (
            lambda: ml.log_text("x", name),
            lambda: ml.log_dict({}, name),
            lambda: ml.log_model({}, name, allow_pickle=True),
        ):
            with pytest.raises(InvalidNameError):
                log()
        if name:
            with pytest.raises(InvalidNameError):
                ml.log_artifact(tmp_path / "f", name)


def test_bad_artifacts_are_refused_by_a_sentence(tmp_path):
    with ml.start_run("bad"):
        with pytest.raises(InvalidInputError, match="There is no file"):
            ml.log_artifact(tmp_path / "missing")
        with pytest.raises(InvalidInputError, match="for a folder use log_artifacts"):
            ml.log_artifact(tmp_path)
        with pytest.raises(InvalidInputError, match="There is no folder"):
            ml.log_artifacts(tmp_path / "missing")
        with pytest.raises(InvalidInputError, match="takes text"):
            ml.log_text(b"x", "x.txt")
        with pytest.raises(InvalidInputError, match="mapping or a list"):
            ml.log_dict("x", "x.json")
        with pytest.raises(InvalidInputError, match="is no figure"):
            ml.log_figure(object(), "x.png")
        with pytest.raises(InvalidInputError, match="does not say the format"):
            ml.log_figure(object(), "x")


def test_figures():
    from matplotlib.figure import Figure

    class LikePlotly:
        def to_html(self) -> str:
            return "<html>plot</html>"

    figure = Figure()
    figure.add_subplot().plot([1, 2])
    with ml.start_run("figures") as run:
        ml.log_figure(figure, "plots/line.png")
        ml.log_figure(figure, "plots/line.svg")
        ml.log_figure(LikePlotly(), "plots/page.html")
        with pytest.raises(InvalidInputError, match=r"cannot be kept as \.xyz"):
            ml.log_figure(figure, "line.xyz")
    files = open_artifacts(run.artifact_uri)
    assert files.read("plots/line.png").startswith(b"\x89PNG")
    assert b"<svg" in files.read("plots/line.svg")
    assert files.read("plots/page.html") == b"<html>plot</html>"


def fitted():
    import pandas as pd
    from sklearn.linear_model import LogisticRegression

    x = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 0.0, 1.0, 0.0]})
    return LogisticRegression().fit(x, [0, 0, 1, 1]), x


def test_a_model_is_kept_registered_and_loaded_again():
    model, x = fitted()
    with ml.start_run("models") as run:
        logged = ml.log_model(model, "model", input_example=x, register="churn")
    assert (logged.uri, logged.name, logged.version) == (f"runs:/{run.run_id}/model", "churn", 1)
    for uri in (logged.uri, "models:/churn/1"):
        assert list(ml.load_model(uri).predict(x)) == list(model.predict(x))
    [entry] = json.loads(ml.get_run(run.run_id).tags["mlflow.log-model.history"])
    assert (entry["artifact_path"], entry["run_id"]) == ("model", run.run_id)
    assert ml.register_model(logged.uri, "churn").version == 2


def test_a_registered_model_is_never_overwritten_and_another_is():
    model, x = fitted()
    with ml.start_run("models") as run:
        first = ml.log_model(model, input_example=x)
        again = ml.log_model(model, input_example=x, register="churn")
        third = ml.log_model(model, input_example=x, register="churn")
    assert first.uri == again.uri == f"runs:/{run.run_id}/model"
    assert third.uri == f"runs:/{run.run_id}/model-2"
    assert ml.load_model("models:/churn/1").predict(x) is not None
    assert ml.load_model("models:/churn/2").predict(x) is not None


def test_what_waited_while_the_store_was_away_is_delivered(home, monkeypatch, caplog):
    model, x = fitted()
    home.mkdir(parents=True)
    blocker = home / "away"
    blocker.write_text("a file where the store's folder should be")
    monkeypatch.setenv("PREFECT_ML_STORE_URL", f"sqlite:///{blocker}/store.db")
    monkeypatch.setenv("PREFECT_ML_FLUSH_TIMEOUT", "0.3")
    with ml.start_run("away") as run:
        ml.log_text("hello", "note.txt")
        logged = ml.log_model(model, input_example=x, register="churn")
        assert logged.version is None
    assert "models register" in caplog.text
    blocker.unlink()
    monkeypatch.setenv("PREFECT_ML_FLUSH_TIMEOUT", "20")
    assert run.flush(20)
    sync_journals(ml.open_store())
    files = open_artifacts(ml.get_run(run.run_id).artifact_uri)
    assert files.read("note.txt") == b"hello"
    assert list(ml.load_model(f"runs:/{run.run_id}/model").predict(x)) == list(model.predict(x))
    assert not list(Path(home, "journal").glob("*"))


def test_search():
    for n in range(3):
        with ml.start_run("searched", f"r{n}"):
            ml.log_param("n", n)
            ml.log_metric("auc", n / 10)
    with ml.start_run("other"):
        ml.log_metric("auc", 9)
    found = ml.search_runs("searched", "metrics.auc > 0.05", order_by=["metrics.auc DESC"])
    assert [run.name for run in found] == ["r2", "r1"]
    assert len(ml.search_runs()) == 4
    assert len(ml.search_runs(["searched", "other"], max_results=2)) == 2
    assert len(ml.search_runs(found[0].experiment_id)) == 3
    frame = ml.search_runs("searched", order_by=["metrics.auc ASC"], output="pandas")
    assert list(frame["metrics.auc"]) == [0.0, 0.1, 0.2]
    assert list(frame["params.n"]) == ["0", "1", "2"]
    assert str(frame["start_time"].dt.tz) == "UTC"
    assert ml.search_runs("searched", "metrics.auc > 5", output="pandas").empty
    with pytest.raises(InvalidInputError, match='"runs" or "pandas"'):
        ml.search_runs(output="polars")
