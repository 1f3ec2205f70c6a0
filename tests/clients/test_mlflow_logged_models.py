"""Logged models and data sets by MLflow's client."""

from __future__ import annotations

import pytest

# What MLflow and its data sets say of themselves and of pandas.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def made(client, experiment):
    """Makes a logged model that is ready."""

    def make(name, **asked):
        begun = client.create_logged_model(experiment.experiment_id, name=name, **asked)
        return client.finalize_logged_model(begun.model_id, "READY")

    return make


def test_a_model_is_begun_filled_and_finished(mlflow, client, experiment):
    with mlflow.start_run() as run:
        begun = mlflow.initialize_logged_model("forest", params={"trees": "10"})
    assert begun.status == "PENDING"
    assert begun.source_run_id == run.info.run_id
    assert begun.artifact_location == f"mlflow-artifacts:/{experiment.experiment_id}/models/{begun.model_id}/artifacts"
    mlflow.log_model_params({f"p{n}": str(n) for n in range(150)}, model_id=begun.model_id)
    mlflow.set_logged_model_tags(begun.model_id, {"a/b": "1", "kept": "2"})
    mlflow.delete_logged_model_tag(begun.model_id, "kept")
    done = mlflow.finalize_logged_model(begun.model_id, "READY")
    assert done.status == "READY"
    found = mlflow.get_logged_model(begun.model_id)
    assert (len(found.params), found.params["trees"], found.params["p149"]) == (151, "10", "149")
    assert found.tags["a/b"] == "1"
    assert "kept" not in found.tags
    with pytest.raises(
        mlflow.MlflowException, match=f"No tag with key 'kept' found for model with ID '{begun.model_id}'"
    ):
        client.delete_logged_model_tag(begun.model_id, "kept")
    client.delete_logged_model(begun.model_id)
    with pytest.raises(mlflow.MlflowException, match=f"Logged model with ID '{begun.model_id}' not found") as gone:
        client.get_logged_model(begun.model_id)
    assert gone.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_a_name_that_would_be_a_path_is_refused(mlflow, client, experiment):
    for name in ("a/b", "a:b", "a.b", "my'model", 'a"b', "50%"):
        with pytest.raises(mlflow.MlflowException, match="cannot contain the following characters") as refused:
            client.create_logged_model(experiment.experiment_id, name=name)
        assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


def test_metrics_of_a_run_are_those_of_its_model_too(mlflow, client, experiment, made):
    import mlflow.data
    import pandas as pd

    data = mlflow.data.from_pandas(pd.DataFrame({"x": [1, 2]}), name="train")
    model = made("scored")
    with mlflow.start_run() as run:
        mlflow.log_metric("auc", 0.5, model_id=model.model_id)
        mlflow.log_metric("auc", 0.75, step=1, model_id=model.model_id, dataset=data)
        mlflow.log_metrics({"loss": 0.25}, model_id=model.model_id)
    found = {(each.key, each.value, each.step): each for each in client.get_logged_model(model.model_id).metrics}
    assert set(found) == {("auc", 0.5, 0), ("auc", 0.75, 1), ("loss", 0.25, 0)}
    best = found["auc", 0.75, 1]
    assert (best.dataset_name, best.dataset_digest) == ("train", data.digest)
    assert (best.run_id, best.model_id) == (run.info.run_id, model.model_id)
    assert client.get_run(run.info.run_id).data.metrics == {"auc": 0.75, "loss": 0.25}


