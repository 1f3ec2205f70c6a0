"""Weights that end whatever process reads them: they end one apart, and who loads them is told."""

from __future__ import annotations

import json
from contextlib import closing

import catboost
import lightgbm
import pytest
import xgboost
import yaml
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from prefect_ml.errors import ArtifactError
from prefect_ml.models.folder import load_model, save_model
from prefect_ml.registry.register import register_model
from prefect_ml.registry.resolve import resolve
from prefect_ml.serving.replica import load_replica
from prefect_ml.settings import Settings
from prefect_ml.store import open_store

APART = "tried in a process apart"
QUIET = {"verbose": -1, "num_leaves": 7}
OF_CATBOOST = {"iterations": 4, "depth": 2, "verbose": False, "allow_writing_files": False, "thread_count": 1}


@pytest.fixture(autouse=True)
def _no_index_is_asked(monkeypatch):
    monkeypatch.setenv("UV_OFFLINE", "1")


def weights_of(library, folder, content=None):
    """The weights that a folder names; written anew, under the name of a JSON file, when there is content."""
    file = folder / "MLmodel"
    about = yaml.safe_load(file.read_text())
    conf = about["flavors"][library]
    if content is not None:
        conf |= {"data": "weights.json", "save_format": "json"}
        (folder / "weights.json").write_text(json.dumps(content))
        file.write_text(yaml.safe_dump(about))
    return folder / conf["data"]


def a_branch_to_nowhere(folder, cancer):
    booster = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(*cancer), 2)
    save_model(booster, folder, input_example=cancer[0][:2])
    content = json.loads(booster.save_raw("json"))
    content["learner"]["gradient_booster"]["model"]["trees"][0]["left_children"][0] = 10**8
    weights_of("xgboost", folder, content)


def a_split_of_no_feature(folder, cancer):
    model = catboost.CatBoostClassifier(**OF_CATBOOST).fit(*cancer)
    save_model(model, folder)
    model.save_model(str(folder / "m.json"), format="json")
    content = json.loads((folder / "m.json").read_text())
    content["oblivious_trees"][0]["splits"][0]["split_index"] = 10**7
    weights_of("catboost", folder, content)


def a_tree_of_fewer_numbers(folder, cancer):
    """Of the same length, so that the trees end where the head says."""
    save_model(lightgbm.train({"objective": "binary", **QUIET}, lightgbm.Dataset(*cancer), 4), folder)
    path = weights_of("lightgbm", folder)
    head, mark, rest = path.read_bytes().partition(b"left_child=")
    line, end, rest = rest.partition(b"\n")
    path.write_bytes(head + mark + b"999999999".ljust(len(line))[: len(line)] + end + rest)


def a_booster_in_a_pipeline(folder, cancer):
    booster = xgboost.XGBClassifier(n_estimators=2)
    model = make_pipeline(StandardScaler(), booster).fit(*cancer)
    core = booster.get_booster()
    content = json.loads(core.save_raw("json"))
    content["learner"]["gradient_booster"]["model"]["trees"][0]["left_children"][0] = 10**8
    core.load_model(bytearray(json.dumps(content).encode()))
    save_model(model, folder)


BAD = [
    a_branch_to_nowhere,
    a_split_of_no_feature,
    a_tree_of_fewer_numbers,
    pytest.param(a_booster_in_a_pipeline, marks=pytest.mark.long),
]


@pytest.mark.parametrize("damage", BAD)
def test_they_are_refused_and_this_process_goes_on(tmp_path, cancer, damage):
    damage(tmp_path / "m", cancer)
    with pytest.raises(ArtifactError, match=APART):
        load_model(tmp_path / "m", origin="of a stranger")


def test_a_server_that_is_to_serve_them_goes_on_and_no_digest_vouches_for_them(tmp_path, cancer):
    folder, settings = tmp_path / "m", Settings(home=tmp_path / "home")
    a_branch_to_nowhere(folder, cancer)
    with closing(open_store(f"sqlite:///{tmp_path}/ml.db")) as store:
        with pytest.raises(ArtifactError, match=APART):
            register_model(store, str(folder), "m")
        store.create_registered_model("m")
        version = store.create_model_version("m", str(folder))  # as a client that tells no digest
        for uri in ("models:/m/1", str(folder)):
            with pytest.raises(ArtifactError, match=APART):
                load_replica(resolve(store, uri), settings)
        assert store.get_model_version("m", version.version).artifact_digest == ""


def test_a_file_of_lightgbm_that_was_cut_is_not_given_to_it(tmp_path, cancer):
    """LightGBM reads on beyond its end, or takes the trees that are left for the whole model."""
    save_model(lightgbm.train({"objective": "binary", **QUIET}, lightgbm.Dataset(*cancer), 4), tmp_path / "m")
    weights = weights_of("lightgbm", tmp_path / "m")
    content = weights.read_bytes()
    # Among the trees, and behind them, among the parameters.
    for eighths, words in ((3, r"cannot load 'model\.lgb'.*cut"), (7, APART)):
        weights.write_bytes(content[: len(content) * eighths // 8])
        with pytest.raises(ArtifactError, match=words):
            load_model(tmp_path / "m", origin="x")
