"""MLflow's command line against the server."""

from __future__ import annotations

import json

import pytest

# What the command's modules say of themselves when they are first imported.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def command(mlflow):
    from click.testing import CliRunner
    from mlflow.cli import cli

    def run(*arguments):
        done = CliRunner().invoke(cli, list(arguments), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    return run


def test_experiments_are_made_listed_renamed_and_exported(command, client, experiment, tmp_path):
    name = experiment.name + " by command"
    command("experiments", "create", "--experiment-name", name)
    made = client.get_experiment_by_name(name).experiment_id
    assert name in command("experiments", "search")
    assert made in command("experiments", "get", "--experiment-id", made)
    command("experiments", "rename", "--experiment-id", made, "--new-name", name + "!")
    run = client.create_run(made, run_name="first")
    client.log_metric(run.info.run_id, "auc", 0.5)
    command("experiments", "csv", "--experiment-id", made, "--filename", str(tmp_path / "runs.csv"))
    assert "metrics.auc" in (tmp_path / "runs.csv").read_text()
    command("experiments", "delete", "--experiment-id", made)
    assert client.get_experiment(made).lifecycle_stage == "deleted"
    command("experiments", "restore", "--experiment-id", made)
    assert client.get_experiment(made).name == name + "!"


def test_runs_and_their_files_are_shown(command, client, experiment, tmp_path):
    run_id = client.create_run(experiment.experiment_id, run_name="shown").info.run_id
    client.log_param(run_id, "depth", 3)
    (tmp_path / "notes.txt").write_text("hello")
    command("artifacts", "log-artifact", "--local-file", str(tmp_path / "notes.txt"), "--run-id", run_id)
    assert "shown" in command("runs", "list", "--experiment-id", experiment.experiment_id)
    described = json.loads(command("runs", "describe", "--run-id", run_id))
    assert described["data"]["params"] == {"depth": "3"}
    assert json.loads(command("artifacts", "list", "--run-id", run_id)) == [
        {"path": "notes.txt", "is_dir": False, "file_size": 5}
    ]
    back = str(tmp_path / "back")
    command("artifacts", "download", "--run-id", run_id, "--artifact-path", "notes.txt", "--dst-path", back)
    assert (tmp_path / "back" / "notes.txt").read_text() == "hello"
    command("runs", "delete", "--run-id", run_id)
    assert client.get_run(run_id).info.lifecycle_stage == "deleted"
    command("runs", "restore", "--run-id", run_id)
    assert client.get_run(run_id).info.lifecycle_stage == "active"
