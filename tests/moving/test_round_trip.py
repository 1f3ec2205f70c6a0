"""An export, imported elsewhere, is what was exported: any small world comes back field by field."""

from __future__ import annotations

import dataclasses
import math
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect_ml.artifacts import open_artifacts
from prefect_ml.entities import (
    Dataset,
    DatasetInput,
    LoggedModelStatus,
    Metric,
    ModelMetric,
    ModelOutput,
    RunStatus,
    Stage,
)
from prefect_ml.errors import AlreadyExistsError
from prefect_ml.moving import export as exporting
from prefect_ml.moving.export import export
from prefect_ml.moving.folder import FolderOrigin
from prefect_ml.moving.opening import own_origin
from prefect_ml.moving.origin import Wanted
from prefect_ml.moving.transfer import take_over
from prefect_ml.store import open_store

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
keys = st.from_regex(r"[a-z][a-z0-9 _.\-]{0,6}[a-z0-9]", fullmatch=True)
numbers = st.floats(allow_nan=True, allow_infinity=True)
times = st.integers(0, 2**41)
pairs = st.dictionaries(keys, texts, max_size=3)
points = st.lists(st.builds(Metric, keys, numbers, times, st.integers(-3, 2**40)), max_size=6)
inputs = st.lists(st.builds(DatasetInput, st.builds(Dataset, keys, keys, keys, texts, texts, texts), pairs), max_size=2)
names = st.from_regex(r"[a-zé][a-z0-9 %#]{0,5}[a-z](/[a-z0-9]{1,4})?", fullmatch=True)
files = st.dictionaries(names, st.binary(max_size=20), max_size=3).filter(
    lambda found: not any(a != b and b.startswith(f"{a}/") for a in found for b in found)
)
runs = st.fixed_dictionaries(
    {
        "name": texts,
        "user": texts,
        "start": times,
        "end": st.none() | times,
        "status": st.sampled_from(RunStatus),
        "params": pairs,
        "tags": pairs,
        "points": points,
        "inputs": inputs,
        "files": files,
        "deleted": st.booleans(),
        "model": st.none() | files,
    }
)
experiments = st.dictionaries(
    st.text("abcdü /", min_size=1, max_size=8).filter(str.strip),
    st.fixed_dictionaries({"tags": pairs, "runs": st.lists(runs, max_size=2), "deleted": st.booleans()}),
    max_size=2,
)
versions = st.lists(
    st.fixed_dictionaries(
        {"tags": pairs, "description": texts, "stage": st.sampled_from(Stage), "gone": st.booleans(), "alias": keys}
    ),
    max_size=3,
)
models = st.dictionaries(
    st.text("abcdü -", min_size=1, max_size=8).filter(str.strip),
    st.fixed_dictionaries({"description": texts, "tags": pairs, "versions": versions}),
    max_size=2,
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(experiments=experiments, models=models)
def test_any_small_world_comes_back_as_it_was(experiments, models, migrated_file, monkeypatch):
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        there = fill(made(folder / "there", migrated_file, monkeypatch), experiments, models)
        before = whole(there)
        written = export(own_origin(there), folder / "export")
        here = made(folder / "here", migrated_file, monkeypatch)
        report = take_over(FolderOrigin(folder / "export"), here)
        assert (report.conflicts, report.failures, report.digest) == ([], [], written.digest)
        assert whole(here) == before
        again = take_over(FolderOrigin(folder / "export"), here)
        assert again.complete
        assert sum(count.copied for count in again.counts.values()) == 0
        for store in (there, here):
            store.verify_audit()
            store.close()


def made(folder, migrated_file, monkeypatch):
    folder.mkdir()
    shutil.copyfile(migrated_file, folder / "store.db")
    monkeypatch.setenv("PREFECT_ML_ARTIFACT_ROOT", str(folder / "artifacts"))
    return open_store(f"sqlite:///{folder / 'store.db'}")


def fill(store, experiments, models):
    """Write a world by the store's own calls."""
    made_runs = []
    for name, experiment in experiments.items():
        number = store.create_experiment(name, experiment["tags"])
        made_runs += [write_run(store, number, facts) for facts in experiment["runs"]]
        if experiment["deleted"]:
            store.delete_experiment(number)
    for name, model in models.items():
        store.create_registered_model(name, model["description"], model["tags"])
        for facts in model["versions"]:
            source = f"{made_runs[0].artifact_uri}/model" if made_runs else "s3://elsewhere/model"
            run_id = made_runs[0].run_id if made_runs else None
            kept = {"description": facts["description"], "tags": facts["tags"], "artifact_digest": "sha256:00"}
            version = store.create_model_version(name, source, run_id=run_id, **kept).version
            store.set_alias(name, f"x{facts['alias'].replace(' ', '-')}", version)
            store.transition_stage(name, version, facts["stage"])
            if facts["gone"]:
                store.delete_model_version(name, version)
    return store


def write_run(store, number, facts):
    tags = {key: value for key, value in facts["tags"].items() if key != "mlflow.runName"}
    run = store.create_run(
        number, name=facts["name"] or None, user_id=facts["user"], start_time=facts["start"], tags=tags
    )
    store.log_batch(run.run_id, metrics=facts["points"], params=facts["params"])
    store.log_inputs(run.run_id, facts["inputs"], models=["m-" + "0" * 32])
    artifacts = open_artifacts(run.artifact_uri)
    for name, content in facts["files"].items():
        artifacts.put(name, content)
    if facts["model"] is not None:
        model = store.create_logged_model(number, source_run_id=run.run_id, params=facts["params"], tags=tags)
        store.log_outputs(run.run_id, [ModelOutput(model.model_id, 3)])
        metrics = [ModelMetric(model.model_id, point, "train", "d") for point in facts["points"]]
        store.log_batch(run.run_id, model_metrics=metrics)
        for name, content in facts["model"].items():
            open_artifacts(model.artifact_uri).put(name, content)
        store.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        if facts["deleted"]:
            store.delete_logged_model(model.model_id)
    store.update_run(run.run_id, status=facts["status"], end_time=facts["end"])
    if facts["deleted"]:
        store.delete_run(run.run_id)
    return run


def whole(store) -> object:
    """Everything of a store that is moved, with places relative to its artifacts and experiments by name."""
    origin = own_origin(store)
    root = store.artifact_root
    found = {}
    for moved in origin.experiments():
        if moved.experiment.experiment_id == "0":
            continue
        runs_there = [origin.whole(run) for run in origin.runs(moved.experiment)]
        logged = list(origin.logged_models(moved.experiment))
        owners = [*(each.run for each in runs_there), *(each.model for each in logged)]
        contents = [
            (info.name, b"".join(origin.files(of).pieces(info.name)))
            for of in owners
            for info in origin.files(of).infos()
        ]
        found[moved.experiment.name] = (
            dataclasses.replace(
                moved, experiment=dataclasses.replace(moved.experiment, experiment_id="", artifact_location="")
            ),
            [
                dataclasses.replace(each, run=dataclasses.replace(each.run, experiment_id="", artifact_uri=""))
                for each in runs_there
            ],
            sorted(
                (
                    dataclasses.replace(each, model=dataclasses.replace(each.model, experiment_id="", artifact_uri=""))
                    for each in logged
                ),
                key=lambda each: each.model.model_id,
            ),
            contents,
        )
    return plain((found, [relative(each, root, found) for each in origin.models()]))


def relative(moved, root, experiments):
    """A registered model whose versions' sources do not tell where the store is."""
    del experiments
    versions = []
    for version in moved.versions:
        inside = version.source.startswith(f"{root}/")
        source = version.source[len(root) :].partition("/")[2].partition("/")[2] if inside else version.source
        versions.append(dataclasses.replace(version, source=source))
    return dataclasses.replace(moved, versions=versions)


def plain(value):
    """A value in which a NaN equals itself, and any sequence any other with the same items."""
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def test_an_export_takes_no_folder_with_other_things_in_it(store, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    with pytest.raises(AlreadyExistsError, match="not empty"):
        export(own_origin(store), tmp_path / "full")
    assert (tmp_path / "full" / "mine.txt").read_text() == "keep"
    export(own_origin(store), tmp_path / "new")
    with pytest.raises(AlreadyExistsError, match="not empty"):
        export(own_origin(store), tmp_path / "new")


def test_an_export_that_was_broken_off_begins_anew(store, tmp_path):
    experiment = store.create_experiment("churn")
    run = store.create_run(experiment)
    open_artifacts(run.artifact_uri).put("a.txt", b"a")
    target = tmp_path / "export"
    whole_one = export(own_origin(store), target)
    (target / "index.json").unlink()
    (target / exporting._BEGUN).touch()
    assert export(own_origin(store), target).digest == whole_one.digest
    assert FolderOrigin(target).digest.startswith("sha256:")


def test_a_model_is_exported_with_what_it_needs_and_nothing_else(store, tmp_path):
    experiment = store.create_experiment("churn")
    needed, other = store.create_run(experiment), store.create_run(experiment)
    store.create_registered_model("churn")
    store.create_model_version("churn", f"{needed.artifact_uri}/model", run_id=needed.run_id)
    export(own_origin(store), tmp_path / "export", Wanted(models=frozenset({"churn"})))
    origin = FolderOrigin(tmp_path / "export")
    (moved,) = origin.experiments()
    assert [run.run_id for run in origin.runs(moved.experiment)] == [needed.run_id] != [other.run_id]
