"""From a URI to a verified model: resolving, registering, fetching, loading."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

from prefect_ml.artifacts import open_artifacts
from prefect_ml.entities import ModelVersion, RegisteredModel, Stage
from prefect_ml.errors import (
    ArtifactError,
    CorruptArtifactError,
    InvalidInputError,
    NotFoundError,
    UntrustedModelError,
)
from prefect_ml.models.digest import folder_digest
from prefect_ml.models.folder import save_model
from prefect_ml.registry.register import register_model
from prefect_ml.registry.resolve import fetch, load, resolve, settled
from prefect_ml.settings import Settings
from prefect_ml.store import open_store
from prefect_ml.store.moving_contract import MovedModel

FEATURES, TARGET = load_diabetes(return_X_y=True, as_frame=True)


@pytest.fixture
def store(tmp_path):
    found = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    yield found
    found.close()


@pytest.fixture
def run(store, tmp_path):
    """A run that logged a model at `model`, and a file at `notes.txt`."""
    created = store.create_run("0", name="trained")
    save_model(Ridge().fit(FEATURES, TARGET), tmp_path / "saved", input_example=FEATURES[:2])
    artifacts = open_artifacts(created.artifact_uri)
    artifacts.put_folder(tmp_path / "saved", "model")
    artifacts.put("notes.txt", b"not a model")
    return created


@pytest.fixture
def version(store, run):
    return register_model(store, f"runs:/{run.run_id}/model", "diabetes", description="first", tags={"k": "v"})


def cached(home):
    folder = home / "cache/models"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_registering_a_runs_model_creates_all_that_is_needed(store, run, version, tmp_path):
    assert version.version == 1
    assert version.run_id == run.run_id
    assert version.source == f"{run.artifact_uri}/model"
    assert version.artifact_digest == folder_digest(tmp_path / "saved")
    assert version.description == "first"
    assert version.tags == {"k": "v"}
    assert store.get_model_version("diabetes", 1) == version
    assert register_model(store, f"runs:/{run.run_id}/model", "diabetes").version == 2


def test_every_form_of_uri_finds_the_version(store, run, version):
    register_model(store, f"runs:/{run.run_id}/model", "diabetes")
    alias = store.set_alias("diabetes", "champion", 1)
    store.transition_stage("diabetes", 1, Stage.PRODUCTION)
    found = {
        uri: resolve(store, uri)
        for uri in (f"models:/diabetes{t}" for t in ("/1", "@champion", "/production", "/latest"))
    }
    assert [f.version for f in found.values()] == [1, 1, 1, 2]
    assert {f.digest for f in found.values()} == {version.artifact_digest}
    by_alias = found["models:/diabetes@champion"]
    assert (by_alias.alias, by_alias.generation) == ("champion", alias.generation)
    assert (by_alias.name, by_alias.run_id, by_alias.source) == ("diabetes", run.run_id, version.source)
    assert resolve(store, f"runs:/{run.run_id}/model").source == version.source


@pytest.mark.parametrize(
    ("uri", "error"),
    [
        ("models:/none/1", NotFoundError),
        ("models:/none/latest", NotFoundError),
        ("models:/none@champion", NotFoundError),
        ("models:/diabetes/9", NotFoundError),
        ("models:/diabetes@none", NotFoundError),
        ("models:/diabetes/Staging", NotFoundError),
        ("runs:/none/model", NotFoundError),
        ("models:/diabetes", InvalidInputError),
        ("s3://bucket/model", InvalidInputError),
    ],
)
@pytest.mark.usefixtures("version")
def test_what_is_not_there_is_said(store, uri, error):
    with pytest.raises(error):
        resolve(store, uri)
    with pytest.raises(error):
        register_model(store, uri, "other")
    with pytest.raises(NotFoundError):
        store.get_registered_model("other")


@pytest.mark.parametrize("path", ["notes.txt", "missing", "../model", "model/../../x"])
def test_only_a_model_folder_can_be_registered(store, run, path):
    with pytest.raises((ArtifactError, NotFoundError, InvalidInputError)):
        register_model(store, f"runs:/{run.run_id}/{path}", "diabetes")
    with pytest.raises(NotFoundError):
        store.get_registered_model("diabetes")


def test_a_folder_without_an_mlmodel_file_is_refused(store, tmp_path):
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/f").write_text("x")
    with pytest.raises(ArtifactError, match="MLmodel"):
        register_model(store, str(tmp_path / "plain"), "diabetes")


def test_a_folder_and_another_version_can_be_registered(store, version, tmp_path):
    by_folder = register_model(store, str(tmp_path / "saved"), "by-folder", run_id="made-elsewhere")
    assert by_folder.artifact_digest == version.artifact_digest
    assert by_folder.run_id == "made-elsewhere"
    copied = register_model(store, "models:/diabetes/1", "copied")
    assert (copied.source, copied.run_id, copied.artifact_digest) == (
        version.source,
        version.run_id,
        version.artifact_digest,
    )


@pytest.mark.usefixtures("version")
def test_loading_by_alias_predicts(store):
    store.set_alias("diabetes", "champion", 1)
    loaded = load(store, "models:/diabetes@champion", Settings())
    assert np.allclose(loaded.predict(FEATURES), Ridge().fit(FEATURES, TARGET).predict(FEATURES))


def test_a_fetched_model_is_cached_by_its_digest(store, run, version, home):
    resolved = resolve(store, "models:/diabetes/1")
    folder = fetch(resolved, home / "cache")
    assert folder.name == version.artifact_digest.removeprefix("sha256:")
    assert folder_digest(folder) == version.artifact_digest
    inode = (folder / "MLmodel").stat().st_ino
    shutil.rmtree(run.artifact_uri)
    assert (fetch(resolved, home / "cache") / "MLmodel").stat().st_ino == inode
    assert cached(home) == [folder.name]


def test_a_changed_cache_is_thrown_away_and_fetched_again(store, version, home):
    resolved = resolve(store, "models:/diabetes/1")
    folder = fetch(resolved, home / "cache")
    (folder / "MLmodel").write_text("flavors: {}")
    assert folder_digest(fetch(resolved, home / "cache")) == version.artifact_digest
    (folder / "added").write_text("x")
    assert folder_digest(fetch(resolved, home / "cache")) == version.artifact_digest
    (folder / "link").symlink_to(folder / "MLmodel")
    assert folder_digest(fetch(resolved, home / "cache")) == version.artifact_digest
    shutil.rmtree(folder)
    folder.write_text("a file in its place")
    assert folder_digest(fetch(resolved, home / "cache")) == version.artifact_digest
    assert cached(home) == [folder.name]


@pytest.mark.parametrize("change", ["byte", "added", "removed", "link"])
def test_a_source_that_changed_since_it_was_registered_is_refused(store, version, home, change):
    source = Path(version.source)
    match change:
        case "byte":
            content = (source / "model.skops").read_bytes()
            (source / "model.skops").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "added":
            (source / "extra").write_text("x")
        case "removed":
            (source / "conda.yaml").unlink()
        case "link":
            (source / "conda.yaml").unlink()
            (source / "conda.yaml").symlink_to(source / "requirements.txt")
    with pytest.raises(CorruptArtifactError, match="was registered"):
        load(store, "models:/diabetes/1", Settings())
    with pytest.raises(CorruptArtifactError):
        register_model(store, "models:/diabetes/1", "other")
    assert cached(home) == []


def test_a_corrupt_file_of_a_run_is_found_before_it_is_registered(store, run):
    weights = Path(run.artifact_uri) / "model/model.skops"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(CorruptArtifactError, match=r"model\.skops"):
        register_model(store, f"runs:/{run.run_id}/model", "diabetes")
    with pytest.raises(NotFoundError):
        store.get_registered_model("diabetes")


@pytest.mark.usefixtures("version")
def test_a_version_without_a_digest_is_copied_anew(store, home):
    resolved = replace(resolve(store, "models:/diabetes/1"), digest="")
    folder = fetch(resolved, home / "cache")
    (folder / "MLmodel").write_text("flavors: {}")
    assert "sklearn" in (fetch(resolved, home / "cache") / "MLmodel").read_text()


def test_a_source_that_is_no_place_is_not_opened(store, home, tmp_path, monkeypatch):
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/MLmodel").write_text("flavors: {}")
    monkeypatch.chdir(tmp_path)
    store.create_registered_model("m")
    store.create_model_version("m", "secrets")
    with pytest.raises(NotFoundError, match="no place of files"):
        fetch(resolve(store, "models:/m/1"), home / "cache")


def test_copies_that_lead_to_themselves_lead_nowhere(store):
    own = ModelVersion("m", 1, 0, 0, "models:/m/1")
    store.take_over_model(MovedModel(RegisteredModel("m", 0, 0), [own], 1), "elsewhere")
    with pytest.raises(NotFoundError, match="leads to no files"):
        resolve(store, "models:/m/1")


def test_a_digest_is_recorded_once(store, version, home):
    store.create_model_version("diabetes", version.source)
    bare = resolve(store, "models:/diabetes/2")
    assert bare.digest == ""
    assert settled(store, bare, home / "cache").digest == version.artifact_digest
    assert store.record_digest("diabetes", 2, "sha256:other").artifact_digest == version.artifact_digest
    assert len([e for e in store.audit(subject="models:/diabetes/2") if e.action == "digest-recorded"]) == 1
    (Path(version.source) / "MLmodel").write_text("flavors: {}")
    with pytest.raises(CorruptArtifactError, match="recorded meanwhile"):
        settled(store, bare, home / "cache")


def double(data):
    return data * 2


@pytest.mark.parametrize(
    ("trusted", "uri", "opens"),
    [
        ("", "models:/python@champion", False),
        ("models:/python/1", "models:/python@champion", True),
        ("models:/python/*", "models:/python/1", True),
        ("models:/python@champion", "models:/python@champion", True),
        ("models:/python@champion", "models:/python/1", False),
        ("models:/other/*", "models:/python/1", False),
    ],
)
def test_trust_is_given_to_a_version_or_to_an_alias(store, tmp_path, trusted, uri, opens):
    save_model(double, tmp_path / "python", input_example=np.zeros((1, 2)))
    register_model(store, str(tmp_path / "python"), "python")
    store.set_alias("python", "champion", 1)
    settings = Settings(trusted_origins=trusted)
    if opens:
        assert load(store, uri, settings).predict(np.ones((1, 2))).tolist() == [[2.0, 2.0]]
    else:
        with pytest.raises(UntrustedModelError, match="PREFECT_ML_TRUSTED_ORIGINS=models:/python/1"):
            load(store, uri, settings)


FETCHER = """
import sys
from pathlib import Path
from prefect_ml.registry.resolve import ResolvedModel, fetch
resolved = ResolvedModel(uri="models:/m/1", source=sys.argv[1], name="m", version=1, digest=sys.argv[2])
sys.stdin.readline()
for _ in range(5):
    print(fetch(resolved, Path(sys.argv[3])))
"""


def test_several_processes_fetch_at_once(version, home):
    arguments = [sys.executable, "-c", FETCHER, version.source, version.artifact_digest, str(home / "cache")]
    workers = [subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    outputs = {line for worker in workers for line in worker.communicate(timeout=60)[0].splitlines()}
    assert [worker.returncode for worker in workers] == [0] * 4
    assert outputs == {str(home / "cache/models" / version.artifact_digest.removeprefix("sha256:"))}
    assert len(cached(home)) == 1
