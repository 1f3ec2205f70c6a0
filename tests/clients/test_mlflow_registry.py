"""Every call of MLflow's client to the model registry."""

from __future__ import annotations

import uuid

import pytest

# The stages and what reads them are marked as going away in MLflow.
pytestmark = pytest.mark.filterwarnings("ignore:.*stages.*:FutureWarning", "ignore:.*deprecated.*:FutureWarning")

SOURCE = "s3://models/churn"


@pytest.fixture
def name(client):
    """Of a new registered model, which a careless route would cut or decode."""
    name = f"a model + 100%25 & é? {uuid.uuid4().hex}"
    client.create_registered_model(name, tags={"team": "growth"}, description="who leaves")
    return name


def test_a_model_is_made_read_changed_renamed_and_deleted(mlflow, client, name):
    made = client.get_registered_model(name)
    assert (made.name, made.description, made.tags) == (name, "who leaves", {"team": "growth"})
    assert made.creation_timestamp <= made.last_updated_timestamp
    assert (made.latest_versions, made.aliases) == ([], {})
    assert client.update_registered_model(name, "who stays").description == "who stays"
    client.set_registered_model_tag(name, "stage", "trial")
    client.delete_registered_model_tag(name, "team")
    client.delete_registered_model_tag(name, "never set")
    assert client.get_registered_model(name).tags == {"stage": "trial"}
    with pytest.raises(mlflow.MlflowException, match="already exists") as again:
        client.create_registered_model(name)
    assert again.value.error_code == "RESOURCE_ALREADY_EXISTS"
    client.create_model_version(name, SOURCE)
    client.rename_registered_model(name, name + " b")
    assert client.get_model_version(name + " b", "1").name == name + " b"
    with pytest.raises(mlflow.MlflowException, match="not found") as unknown:
        client.get_registered_model(name)
    assert unknown.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    client.delete_registered_model(name + " b")
    with pytest.raises(mlflow.MlflowException, match="not found"):
        client.get_registered_model(name + " b")


def test_a_version_is_made_read_changed_and_deleted(mlflow, client, name, experiment):
    run_id = client.create_run(experiment.experiment_id).info.run_id
    made = client.create_model_version(
        name, SOURCE, run_id, tags={"a": "1"}, run_link="https://runs/1", description="first"
    )
    assert (made.name, int(made.version), made.status, made.current_stage) == (name, 1, "READY", "None")
    found = client.get_model_version(name, "1")
    assert (found.source, found.run_id, found.run_link) == (SOURCE, run_id, "https://runs/1")
    assert (found.description, found.tags, found.aliases) == ("first", {"a": "1"}, [])
    assert client.update_model_version(name, "1", "the first").description == "the first"
    client.set_model_version_tag(name, "1", "b", "2")
    client.delete_model_version_tag(name, "1", "a")
    client.delete_model_version_tag(name, "1", "never set")
    assert client.get_model_version(name, "1").tags == {"b": "2"}
    assert client.get_model_version_download_uri(name, "1") == SOURCE
    assert [int(client.create_model_version(name, SOURCE).version) for _ in range(2)] == [2, 3]
    client.delete_model_version(name, "3")
    assert int(client.create_model_version(name, SOURCE).version) == 4
    for gone in (lambda: client.get_model_version(name, "3"), lambda: client.update_model_version(name, "3", "x")):
        with pytest.raises(mlflow.MlflowException, match="not found") as missing:
            gone()
        assert missing.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_a_copy_has_the_files_of_its_original(client):
    name = f"copied {uuid.uuid4().hex}"
    client.create_registered_model(name)
    original = client.create_model_version(name, SOURCE, tags={"a": "1"})
    copy = client.copy_model_version(f"models:/{name}/{original.version}", name + " copied")
    assert (copy.name, int(copy.version)) == (name + " copied", 1)
    assert copy.source == f"models:/{name}/1"
    assert client.get_model_version_download_uri(copy.name, "1") == SOURCE
    twice = client.copy_model_version(f"models:/{copy.name}/1", name + " copied")
    assert client.get_model_version_download_uri(twice.name, "2") == SOURCE


def test_aliases_move_and_go(mlflow, client, name):
    for _ in range(3):
        client.create_model_version(name, SOURCE)
    client.set_registered_model_alias(name, "champion", "1")
    client.set_registered_model_alias(name, "challenger", "2")
    assert client.get_registered_model(name).aliases == {"champion": "1", "challenger": "2"}
    client.set_registered_model_alias(name, "champion", "2")
    assert int(client.get_model_version_by_alias(name, "champion").version) == 2
    assert sorted(client.get_model_version(name, "2").aliases) == ["challenger", "champion"]
    assert int(client.get_model_version_by_alias(name, "latest").version) == 3
    client.delete_registered_model_alias(name, "challenger")
    client.delete_registered_model_alias(name, "challenger")
    with pytest.raises(mlflow.MlflowException, match="alias challenger not found") as gone:
        client.get_model_version_by_alias(name, "challenger")
    assert gone.value.error_code == "INVALID_PARAMETER_VALUE"
    client.delete_model_version(name, "2")
    assert client.get_registered_model(name).aliases == {}
    for reserved in ("latest", "LATEST", "v7"):
        with pytest.raises(mlflow.MlflowException, match="reserved"):
            client.set_registered_model_alias(name, reserved, "1")
    with pytest.raises(mlflow.MlflowException, match="not found"):
        client.set_registered_model_alias(name, "champion", "77")


