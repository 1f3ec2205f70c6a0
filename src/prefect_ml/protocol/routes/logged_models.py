"""Logged models (MLflow 3): models as runs made them, before anybody registers them."""

from __future__ import annotations

from pydantic import Field

from prefect_ml.entities import LoggedModelOrder, LoggedModelStatus
from prefect_ml.errors import InvalidInputError
from prefect_ml.protocol.answers import logged_models as answers
from prefect_ml.protocol.answers.common import Empty
from prefect_ml.protocol.backend import Backend
from prefect_ml.protocol.fields import Flag, Identifier, Int64, Text
from prefect_ml.protocol.pairs import PairField, last_wins
from prefect_ml.protocol.route import Routes
from prefect_ml.protocol.wire import Request

routes = Routes("Logged models")


class CreateLoggedModel(Request):
    experiment_id: Identifier = Field(examples=["1"])
    name: Text = Field("", description="Made up when absent.")
    model_type: Text = ""
    source_run_id: Text = ""
    params: list[PairField] = Field(default_factory=list)
    tags: list[PairField] = Field(default_factory=list)


class LoggedModelId(Request):
    model_id: Text = Field(examples=["m-0f6d3a4f9f5c4d8f8d2a2f1c9d1f7a55"])


class FinalizeLoggedModel(LoggedModelId):
    status: LoggedModelStatus = Field(examples=["LOGGED_MODEL_READY"])


class SetLoggedModelTags(LoggedModelId):
    tags: list[PairField] = Field(default_factory=list)


class LoggedModelTagKey(LoggedModelId):
    tag_key: Text = Field(examples=["team"])


class LogLoggedModelParams(LoggedModelId):
    params: list[PairField] = Field(default_factory=list)


class DatasetName(Request):
    dataset_name: Text
    dataset_digest: Text = ""


class OrderField(Request):
    field_name: Text = Field(examples=["metrics.auc"])
    ascending: Flag = True
    dataset_name: Text = ""
    dataset_digest: Text = ""


class SearchLoggedModels(Request):
    experiment_ids: list[Identifier] = Field(default_factory=list)
    filter: Text = Field("", examples=["metrics.auc > 0.9"])
    datasets: list[DatasetName] = Field(default_factory=list, description="Whose metrics the filter looks at.")
    order_by: list[OrderField] = Field(default_factory=list)
    max_results: Int64 = 50
    page_token: Text = ""


@routes.on("POST", "logged-models")
def create_logged_model(here: Backend, request: CreateLoggedModel) -> answers.OneLoggedModel:
    """Create a logged model, whose files are uploaded next."""
    made = here.store.create_logged_model(
        request.experiment_id,
        name=request.name or None,
        model_type=request.model_type,
        source_run_id=request.source_run_id,
        params=last_wins(request.params),
        tags=last_wins(request.tags),
    )
    return answers.one_logged_model(made)


@routes.on("POST", "logged-models/search")
def search_logged_models(here: Backend, request: SearchLoggedModels) -> answers.SomeLoggedModels:
    """Search logged models, the newest first unless an order is given."""
    if not request.experiment_ids:
        raise InvalidInputError("Missing value for required parameter 'experiment_ids'. Name the experiments.")
    order = [
        LoggedModelOrder(each.field_name, each.ascending, each.dataset_name, each.dataset_digest)
        for each in request.order_by
    ]
    page = here.store.search_logged_models(
        request.experiment_ids,
        request.filter,
        [(each.dataset_name, each.dataset_digest) for each in request.datasets],
        order,
        request.max_results or 50,
        request.page_token or None,
    )
    return answers.some_logged_models(page)


@routes.on("GET", "logged-models/{model_id}")
def get_logged_model(here: Backend, request: LoggedModelId) -> answers.OneLoggedModel:
    """Get a logged model with its params, tags and metrics."""
    return answers.one_logged_model(here.store.get_logged_model(request.model_id))


@routes.on("PATCH", "logged-models/{model_id}")
def finalize_logged_model(here: Backend, request: FinalizeLoggedModel) -> answers.OneLoggedModel:
    """Say that the files of a logged model are there, or that their upload failed."""
    return answers.one_logged_model(here.store.finalize_logged_model(request.model_id, request.status))


@routes.on("DELETE", "logged-models/{model_id}")
def delete_logged_model(here: Backend, request: LoggedModelId) -> Empty:
    """Delete a logged model."""
    here.store.delete_logged_model(request.model_id)
    return {}


@routes.on("PATCH", "logged-models/{model_id}/tags")
def set_logged_model_tags(here: Backend, request: SetLoggedModelTags) -> Empty:
    """Set tags of a logged model."""
    here.store.set_logged_model_tags(request.model_id, last_wins(request.tags))
    return {}


@routes.on("DELETE", "logged-models/{model_id}/tags/{tag_key:path}")
def delete_logged_model_tag(here: Backend, request: LoggedModelTagKey) -> Empty:
    """Delete a tag of a logged model."""
    here.store.delete_logged_model_tag(request.model_id, request.tag_key)
    return {}


@routes.on("POST", "logged-models/{model_id}/params")
def log_logged_model_params(here: Backend, request: LogLoggedModelParams) -> Empty:
    """Log params of a logged model."""
    here.store.log_logged_model_params(request.model_id, last_wins(request.params))
    return {}
