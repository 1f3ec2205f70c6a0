"""MLflow's fluent functions and its client: experiments, runs, and what is logged to them."""

from __future__ import annotations

import math
import time

import pytest

from served import TrackingServer


def test_a_run_is_recorded_as_it_was_told(mlflow, client, experiment):
    with mlflow.start_run(run_name="first", tags={"team": "growth"}, description="how it began") as run:
        mlflow.log_param("depth", 3)
        mlflow.log_params({"rate": 0.1, "kind": "gbm", "empty": ""})
        mlflow.log_metric("auc", 0.5)
        mlflow.log_metric("auc", 0.75, step=1)
        mlflow.log_metrics({"loss": 0.25, "error": 1}, step=7, timestamp=1_700_000_000_000)
        mlflow.set_tag("stage", "trial")
        mlflow.set_tags({"a": 1, "b": "two"})
        mlflow.delete_tag("b")
    found = client.get_run(run.info.run_id)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "first")
    assert found.info.experiment_id == experiment.experiment_id
    assert found.info.start_time <= found.info.end_time <= time.time() * 1000
    assert found.data.params == {"depth": "3", "rate": "0.1", "kind": "gbm", "empty": ""}
    assert found.data.metrics == {"auc": 0.75, "loss": 0.25, "error": 1.0}
    tags = found.data.tags
    assert (tags["team"], tags["stage"], tags["a"]) == ("growth", "trial", "1")
    assert (tags["mlflow.runName"], tags["mlflow.note.content"]) == ("first", "how it began")
    assert "b" not in tags
    assert [(point.value, point.step) for point in client.get_metric_history(run.info.run_id, "auc")] == [
        (0.5, 0),
        (0.75, 1),
    ]
    [late] = client.get_metric_history(run.info.run_id, "loss")
    assert (late.timestamp, late.step, late.value) == (1_700_000_000_000, 7, 0.25)


