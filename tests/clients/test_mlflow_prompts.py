"""Prompts, which MLflow's client keeps as registered models of a kind."""

from __future__ import annotations

import uuid

import pytest


@pytest.fixture
def name():
    return f"greeting-{uuid.uuid4().hex}"


def test_a_prompt_is_registered_loaded_and_filled_in(mlflow, name):
    made = mlflow.genai.register_prompt(name, "Greet {{who}}.", commit_message="first", tags={"language": "en"})
    assert (made.name, made.version, made.template) == (name, 1, "Greet {{who}}.")
    second = mlflow.genai.register_prompt(name, "Greet {{who}} in {{language}}.", commit_message="a language")
    assert second.version == 2
    loaded = mlflow.genai.load_prompt(name, version=1)
    assert loaded.format(who="Ada") == "Greet Ada."
    assert (loaded.commit_message, loaded.tags["language"]) == ("first", "en")
    assert mlflow.genai.load_prompt(f"prompts:/{name}/2").variables == {"who", "language"}
    assert mlflow.genai.load_prompt(f"prompts:/{name}@latest").version == 2
    with pytest.raises(mlflow.MlflowException, match="not found"):
        mlflow.genai.load_prompt(name, version=9)


def test_a_prompt_is_found_by_its_alias(mlflow, name):
    for text in ("one", "two"):
        mlflow.genai.register_prompt(name, text)
    mlflow.genai.set_prompt_alias(name, "production", 1)
    assert mlflow.genai.load_prompt(f"prompts:/{name}@production").template == "one"
    mlflow.genai.set_prompt_alias(name, "production", 2)
    # A client keeps what it loaded by an alias for a minute.
    assert mlflow.genai.load_prompt(f"prompts:/{name}@production", cache_ttl_seconds=0).template == "two"
    mlflow.genai.delete_prompt_alias(name, "production")
    with pytest.raises(mlflow.MlflowException, match="not found"):
        mlflow.genai.load_prompt(f"prompts:/{name}@production", cache_ttl_seconds=0)


def test_a_chat_prompt_keeps_its_messages_and_its_format(mlflow, name):
    from pydantic import BaseModel

    class Answer(BaseModel):
        text: str

    messages = [{"role": "system", "content": "You greet."}, {"role": "user", "content": "I am {{who}}."}]
    mlflow.genai.register_prompt(name, messages, response_format=Answer, model_config={"temperature": 0.2})
    loaded = mlflow.genai.load_prompt(name, version=1)
    assert loaded.template == messages
    assert loaded.format(who="Ada")[1]["content"] == "I am Ada."
    assert loaded.response_format["properties"]["text"]["type"] == "string"
    assert loaded.model_config["temperature"] == 0.2


def test_prompts_are_searched_apart_from_models(mlflow, client, name):
    client.create_registered_model(name + "-model", tags={"team": name})
    for n in range(3):
        mlflow.genai.register_prompt(f"{name}-{n}", "text", tags={"n": str(n)})
        client.set_prompt_tag(f"{name}-{n}", "team", name)
    found = mlflow.genai.search_prompts(f"name LIKE '{name}%'")
    assert sorted(each.name for each in found) == [f"{name}-{n}" for n in range(3)]
    assert [each.name for each in client.search_prompts(f"tags.team = '{name}'", max_results=2)] == [
        f"{name}-0",
        f"{name}-1",
    ]
    assert [each.name for each in client.search_registered_models(f"name LIKE '{name}%'")] == [name + "-model"]
    assert client.search_model_versions(f"name = '{name}-0'") == []
    assert [each.version for each in client.search_prompt_versions(f"{name}-0")] == [1]


def test_tags_of_prompts_and_of_their_versions(mlflow, client, name):
    mlflow.genai.register_prompt(name, "one")
    client.set_prompt_tag(name, "team", "growth")
    client.set_prompt_version_tag(name, "1", "checked", "yes")
    assert client.get_prompt(name).tags["team"] == "growth"
    assert client.get_prompt_version(name, "1").tags["checked"] == "yes"
    client.delete_prompt_tag(name, "team")
    client.delete_prompt_version_tag(name, "1", "checked")
    assert "team" not in client.get_prompt(name).tags
    assert "checked" not in client.get_prompt_version(name, "1").tags
    client.delete_prompt_version(name, "1")
    client.delete_prompt(name)
    assert client.get_prompt(name) is None


def test_a_name_is_of_one_kind(mlflow, client, name):
    mlflow.genai.register_prompt(name, "text")
    with pytest.raises(mlflow.MlflowException, match="already taken by a prompt"):
        client.create_registered_model(name)
    client.create_registered_model(name + "-model")
    with pytest.raises(mlflow.MlflowException, match="exists with the same name"):
        mlflow.genai.register_prompt(name + "-model", "text")


def test_a_prompt_that_a_run_loads_is_linked_to_it(mlflow, client, experiment, name):
    mlflow.genai.register_prompt(name, "text")
    with mlflow.start_run() as run:
        mlflow.genai.load_prompt(f"prompts:/{name}/1")
    [linked] = mlflow.genai.search_prompts(f"name = '{name}'")
    assert linked.name == name
    assert name in client.get_run(run.info.run_id).data.tags["mlflow.linkedPrompts"]