def test_models_are_searched_and_ordered(mlflow, client, experiment, made):
    models = [made(f"m{n}", params={"n": str(n)}, tags={"n": str(n)}) for n in range(5)]
    with mlflow.start_run():
        for n, model in enumerate(models[1:], 1):
            mlflow.log_metric("auc", n / 10, model_id=model.model_id)
    asked = {"experiment_ids": [experiment.experiment_id], "output_format": "list"}

    def names(**more):
        return [each.name for each in mlflow.search_logged_models(**asked, **more)]

    assert names() == ["m4", "m3", "m2", "m1", "m0"]
    assert names(filter_string="metrics.auc > 0.15 AND params.n != '4'") == ["m3", "m2"]
    assert names(filter_string="name IN ('m1', 'm3',)", order_by=[{"field_name": "name", "ascending": True}]) == [
        "m1",
        "m3",
    ]
    ordered = names(order_by=[{"field_name": "metrics.auc", "ascending": False}])
    assert ordered == ["m4", "m3", "m2", "m1", "m0"]
    assert names(order_by=[{"field_name": "metrics.auc"}]) == ["m1", "m2", "m3", "m4", "m0"]
    assert names(filter_string="tags.n = '2'") == ["m2"]
    frame = mlflow.search_logged_models(experiment_ids=[experiment.experiment_id], filter_string="name = 'm2'")
    assert list(frame["name"]) == ["m2"]
    first = client.search_logged_models([experiment.experiment_id], max_results=3)
    rest = client.search_logged_models([experiment.experiment_id], max_results=3, page_token=first.token)
    assert [each.name for each in [*first, *rest]] == ["m4", "m3", "m2", "m1", "m0"]
    assert not rest.token
    for wrong, words in (
        ("name = 'a' OR name = 'b'", "Invalid filter string"),
        ("name > 'a'", "Invalid comparison operator"),
        ("foo.bar = 'a'", "Invalid entity type"),
    ):
        with pytest.raises(mlflow.MlflowException, match=words):
            client.search_logged_models([experiment.experiment_id], filter_string=wrong)


def test_the_last_model_is_the_run_of_it_in_the_current_experiment(mlflow, client, experiment):
    with mlflow.start_run() as run:
        made = mlflow.initialize_logged_model("in a run")
        client.log_outputs(run.info.run_id, [mlflow.entities.LoggedModelOutput(made.model_id, step=3)])
        client.log_inputs(run.info.run_id, models=[mlflow.entities.LoggedModelInput(made.model_id)])
        mlflow.finalize_logged_model(made.model_id, "READY")
    assert mlflow.last_logged_model().model_id == made.model_id
    found = client.get_run(run.info.run_id)
    assert [(each.model_id, each.step) for each in found.outputs.model_outputs] == [(made.model_id, 3)]
    assert [each.model_id for each in found.inputs.model_inputs] == [made.model_id]


def test_data_sets_are_inputs_of_runs(mlflow, client, experiment):
    import mlflow.data
    import numpy as np
    import pandas as pd

    frame = mlflow.data.from_pandas(pd.DataFrame({"x": [1, 2], "y": [0, 1]}), source="train.csv", targets="y")
    array = mlflow.data.from_numpy(np.arange(6), name="evaluation")
    with mlflow.start_run() as run:
        mlflow.log_input(frame, context="training", tags={"fold": "1"})
        mlflow.log_input(frame, context="again")
        mlflow.log_inputs([array], contexts=["eval"], tags_list=[None])
    first, second = sorted(client.get_run(run.info.run_id).inputs.dataset_inputs, key=lambda each: each.dataset.name)
    assert (first.dataset.name, first.dataset.digest) == ("dataset", frame.digest)
    assert {tag.key: tag.value for tag in first.tags} == {"mlflow.data.context": "training", "fold": "1"}
    assert '"x"' in first.dataset.schema
    assert '"num_rows": 2' in first.dataset.profile
    assert second.dataset.name == "evaluation"
    assert mlflow.data.get_source(first).uri.endswith("train.csv")
    listed = client.search_runs([experiment.experiment_id], f"datasets.digest = '{frame.digest}'")
    assert [each.info.run_id for each in listed] == [run.info.run_id]
    assert client.search_runs([experiment.experiment_id], "dataset.context = 'eval'")[0].inputs.dataset_inputs
