"""Model versions and their stages."""

from __future__ import annotations

from pydantic import Field

from prefect_ml.entities import Stage
from prefect_ml.errors import InvalidInputError
from prefect_ml.protocol.answers import registry as answers
from prefect_ml.protocol.answers.common import Empty
from prefect_ml.protocol.backend import Backend
from prefect_ml.protocol.fields import Flag, Identifier, Int64, Text
from prefect_ml.protocol.pairs import PairField, last_wins
from prefect_ml.protocol.route import Routes
from prefect_ml.protocol.routes.models import ModelName, number, stage
from prefect_ml.protocol.sources import check_source, is_prompt
from prefect_ml.protocol.wire import Request

routes = Routes("Model versions")

ACTIVE_STAGES = (Stage.STAGING, Stage.PRODUCTION)


class CreateVersion(ModelName):
    source: Text = Field(examples=["mlflow-artifacts:/1/0f6d3a4f9f5c4d8f8d2a2f1c9d1f7a55/artifacts/model"])
    run_id: Text = ""
    run_link: Text = ""
    description: Text = ""
    model_id: Text = ""
    tags: list[PairField] = Field(default_factory=list)


class VersionName(ModelName):
    version: Identifier = Field(examples=["3"])

    @property
    def number(self) -> int:
        return number(self.version)


class UpdateVersion(VersionName):
    description: Text = ""


class Transition(VersionName):
    stage: Text = Field(examples=["Staging"])
    archive_existing_versions: Flag = False


class SearchVersions(Request):
    filter: Text = Field("", examples=["name = 'churn' AND run_id IN ('a', 'b')"])
    max_results: Int64 = Field(200_000, description="1 to 200,000.")
    order_by: list[Text] = Field(default_factory=list, examples=[["version_number DESC"]])
    page_token: Text = ""


class VersionTag(VersionName, PairField):
    pass


class VersionTagKey(VersionName):
    key: Text = Field(examples=["team"])


@routes.on("POST", "model-versions/create")
def create_version(here: Backend, request: CreateVersion) -> answers.OneVersion:
    """Add the next version to a registered model."""
    prompt = is_prompt(here.store, request.name)
    check_source(here.store, request.source, request.run_id, request.model_id, prompt=prompt)
    made = here.store.create_model_version(
        request.name,
        request.source,
        run_id=request.run_id or None,
        run_link=request.run_link,
        description=request.description,
        model_id=request.model_id,
        tags=last_wins(request.tags),
    )
    return answers.one_version(made)


@routes.on("GET", "model-versions/get")
def get_version(here: Backend, request: VersionName) -> answers.OneVersion:
    """Get a version."""
    return answers.one_version(here.store.get_model_version(request.name, request.number))


@routes.on("PATCH", "model-versions/update")
def update_version(here: Backend, request: UpdateVersion) -> answers.OneVersion:
    """Change the description of a version."""
    return answers.one_version(here.store.update_model_version(request.name, request.number, request.description))


@routes.on("DELETE", "model-versions/delete")
def delete_version(here: Backend, request: VersionName) -> Empty:
    """Delete a version and the aliases on it; a protected one refuses it."""
    here.store.delete_model_version(request.name, request.number)
    return {}


@routes.on("GET POST", "model-versions/search")
def search_versions(here: Backend, request: SearchVersions) -> answers.SomeVersions:
    """Search versions, the last updated first unless an order is given; prompts' only when asked for by their tag."""
    page = here.store.search_model_versions(
        request.filter, request.order_by, request.max_results, request.page_token or None
    )
    return answers.some_versions(page.items, page.next_token)


@routes.on("GET", "model-versions/get-download-uri")
def get_download_uri(here: Backend, request: VersionName) -> answers.DownloadUri:
    """Get where the files of a version are, also when it was copied from another version."""
    found = here.store.get_model_version(request.name, request.number)
    return {"artifact_uri": found.location or found.source}


@routes.on("POST", "model-versions/transition-stage")
def transition_stage(here: Backend, request: Transition) -> answers.OneVersion:
    """Move a version to a stage; a protected stage is entered by an approved promotion only."""
    target = stage(request.stage)
    if request.archive_existing_versions and target not in ACTIVE_STAGES:
        raise InvalidInputError(
            f"Model version transition cannot archive existing model versions because '{target}' is not an Active "
            f"stage. Valid stages are {[each.value for each in ACTIVE_STAGES]}"
        )
    moved = here.store.transition_stage(
        request.name, request.number, target, archive_existing=request.archive_existing_versions
    )
    return answers.one_version(moved)


@routes.on("POST", "model-versions/set-tag")
def set_version_tag(here: Backend, request: VersionTag) -> Empty:
    """Set a tag of a version."""
    here.store.set_model_version_tag(request.name, request.number, request.key, request.value)
    return {}


@routes.on("DELETE", "model-versions/delete-tag")
def delete_version_tag(here: Backend, request: VersionTagKey) -> Empty:
    """Delete a tag of a version; one that is not there is no error."""
    here.store.delete_model_version_tag(request.name, request.number, request.key)
    return {}
