"""Runs, and what is logged to them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # pydantic needs this one below Python 3.12

from prefect_ml.entities import Dataset, DatasetInput, Metric, ModelMetric, ModelOutput, RunStatus, ViewType
from prefect_ml.errors import InvalidInputError, InvalidNameError
from prefect_ml.protocol.answers import runs as answers
from prefect_ml.protocol.answers.common import Empty
from prefect_ml.protocol.backend import Backend
from prefect_ml.protocol.fields import Double, Identifier, Int64, Text
from prefect_ml.protocol.names import Placed, in_batch, placed
from prefect_ml.protocol.pairs import PairField, last_wins, params
from prefect_ml.protocol.route import Routes
from prefect_ml.protocol.wire import Request
from prefect_ml.store.input_names import MAX_LENGTHS, MAX_TAG_KEY, MAX_TAG_VALUE

routes = Routes("Runs")

# What a batch may hold, from MLflow's protocol.
MAX_METRICS = 1000
MAX_PAIRS = 100
MAX_ENTITIES = 1000
LOGGED_MODELS_TAG = "mlflow.log-model.history"


class CreateRun(Request):
    experiment_id: Identifier = Field("0", examples=["1"])
    user_id: Text = ""
    run_name: Text = ""
    start_time: Int64 = 0
    tags: list[PairField] = Field(default_factory=list)


class RunId(Request):
    run_id: Text = Field("", examples=["0f6d3a4f9f5c4d8f8d2a2f1c9d1f7a55"])
    run_uuid: Text = Field("", description="The same; either alone does.")

    @property
    def id(self) -> str:
        if not (self.run_id or self.run_uuid):
            raise InvalidInputError("Missing value for required parameter 'run_id'. Name the run.")
        return self.run_id or self.run_uuid


class UpdateRun(RunId):
    status: RunStatus | None = None
    end_time: Int64 | None = None
    run_name: Text = ""


Timestamp = Annotated[Int64, Field(description="In milliseconds.", examples=[1732620000000])]


class MetricField(TypedDict):
    """A point of a batch. There may be a thousand, and a dictionary costs half of what a model does."""

    key: Annotated[Text, Field(examples=["auc"])]
    value: Annotated[Double, Field(examples=[0.91])]
    timestamp: Timestamp
    step: NotRequired[Annotated[Int64, Field(description="0 when absent.")]]
    model_id: NotRequired[Text]
    dataset_name: NotRequired[Text]
    dataset_digest: NotRequired[Text]


class LogMetric(RunId):
    key: Text = Field(examples=["auc"])
    value: Double = Field(examples=[0.91])
    timestamp: Timestamp
    step: Int64 = 0
    model_id: Text = ""
    dataset_name: Text = ""
    dataset_digest: Text = ""

    @property
    def metric(self) -> Metric:
        return Metric(self.key, self.value, self.timestamp, self.step)


class LogPair(RunId, PairField):
    pass


class TagKey(RunId):
    key: Text = Field(examples=["team"])


class LogBatch(RunId):
    metrics: list[MetricField] = Field(default_factory=list)
    params: list[PairField] = Field(default_factory=list)
    tags: list[PairField] = Field(default_factory=list)

    @property
    def names(self) -> Iterable[Placed]:
        """All names in it, with their places."""
        return in_batch(
            metrics=(each["key"] for each in self.metrics),
            params=(each.key for each in self.params),
            tags=(each.key for each in self.tags),
        )


class LogModel(RunId):
    model_json: Text = Field(
        description="The MLmodel file of what was logged, as JSON.",
        examples=[
            '{"artifact_path": "model", "flavors": {}, "run_id": "…", "utc_time_created": "2026-11-26 09:00:00"}'
        ],
    )


class DatasetField(Request):
    name: Text = Field(max_length=MAX_LENGTHS["name"])
    digest: Text = Field(max_length=MAX_LENGTHS["digest"])
    source_type: Text = Field(max_length=MAX_LENGTHS["source_type"])
    source: Text = Field(max_length=MAX_LENGTHS["source"])
    schema_: Text = Field("", alias="schema", max_length=MAX_LENGTHS["schema"])
    profile: Text = Field("", max_length=MAX_LENGTHS["profile"])


class InputTagField(PairField):
    key: Text = Field(max_length=MAX_TAG_KEY)
    value: Text = Field("", max_length=MAX_TAG_VALUE)


class DatasetInputField(Request):
    dataset: DatasetField
    tags: list[InputTagField] = Field(default_factory=list)

    @property
    def used(self) -> DatasetInput:
        given = self.dataset
        dataset = Dataset(given.name, given.digest, given.source_type, given.source, given.schema_, given.profile)
        return DatasetInput(dataset, last_wins(self.tags))


class ModelInputField(Request):
    model_id: Text


class LogInputs(RunId):
    datasets: list[DatasetInputField] = Field(default_factory=list)
    models: list[ModelInputField] = Field(default_factory=list)


class ModelOutputField(Request):
    model_id: Text
    step: Int64 = 0


class LogOutputs(RunId):
    models: list[ModelOutputField] = Field(default_factory=list)


class SearchRuns(Request):
    experiment_ids: list[Identifier] = Field(default_factory=list)
    filter: Text = Field("", examples=["metrics.auc > 0.9 AND params.model = 'gbm'"])
    run_view_type: ViewType = ViewType.ACTIVE_ONLY
    max_results: Int64 = Field(1000, description="1 to 50,000.")
    order_by: list[Text] = Field(default_factory=list, examples=[["metrics.auc DESC"]])
    page_token: Text = ""


@routes.on("POST", "runs/create")
def create_run(here: Backend, request: CreateRun) -> answers.OneRun:
    """Create a run."""
    run = here.store.create_run(
        request.experiment_id,
        name=request.run_name or None,
        user_id=request.user_id,
        start_time=request.start_time,
        tags=last_wins(request.tags),
    )
    return {"run": answers.run(run)}


@routes.on("GET", "runs/get")
def get_run(here: Backend, request: RunId) -> answers.OneRun:
    """Get a run with its params, tags, inputs, outputs and the latest value of each metric."""
    return {"run": answers.run(here.store.get_run(request.id))}


@routes.on("POST", "runs/update")
def update_run(here: Backend, request: UpdateRun) -> answers.OneRunInfo:
    """Change status, end time or name of a run; what is absent stays."""
    run = here.store.update_run(
        request.id, status=request.status, end_time=request.end_time, name=request.run_name or None
    )
    return {"run_info": answers.info(run)}


@routes.on("POST", "runs/delete")
def delete_run(here: Backend, request: RunId) -> Empty:
    """Mark a run deleted."""
    here.store.delete_run(request.id)
    return {}


@routes.on("POST", "runs/restore")
def restore_run(here: Backend, request: RunId) -> Empty:
    """Make a deleted run active again."""
    here.store.restore_run(request.id)
    return {}


@routes.on("POST", "runs/log-metric", quick=True)
def log_metric(here: Backend, request: LogMetric) -> Empty:
    """Log one point of a metric."""
    point = request.metric
    of_model = []
    if request.model_id:
        of_model = [ModelMetric(request.model_id, point, request.dataset_name, request.dataset_digest)]
    try:
        here.store.log_batch(request.id, metrics=[point], model_metrics=of_model)
    except InvalidNameError as error:
        raise placed(error, [("metric", "name", request.key)]) from error
    return {}


@routes.on("POST", "runs/log-parameter", quick=True)
def log_parameter(here: Backend, request: LogPair) -> Empty:
    """Log a param, which never changes afterwards."""
    try:
        here.store.log_batch(request.id, params={request.key: request.value})
    except InvalidNameError as error:
        raise placed(error, [("param", "key", request.key)]) from error
    return {}


@routes.on("POST", "runs/set-tag", quick=True)
def set_tag(here: Backend, request: LogPair) -> Empty:
    """Set a tag of a run."""
    try:
        here.store.log_batch(request.id, tags={request.key: request.value})
    except InvalidNameError as error:
        raise placed(error, [("tag", "key", request.key)]) from error
    return {}


@routes.on("POST", "runs/delete-tag")
def delete_tag(here: Backend, request: TagKey) -> Empty:
    """Delete a tag of a run."""
    here.store.delete_tag(request.id, request.key)
    return {}


@routes.on("POST", "runs/log-batch")
def log_batch(here: Backend, request: LogBatch) -> Empty:
    """Log metrics, params and tags together: all of them or none."""
    _check_size(request)
    points = [_point(each) for each in request.metrics]
    try:
        here.store.log_batch(
            request.id,
            metrics=points,
            params=params(request.params),
            tags=last_wins(request.tags),
            model_metrics=[
                ModelMetric(model_id, point, each.get("dataset_name", ""), each.get("dataset_digest", ""))
                for each, point in zip(request.metrics, points, strict=True)
                if (model_id := each.get("model_id"))
            ],
        )
    except InvalidNameError as error:
        raise placed(error, request.names) from error
    return {}


@routes.on("POST", "runs/log-model")
def log_model(here: Backend, request: LogModel) -> Empty:
    """Note that a run logged a model, in the tag `mlflow.log-model.history`."""
    try:
        model = json.loads(request.model_json)
    except ValueError as error:
        raise InvalidInputError(f"Malformed model info. 'model_json' is no JSON: {error}.") from error
    missing = sorted({"artifact_path", "flavors", "utc_time_created", "run_id"} - set(model))
    if missing:
        raise InvalidInputError(f"Model json is missing mandatory fields: {missing}. Send the MLmodel file as JSON.")
    here.store.append_to_tag(request.id, LOGGED_MODELS_TAG, model)
    return {}


@routes.on("POST", "runs/log-inputs")
def log_inputs(here: Backend, request: LogInputs) -> Empty:
    """Note which data sets and models a run used."""
    models = [each.model_id for each in request.models]
    here.store.log_inputs(request.id, [each.used for each in request.datasets], models=models)
    return {}


@routes.on("POST", "runs/outputs")
def log_outputs(here: Backend, request: LogOutputs) -> Empty:
    """Note which models a run made."""
    here.store.log_outputs(request.id, [ModelOutput(each.model_id, each.step) for each in request.models])
    return {}


@routes.on("POST", "runs/search")
def search_runs(here: Backend, request: SearchRuns) -> answers.SomeRuns:
    """Search runs, the newest first unless an order is given."""
    page = here.store.search_runs(
        request.experiment_ids,
        request.filter,
        request.order_by,
        request.run_view_type,
        request.max_results,
        request.page_token or None,
    )
    return answers.some_runs(page)


def _point(given: MetricField) -> Metric:
    return Metric(given["key"], given["value"], given["timestamp"], given.get("step", 0))


def _check_size(request: LogBatch) -> None:
    sizes = {"metrics": len(request.metrics), "params": len(request.params), "tags": len(request.tags)}
    for what, limit in (("metrics", MAX_METRICS), ("params", MAX_PAIRS), ("tags", MAX_PAIRS)):
        if sizes[what] > limit:
            raise InvalidInputError(
                f"A batch logging request can contain at most {limit} {what}. Got {sizes[what]} {what}. Please split "
                f"up {what} across multiple requests and try again."
            )
    if (total := sum(sizes.values())) > MAX_ENTITIES:
        raise InvalidInputError(
            f"A batch logging request can contain at most {MAX_ENTITIES} metrics, params and tags altogether. Got "
            f"{total}. Please split them up across multiple requests and try again."
        )