def test_stages_are_entered_and_left(mlflow, client, name):
    for _ in range(4):
        client.create_model_version(name, SOURCE)
    assert client.transition_model_version_stage(name, "1", "production").current_stage == "Production"
    client.transition_model_version_stage(name, "2", "STAGING")
    moved = client.transition_model_version_stage(name, "3", "Production", archive_existing_versions=True)
    assert (int(moved.version), moved.current_stage) == (3, "Production")

    def latest(*stages):
        return {each.current_stage: int(each.version) for each in client.get_latest_versions(name, list(stages))}

    assert latest() == {"Archived": 1, "Staging": 2, "Production": 3, "None": 4}
    assert latest("Production", "none") == {"Production": 3, "None": 4}
    client.set_model_version_tag(name, key="seen", value="yes", stage="Staging")
    assert client.get_model_version(name, "2").tags == {"seen": "yes"}
    client.delete_model_version_tag(name, key="seen", stage="Staging")
    assert client.get_model_version(name, "2").tags == {}
    assert client.get_model_version_stages(name, "1") == ["None", "Staging", "Production", "Archived"]
    latest_of_model = client.get_registered_model(name).latest_versions
    assert {each.current_stage: int(each.version) for each in latest_of_model} == latest()
    with pytest.raises(
        mlflow.MlflowException, match=r"Invalid Model Version stage: unknown\. Value must be one of None"
    ):
        client.transition_model_version_stage(name, "1", "unknown")
    with pytest.raises(mlflow.MlflowException, match="cannot archive existing model versions because 'Archived'"):
        client.transition_model_version_stage(name, "1", "Archived", archive_existing_versions=True)


def test_models_are_searched_page_by_page(mlflow, client):
    stem = uuid.uuid4().hex
    for n in range(5):
        client.create_registered_model(f"{stem} {n}", tags={"even": str(n % 2 == 0)})
        client.create_model_version(f"{stem} {n}", SOURCE)
    prefix = f"name LIKE '{stem}%'"
    first = client.search_registered_models(prefix, max_results=3)
    assert [each.name[-1] for each in first] == ["0", "1", "2"]
    rest = client.search_registered_models(prefix, max_results=3, page_token=first.token)
    assert ([each.name[-1] for each in rest], rest.token) == (["3", "4"], "")
    found = client.search_registered_models(f"{prefix} AND tags.even = 'True'", order_by=["name DESC"])
    assert [each.name[-1] for each in found] == ["4", "2", "0"]
    assert [int(each.latest_versions[0].version) for each in found] == [1, 1, 1]
    assert len(mlflow.search_registered_models(filter_string=f"name ILIKE '{stem.upper()}%'", max_results=2)) == 2
    with pytest.raises(mlflow.MlflowException, match="Parameter value is either not quoted"):
        client.search_registered_models("name!=something")
    with pytest.raises(mlflow.MlflowException, match="Invalid clause"):
        client.search_registered_models("evilhax = true")


def test_versions_are_searched(mlflow, client, name):
    runs = [uuid.uuid4().hex for _ in range(3)]
    for n, run_id in enumerate(runs):
        client.create_model_version(name, f"{SOURCE}/{n}", run_id, tags={"n": str(n)})
    mine = f"name = '{name}'"

    def versions(filter_string, **asked):
        return [int(each.version) for each in client.search_model_versions(filter_string, **asked)]

    assert sorted(versions(mine)) == [1, 2, 3]
    assert versions(mine, order_by=["version_number DESC"]) == [3, 2, 1]
    assert versions(f"{mine} AND version_number >= 2", order_by=["version_number ASC"]) == [2, 3]
    assert versions(f"run_id = '{runs[1]}'") == [2]
    assert versions(f"{mine} AND run_id IN ('{runs[0]}', '{runs[2]}')", order_by=["version_number ASC"]) == [1, 3]
    assert versions(f"{mine} AND source_path = '{SOURCE}/2'") == [3]
    assert versions(f"{mine} AND tags.n = '1'") == [2]
    page = client.search_model_versions(mine, max_results=2, order_by=["version_number ASC"])
    rest = client.search_model_versions(mine, max_results=2, order_by=["version_number ASC"], page_token=page.token)
    assert [int(each.version) for each in [*page, *rest]] == [1, 2, 3]
    assert len(mlflow.search_model_versions(filter_string=mine)) == 3
    for wrong, words in (
        ("run_id IN (1, 2)", "expected string value"),
        ("run_id IN ()", "non-empty list of string values"),
        ("colour = 'red'", "Invalid attribute key 'colour'"),
    ):
        with pytest.raises(mlflow.MlflowException, match=words):
            client.search_model_versions(wrong)


def test_a_source_outside_its_place_is_refused(mlflow, client, name):
    for source in ("/etc/passwd", "file:///etc", "https://models/../secrets", "s3://models/%252e%252e/other"):
        with pytest.raises(mlflow.MlflowException, match="Invalid model version source") as refused:
            client.create_model_version(name, source)
        assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
    assert client.search_model_versions(f"name = '{name}'") == []