def test_nested_runs_know_their_parent(mlflow, client, experiment):
    with mlflow.start_run() as parent, mlflow.start_run(nested=True) as child:
        mlflow.log_metric("auc", 0.5)
    assert client.get_run(child.info.run_id).data.tags["mlflow.parentRunId"] == parent.info.run_id
    children = client.search_runs([experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert [each.info.run_id for each in children] == [child.info.run_id]
    assert client.get_parent_run(child.info.run_id).info.run_id == parent.info.run_id


def test_a_run_that_raises_has_failed_and_can_be_gone_on_with(mlflow, client, experiment):
    with pytest.raises(ZeroDivisionError), mlflow.start_run() as run:
        1 / 0  # noqa: B018  raises
    assert client.get_run(run.info.run_id).info.status == "FAILED"
    with mlflow.start_run(run_id=run.info.run_id):
        assert client.get_run(run.info.run_id).info.status == "RUNNING"
        mlflow.log_metric("auc", 0.5)
    found = client.get_run(run.info.run_id)
    assert (found.info.status, found.info.run_name) == ("FINISHED", run.info.run_name)


def test_what_is_logged_asynchronously_is_there_after_a_flush(mlflow, client, experiment):
    with mlflow.start_run() as run:
        for step in range(50):
            mlflow.log_metric("loss", 1 / (step + 1), step=step, synchronous=False)
        mlflow.log_params({f"p{n}": n for n in range(20)}, synchronous=False)
        mlflow.set_tags({"late": "yes"}, synchronous=False).wait()
        mlflow.flush_async_logging()
        found = client.get_run(run.info.run_id)
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 50
    assert len(found.data.params) == 20
    assert found.data.tags["late"] == "yes"


def test_numbers_come_back_as_they_were(mlflow, client, experiment):
    with mlflow.start_run() as run:
        for step, value in enumerate((math.nan, math.inf, -math.inf, -0.0, 1e-320, 1.7976931348623157e308)):
            mlflow.log_metric("odd", value, step=step - 2)
    points = client.get_metric_history(run.info.run_id, "odd")
    assert [point.step for point in points] == [-2, -1, 0, 1, 2, 3]
    values = [point.value for point in points]
    assert math.isnan(values[0])
    # JSON has no infinity: the protocol gives the largest float.
    assert values[1:] == [1.7976931348623157e308, -1.7976931348623157e308, -0.0, 1e-320, 1.7976931348623157e308]


def test_a_batch_by_the_client(mlflow, client, experiment):
    from mlflow.entities import Metric, Param, RunTag

    run_id = client.create_run(experiment.experiment_id, run_name="batched", start_time=5).info.run_id
    client.log_batch(
        run_id,
        metrics=[Metric("m", n, 10 + n, n) for n in range(900)],
        params=[Param(f"p{n}", str(n)) for n in range(50)],
        tags=[RunTag(f"t{n}", str(n)) for n in range(50)],
    )
    # More than the protocol takes at once: the client splits them up itself.
    client.log_batch(run_id, metrics=[Metric("more", n, n, n) for n in range(2500)])
    client.set_terminated(run_id, "KILLED", end_time=9)
    client.update_run(run_id, name="renamed")
    found = client.get_run(run_id)
    assert (found.info.start_time, found.info.end_time, found.info.status) == (5, 9, "KILLED")
    assert found.info.run_name == found.data.tags["mlflow.runName"] == "renamed"
    assert (len(found.data.params), found.data.params["p49"]) == (50, "49")
    assert found.data.metrics == {"m": 899.0, "more": 2499.0}
    assert [point.step for point in client.get_metric_history(run_id, "more")] == list(range(2500))


def test_the_rest_of_the_fluent_functions(mlflow, client, experiment):
    mlflow.set_experiment_tag("team", "growth")
    mlflow.set_experiment_tags({"a": "1", "b": "2"})
    assert client.get_experiment(experiment.experiment_id).tags == {"team": "growth", "a": "1", "b": "2"}
    with mlflow.start_run() as run:
        assert mlflow.active_run().info.run_id == run.info.run_id
    assert mlflow.last_active_run().info.run_id == run.info.run_id
    # To a run that has ended, by its id.
    mlflow.log_metrics({"late": 1.5}, run_id=run.info.run_id)
    mlflow.log_metric("late", 2.5, step=1, run_id=run.info.run_id)
    assert mlflow.get_run(run.info.run_id).data.metrics == {"late": 2.5}
    client.set_tag(run.info.run_id, "mlflow.runName", "renamed by its tag")
    assert client.get_run(run.info.run_id).info.run_name == "renamed by its tag"
    with pytest.raises(mlflow.MlflowException, match="No tag with name: none"):
        client.delete_tag(run.info.run_id, "none")
    long = "x" * 9000
    client.log_param(run.info.run_id, "long", long)
    client.set_tag(run.info.run_id, "long", long)
    found = client.get_run(run.info.run_id).data
    assert (len(found.params["long"]), len(found.tags["long"])) == (6000, 8000)


def test_a_token_is_sent_as_one_or_as_a_password(mlflow, monkeypatch, tmp_path):
    with TrackingServer(tmp_path, {"PREFECT_ML_SERVER_TOKEN": "of the server alone"}) as guarded:
        client = mlflow.MlflowClient(guarded.url, guarded.url)
        with pytest.raises(mlflow.MlflowException, match=r"401|UNAUTHENTICATED") as refused:
            client.create_experiment("guarded")
        assert refused.value.get_http_status_code() == 401
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "of the server alone")
        made = client.create_experiment("guarded")
        monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "anybody")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "of the server alone")
        assert client.get_experiment_by_name("guarded").experiment_id == made
        client.create_registered_model("guarded")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "another")
        with pytest.raises(mlflow.MlflowException, match=r"401|UNAUTHENTICATED"):
            client.get_registered_model("guarded")


def test_what_is_refused_is_an_exception_with_the_code_that_callers_look_at(mlflow, client, experiment):
    from mlflow.entities import Metric, Param

    with mlflow.start_run() as run:
        mlflow.log_param("a", 1)
        with pytest.raises(mlflow.MlflowException, match="Changing param values is not allowed") as changed:
            mlflow.log_param("a", 2)
        assert changed.value.error_code == "INVALID_PARAMETER_VALUE"
    twice = [Param("c", "1"), Param("c", "2")]
    with pytest.raises(mlflow.MlflowException, match="Duplicate parameter keys have been submitted"):
        client.log_batch(run.info.run_id, metrics=[Metric("kept", 1, 1, 0)], params=twice)
    assert "kept" not in client.get_run(run.info.run_id).data.metrics
    with pytest.raises(mlflow.MlflowException, match=f"Run with id={'0' * 32} not found|not found") as unknown:
        client.get_run("0" * 32)
    assert unknown.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    assert unknown.value.get_http_status_code() == 404
    client.delete_run(run.info.run_id)
    with pytest.raises(mlflow.MlflowException, match="must be in the 'active' state"):
        client.log_metric(run.info.run_id, "m", 1)


