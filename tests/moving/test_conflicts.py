"""What is here already stays as it is, and is told; what a policy protects is not moved by an import."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from prefect_ml.artifacts import open_artifacts
from prefect_ml.entities import Metric, Policy, Stage
from prefect_ml.moving.opening import own_origin
from prefect_ml.moving.report import Kind
from prefect_ml.moving.transfer import take_over


@pytest.fixture
def there(new_store):
    """A store with a run of one file, and a model with two versions of it."""
    store = new_store("there")
    experiment = store.create_experiment("churn", {"team": "growth"})
    run = store.create_run(experiment, run_id="a" * 32, name="first")
    store.log_batch(run.run_id, metrics=[Metric("loss", 0.5, 10, 1)], params={"depth": "3"})
    open_artifacts(run.artifact_uri).put("model/MLmodel", b"flavors: {}\n")
    store.create_registered_model("churn", "who leaves")
    for _ in range(2):
        store.create_model_version("churn", f"{run.artifact_uri}/model", run_id=run.run_id)
    store.set_alias("churn", "champion", 2)
    store.transition_stage("churn", 2, Stage.PRODUCTION)
    return store


@pytest.fixture
def here(there, new_store):  # the last store made has the artifact root
    return new_store("here")


def test_a_run_with_other_content_stays_and_is_told(there, here):
    here.create_run(here.create_experiment("churn", {"team": "growth"}), run_id="a" * 32, name="other")
    report = take_over(own_origin(there), here)
    assert here.get_run("a" * 32).name == "other"
    assert not report.complete
    assert report.counts[Kind.RUNS].refused == 1
    (told,) = [sentence for sentence in report.conflicts if sentence.startswith("Run")]
    assert "stays as it is" in told
    assert "name" in told
    assert "params" in told


def test_a_version_with_other_content_stays_and_is_told(there, here):
    here.create_registered_model("churn", "who leaves")
    here.create_model_version("churn", "s3://elsewhere/model")
    report = take_over(own_origin(there), here)
    assert here.get_model_version("churn", 1).source == "s3://elsewhere/model"
    assert here.get_model_version("churn", 2).run_id == "a" * 32
    assert any("Version 1 of 'churn' is here with other content" in told for told in report.conflicts)
    assert report.counts[Kind.VERSIONS].copied == 1


def test_an_experiment_that_is_deleted_here_takes_nothing(there, here):
    here.delete_experiment(here.create_experiment("churn"))
    report = take_over(own_origin(there), here)
    assert any("is deleted here; restore it" in told for told in report.conflicts)
    assert report.counts[Kind.RUNS].found == 0


def test_the_number_of_a_version_that_was_deleted_here_is_not_given_again(there, here):
    take_over(own_origin(there), here)
    here.delete_model_version("churn", 1)
    report = take_over(own_origin(there), here)
    assert any("its number is not given again" in told for told in report.conflicts)
    assert [version.version for version in here.get_moved_model("churn").versions] == [2]


def test_protected_aliases_and_stages_are_not_set_by_an_import(there, here):
    policy = Policy("guard", 0, "churn", ["champion"], stages=["Production"], gates=[])
    here.save_policy(policy, actor="ann")
    report = take_over(own_origin(there), here)
    model = here.get_moved_model("churn")
    assert model.model.aliases == {}
    assert {version.stage for version in model.versions} == {Stage.NONE}
    assert sum("protects" in told for told in report.conflicts) == 2


def test_a_name_of_a_prompt_is_none_of_a_model(there, here):
    here.create_registered_model("churn", tags={"mlflow.prompt.is_prompt": "true"})
    report = take_over(own_origin(there), here)
    assert any("is that of a prompt here" in told for told in report.failures)


def test_a_file_that_is_not_what_was_written_keeps_its_run_away_until_it_is_told_to_be_left_out(there, here):
    run = there.get_run("a" * 32)
    Path(run.artifact_uri, "model", "MLmodel").write_bytes(b"changed\n")
    report = take_over(own_origin(there), here)
    assert report.counts[Kind.RUNS].refused == 1
    assert report.counts[Kind.VERSIONS].refused == 2, "versions wait for their run"
    assert any("has the digest" in told for told in report.failures)
    report = take_over(own_origin(there), here, skip_unreadable=True)
    assert here.get_run("a" * 32).name == "first"
    assert any("'model/MLmodel' was left out" in told for told in report.failures)


def test_what_nobody_can_keep_here_is_told_and_the_rest_comes(there, here):
    class Odd:
        """An origin with one run that has a param no store takes."""

        def __init__(self, origin):
            self._origin = origin

        def __getattr__(self, name):
            return getattr(self._origin, name)

        def whole(self, run):
            moved = self._origin.whole(run)
            if run.run_id != "b" * 32:
                return moved
            return dataclasses.replace(moved, run=dataclasses.replace(moved.run, params={"../x": "1"}))

    there.create_run(there.get_experiment_by_name("churn").experiment_id, run_id="b" * 32)
    report = take_over(Odd(own_origin(there)), here)
    assert report.counts[Kind.RUNS].copied == 1
    assert any("b" * 32 in told and "param" in told for told in report.failures)
