"""Registered models and their aliases."""

from __future__ import annotations

from pydantic import Field

from prefect_ml.entities import Stage
from prefect_ml.errors import InvalidInputError, NotFoundError
from prefect_ml.protocol.answers import registry as answers
from prefect_ml.protocol.answers.common import Empty
from prefect_ml.protocol.backend import Backend
from prefect_ml.protocol.fields import Identifier, Int64, Text
from prefect_ml.protocol.pairs import PairField, last_wins
from prefect_ml.protocol.route import Routes
from prefect_ml.protocol.wire import Request

routes = Routes("Registered models")


class ModelName(Request):
    name: Text = Field(examples=["churn"])


class CreateModel(ModelName):
    description: Text = ""
    tags: list[PairField] = Field(default_factory=list)


class UpdateModel(ModelName):
    description: Text = ""


class RenameModel(ModelName):
    new_name: Text = Field(examples=["churn 2026"])


class SearchModels(Request):
    filter: Text = Field("", examples=["name LIKE 'churn%'"])
    max_results: Int64 = Field(100, description="1 to 1,000.")
    order_by: list[Text] = Field(default_factory=list, examples=[["last_updated_timestamp DESC"]])
    page_token: Text = ""


class ModelTag(ModelName, PairField):
    pass


class ModelTagKey(ModelName):
    key: Text = Field(examples=["team"])


class LatestVersions(ModelName):
    stages: list[Text] = Field(default_factory=list)


class AliasName(ModelName):
    alias: Text = Field(examples=["champion"])


class SetAlias(AliasName):
    version: Identifier = Field(examples=["3"])


@routes.on("POST", "registered-models/create")
def create_model(here: Backend, request: CreateModel) -> answers.OneModel:
    """Create a registered model without versions."""
    return answers.one_model(
        here.store.create_registered_model(request.name, request.description, last_wins(request.tags))
    )


@routes.on("GET", "registered-models/get")
def get_model(here: Backend, request: ModelName) -> answers.OneModel:
    """Get a registered model with its aliases and the latest version of each stage."""
    return answers.one_model(here.store.get_registered_model(request.name))


@routes.on("PATCH", "registered-models/update")
def update_model(here: Backend, request: UpdateModel) -> answers.OneModel:
    """Change the description of a registered model."""
    return answers.one_model(here.store.update_registered_model(request.name, request.description))


@routes.on("POST", "registered-models/rename")
def rename_model(here: Backend, request: RenameModel) -> answers.OneModel:
    """Rename a registered model with its versions."""
    return answers.one_model(here.store.rename_registered_model(request.name, request.new_name))


@routes.on("DELETE", "registered-models/delete")
def delete_model(here: Backend, request: ModelName) -> Empty:
    """Delete a registered model with its versions; a protected alias or stage refuses it."""
    here.store.delete_registered_model(request.name)
    return {}


@routes.on("GET POST", "registered-models/search")
def search_models(here: Backend, request: SearchModels) -> answers.SomeModels:
    """Search registered models, by name unless an order is given; prompts only when asked for by their tag."""
    page = here.store.search_registered_models(
        request.filter, request.order_by, request.max_results, request.page_token or None
    )
    return answers.some_models(page)


@routes.on("POST", "registered-models/set-tag")
def set_model_tag(here: Backend, request: ModelTag) -> Empty:
    """Set a tag of a registered model."""
    here.store.set_registered_model_tag(request.name, request.key, request.value)
    return {}


@routes.on("DELETE", "registered-models/delete-tag")
def delete_model_tag(here: Backend, request: ModelTagKey) -> Empty:
    """Delete a tag of a registered model; one that is not there is no error."""
    here.store.delete_registered_model_tag(request.name, request.key)
    return {}


@routes.on("POST GET", "registered-models/get-latest-versions")
def get_latest_versions(here: Backend, request: LatestVersions) -> answers.SomeVersions:
    """Get the highest version of each stage."""
    found = here.store.latest_versions(request.name, [stage(given) for given in request.stages])
    return answers.some_versions(found)


@routes.on("POST", "registered-models/alias")
def set_alias(here: Backend, request: SetAlias) -> Empty:
    """Point an alias at a version; a protected alias is moved by an approved promotion only."""
    here.store.set_alias(request.name, request.alias, number(request.version))
    return {}


@routes.on("DELETE", "registered-models/alias")
def delete_alias(here: Backend, request: AliasName) -> Empty:
    """Delete an alias; one that is not there is no error."""
    here.store.delete_alias(request.name, request.alias)
    return {}


@routes.on("GET", "registered-models/alias")
def get_by_alias(here: Backend, request: AliasName) -> answers.OneVersion:
    """Get the version that an alias points at; `latest` is the highest version."""
    version: int | None
    if request.alias.lower() == "latest":
        found = here.store.latest_versions(request.name)
        version = max((each.version for each in found), default=None)
    else:
        version = _pointed_at(here, request.name, request.alias)
    if version is None:
        raise InvalidInputError(f"Registered model alias {request.alias} not found. Set it, or name a version.")
    return answers.one_version(here.store.get_model_version(request.name, version))


def _pointed_at(here: Backend, name: str, alias: str) -> int | None:
    try:
        return here.store.get_alias(name, alias).version
    except NotFoundError:
        here.store.get_registered_model(name)  # tells when it is the model that is not there
        return None


def number(version: str) -> int:
    """The number of a version, which comes as a string.

    Raises:
        InvalidInputError: it is none.
    """
    if version.isascii() and version.isdigit() and len(version) < 19:  # noqa: PLR2004
        return int(version)
    raise InvalidInputError(f"Parameter 'version' must be an integer, got '{version}'. Give a version's number.")


def stage(given: str) -> Stage:
    """A stage by its name in any case.

    Raises:
        InvalidInputError: there is none of that name.
    """
    for each in Stage:
        if each.value.lower() == given.lower():
            return each
    raise InvalidInputError(f"Invalid Model Version stage: {given}. Value must be one of {', '.join(Stage)}.")