def test_runs_are_deleted_and_restored(mlflow, client, experiment):
    from mlflow.entities import ViewType

    def ids(view=ViewType.ACTIVE_ONLY):
        return {each.info.run_id for each in client.search_runs([experiment.experiment_id], "", view)}

    runs = [client.create_run(experiment.experiment_id).info.run_id for _ in range(3)]
    mlflow.delete_run(runs[0])
    assert ids() == set(runs[1:])
    assert ids(ViewType.DELETED_ONLY) == {runs[0]}
    assert ids(ViewType.ALL) == set(runs)
    assert client.get_run(runs[0]).info.lifecycle_stage == "deleted"
    client.restore_run(runs[0])
    assert ids() == set(runs)


def test_runs_are_searched_as_a_list_and_as_a_frame(mlflow, client, experiment):
    for n in range(7):
        with mlflow.start_run(run_name=f"run {n}", tags={"parity": str(n % 2)}):
            mlflow.log_param("n", n)
            mlflow.log_metric("score", n / 10)
    asked = {"experiment_names": [experiment.name], "order_by": ["metrics.score DESC"]}
    found = mlflow.search_runs(
        filter_string="metrics.score > 0.15 and tags.parity = '0'", **asked, output_format="list"
    )
    assert [each.info.run_name for each in found] == ["run 6", "run 4", "run 2"]
    frame = mlflow.search_runs(**asked, filter_string="attributes.run_name LIKE 'run%' AND params.n != '3'")
    assert list(frame["metrics.score"]) == [0.6, 0.5, 0.4, 0.2, 0.1, 0.0]
    assert list(frame["params.n"]) == ["6", "5", "4", "2", "1", "0"]
    assert set(frame["status"]) == {"FINISHED"}
    assert str(frame["start_time"].dtype).startswith("datetime64")
    first = client.search_runs([experiment.experiment_id], max_results=4)
    rest = client.search_runs([experiment.experiment_id], max_results=4, page_token=first.token)
    assert [each.info.run_name for each in [*first, *rest]] == [f"run {n}" for n in reversed(range(7))]
    assert (len(rest), rest.token) == (3, None)
    picked = [found[0].info.run_id, found[2].info.run_id]
    inside = f"attributes.run_id IN ('{picked[0]}', '{picked[1]}')"
    assert {each.info.run_id for each in client.search_runs([experiment.experiment_id], inside)} == set(picked)
    with pytest.raises(mlflow.MlflowException, match="INVALID_PARAMETER_VALUE"):
        client.search_runs([experiment.experiment_id], "metrics.score > 'high'")


def test_experiments_from_creation_to_restoring(mlflow, client):
    from mlflow.entities import ViewType

    name = f"experiments {time.time_ns()}"
    made = mlflow.create_experiment(name, tags={"team": "growth"})
    other = client.create_experiment(name + " b", artifact_location="s3://elsewhere/b")
    found = mlflow.get_experiment_by_name(name)
    assert (found.experiment_id, found.tags, found.lifecycle_stage) == (made, {"team": "growth"}, "active")
    assert found.creation_time <= time.time() * 1000
    assert mlflow.get_experiment(other).artifact_location == "s3://elsewhere/b"
    with pytest.raises(mlflow.MlflowException, match="already exists") as again:
        mlflow.create_experiment(name)
    assert again.value.error_code == "RESOURCE_ALREADY_EXISTS"
    client.set_experiment_tag(made, "stage", "trial")
    client.delete_experiment_tag(made, "team")
    assert client.get_experiment(made).tags == {"stage": "trial"}
    listed = mlflow.search_experiments(filter_string=f"name LIKE '{name}%'", order_by=["name DESC"])
    assert [each.name for each in listed] == [name + " b", name]
    assert [e.name for e in mlflow.search_experiments(filter_string="tags.stage = 'trial'", max_results=1)] == [name]
    client.rename_experiment(other, name + " c")
    mlflow.delete_experiment(other)
    assert mlflow.get_experiment_by_name(name + " c").lifecycle_stage == "deleted"
    deleted = mlflow.search_experiments(view_type=ViewType.DELETED_ONLY, filter_string=f"name LIKE '{name}%'")
    assert [each.experiment_id for each in deleted] == [other]
    with pytest.raises(mlflow.MlflowException, match="deleted"):
        mlflow.set_experiment(name + " c")
    client.restore_experiment(other)
    assert client.get_experiment(other).lifecycle_stage == "active"
    assert mlflow.get_experiment_by_name(name + " of nobody") is None
