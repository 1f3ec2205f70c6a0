"""Experiments."""

from __future__ import annotations

from pydantic import Field

from prefect_ml.entities import ViewType
from prefect_ml.errors import InvalidInputError
from prefect_ml.protocol.answers import experiments as answers
from prefect_ml.protocol.answers.common import Empty
from prefect_ml.protocol.backend import Backend
from prefect_ml.protocol.fields import Identifier, Int64, Text
from prefect_ml.protocol.pairs import PairField, last_wins
from prefect_ml.protocol.route import Routes
from prefect_ml.protocol.wire import Request

routes = Routes("Experiments")

MAX_EXPERIMENTS = 20


class CreateExperiment(Request):
    name: Text = Field(examples=["churn"])
    artifact_location: Text | None = Field(
        None, description="Where clients write artifacts themselves; through this server when absent."
    )
    tags: list[PairField] = Field(default_factory=list)


class ExperimentId(Request):
    experiment_id: Identifier = Field(examples=["1"])


class ExperimentName(Request):
    experiment_name: Text = Field(examples=["churn"])


class SearchExperiments(Request):
    max_results: Int64 = Field(1000, description="1 to 50,000.")
    view_type: ViewType = ViewType.ACTIVE_ONLY
    filter: Text = Field("", examples=["name LIKE 'churn%' AND tags.team = 'growth'"])
    order_by: list[Text] = Field(default_factory=list, examples=[["last_update_time DESC"]])
    page_token: Text = ""


class UpdateExperiment(ExperimentId):
    new_name: Text = Field(examples=["churn 2026"])


class ExperimentTag(ExperimentId):
    key: Text = Field(examples=["team"])
    value: Text = Field(examples=["growth"])


class ExperimentTagKey(ExperimentId):
    key: Text = Field(examples=["team"])


class SearchDatasets(Request):
    experiment_ids: list[Identifier] = Field(default_factory=list, description="1 to 20 of them.")


@routes.on("POST", "experiments/create")
def create_experiment(here: Backend, request: CreateExperiment) -> answers.Created:
    """Create an experiment."""
    tags = last_wins(request.tags)
    return {"experiment_id": here.store.create_experiment(request.name, tags, request.artifact_location)}


@routes.on("GET", "experiments/get")
def get_experiment(here: Backend, request: ExperimentId) -> answers.OneExperiment:
    """Get an experiment by its id."""
    return {"experiment": answers.experiment(here.store.get_experiment(request.experiment_id))}


@routes.on("GET", "experiments/get-by-name")
def get_experiment_by_name(here: Backend, request: ExperimentName) -> answers.OneExperiment:
    """Get an experiment by its name, also when it is deleted."""
    return {"experiment": answers.experiment(here.store.get_experiment_by_name(request.experiment_name))}


@routes.on("POST GET", "experiments/search")
def search_experiments(here: Backend, request: SearchExperiments) -> answers.SomeExperiments:
    """Search experiments, the newest first unless an order is given."""
    page = here.store.search_experiments(
        request.filter, request.order_by, request.view_type, request.max_results, request.page_token or None
    )
    return answers.some_experiments(page)


@routes.on("POST", "experiments/delete")
def delete_experiment(here: Backend, request: ExperimentId) -> Empty:
    """Mark an experiment and all its runs deleted."""
    here.store.delete_experiment(request.experiment_id)
    return {}


@routes.on("POST", "experiments/restore")
def restore_experiment(here: Backend, request: ExperimentId) -> Empty:
    """Make an experiment and all its runs active again."""
    here.store.restore_experiment(request.experiment_id)
    return {}


@routes.on("POST", "experiments/update")
def update_experiment(here: Backend, request: UpdateExperiment) -> Empty:
    """Rename an experiment."""
    here.store.rename_experiment(request.experiment_id, request.new_name)
    return {}


@routes.on("POST", "experiments/set-experiment-tag")
def set_experiment_tag(here: Backend, request: ExperimentTag) -> Empty:
    """Set a tag of an experiment."""
    here.store.set_experiment_tag(request.experiment_id, request.key, request.value)
    return {}


@routes.on("POST", "experiments/delete-experiment-tag")
def delete_experiment_tag(here: Backend, request: ExperimentTagKey) -> Empty:
    """Delete a tag of an experiment."""
    here.store.delete_experiment_tag(request.experiment_id, request.key)
    return {}


@routes.on("POST", "experiments/search-datasets", ajax_only=True)
def search_datasets(here: Backend, request: SearchDatasets) -> answers.DatasetSummaries:
    """Get which data sets the active runs of experiments used, and what for."""
    given = len(request.experiment_ids)
    if not given:
        raise InvalidInputError("SearchDatasets request must specify at least one experiment_id.")
    if given > MAX_EXPERIMENTS:
        raise InvalidInputError(
            f"SearchDatasets request cannot specify more than {MAX_EXPERIMENTS} experiment_ids. Received {given} "
            "experiment_ids."
        )
    return answers.dataset_summaries(here.store.search_datasets(request.experiment_ids))
