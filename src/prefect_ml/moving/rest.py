"""A tracking server of MLflow (or one that speaks its protocol) as the origin."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from prefect_ml.entities import ArtifactInfo, Experiment, LoggedModel, Metric, ModelMetric, Run
from prefect_ml.errors import InvalidNameError, PrefectMLError, StoreUnavailableError
from prefect_ml.moving import rest_reading as reading
from prefect_ml.moving.rest_client import RestClient
from prefect_ml.store.moving_contract import MovedExperiment, MovedLoggedModel, MovedModel, MovedRun

_API = "/api/2.0/mlflow/"
_PAGE = 1000
_POINTS = 25_000
_PROMPTS = "tags.`mlflow.prompt.is_prompt` = 'true'"
_DEEPEST = 64


class RestOrigin:
    """`Origin` over REST; what only a database tells (deleted logged models, numbers of deleted versions) is not seen.

    Args:
        url: of the server; credentials as `RestClient` takes them.
    """

    def __init__(self, url: str) -> None:
        self._client = RestClient(url)

    @property
    def name(self) -> str:
        return self._client.url

    def close(self) -> None:
        self._client.close()

    def experiments(self) -> Iterator[MovedExperiment]:
        fields = {"max_results": _PAGE, "view_type": "ALL", "order_by": ["experiment_id ASC"]}
        for given in self._client.pages("POST", f"{_API}experiments/search", fields, "experiments"):
            yield MovedExperiment(reading.read_experiment(given))

    def runs(self, experiment: Experiment) -> Iterator[Run]:
        fields = {"experiment_ids": [experiment.experiment_id], "run_view_type": "ALL", "max_results": _PAGE}
        for given in self._client.pages("POST", f"{_API}runs/search", fields, "runs"):
            yield reading.read_run(given)

    def complete(self, run: Run) -> Run:
        query = {"run_id": run.run_id, "run_uuid": run.run_id}
        return reading.read_run(self._client.get(f"{_API}runs/get", query)["run"])

    def whole(self, run: Run) -> MovedRun:
        keys = sorted(metric.key for metric in run.latest)
        return MovedRun(run, [point for key in keys for point in self._curve(run.run_id, key)])

    def logged_models(self, experiment: Experiment) -> Iterator[MovedLoggedModel]:
        fields = {"experiment_ids": [experiment.experiment_id], "max_results": 50}
        try:
            for given in self._client.pages("POST", f"{_API}logged-models/search", fields, "models"):
                yield MovedLoggedModel(self._with_nans(reading.read_logged_model(given)))
        except StoreUnavailableError:
            raise
        except PrefectMLError:
            # Servers before MLflow 3 know no logged models.
            if self._version() >= 3:  # noqa: PLR2004  the first release that has them
                raise

    def models(self) -> Iterator[MovedModel]:
        for kind in ({}, {"filter": _PROMPTS}):
            fields = {"max_results": _PAGE, **kind}
            for given in self._client.pages("GET", f"{_API}registered-models/search", fields, "registered_models"):
                yield self._whole_model(given["name"], prompt=bool(kind))

    def files(self, of: Run | LoggedModel) -> RunFiles | LoggedModelFiles:
        if isinstance(of, Run):
            return RunFiles(self._client, of.run_id)
        return LoggedModelFiles(self._client, of.model_id)

    def left_behind(self, experiments: Sequence[Experiment]) -> Sequence[str]:
        told = ["Webhooks, scorers, evaluation data sets and deleted logged models are not seen over REST."]
        for experiment in experiments:
            place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment.experiment_id}}
            try:
                found = self._client.post("/api/3.0/mlflow/traces/search", {"locations": [place], "max_results": 1})
            except StoreUnavailableError:
                raise
            except PrefectMLError:  # a server without traces has none to leave behind
                return told
            if found.get("traces"):
                told.append(f"The traces of experiment {experiment.name!r} are not copied.")
        return told

    def _whole_model(self, name: str, *, prompt: bool) -> MovedModel:
        model = reading.read_model(self._client.get(f"{_API}registered-models/get", {"name": name})["registered_model"])
        condition = f"name='{name}'" if "'" not in name else f'name="{name}"'
        fields = {"filter": f"{condition} AND {_PROMPTS}" if prompt else condition, "max_results": _PAGE}
        found = self._client.pages("GET", f"{_API}model-versions/search", fields, "model_versions")
        versions = sorted((reading.read_version(each, model.aliases) for each in found), key=lambda v: v.version)
        return MovedModel(model, versions, versions[-1].version if versions else 0)

    def _with_nans(self, model: LoggedModel) -> LoggedModel:
        """A logged model whose NaNs, which MLflow's server tells as 0, are those of the runs' curves."""
        metrics = list(model.metrics)
        for number, each in enumerate(metrics):
            if each.metric.value == 0 and self._is_nan(each):
                metrics[number] = each._replace(metric=each.metric._replace(value=math.nan))
        return dataclasses.replace(model, metrics=metrics)

    def _is_nan(self, given: ModelMetric) -> bool:
        point = given.metric
        return any(
            math.isnan(each.value) and (each.step, each.timestamp) == (point.step, point.timestamp)
            for each in self._curve(given.run_id, point.key)
        )

    def _curve(self, run_id: str, key: str) -> Iterator[Metric]:
        fields = {"run_id": run_id, "run_uuid": run_id, "metric_key": key, "max_results": _POINTS}
        found = self._client.pages("GET", f"{_API}metrics/get-history", fields, "metrics")
        return (reading.read_metric(each) for each in found)

    def _version(self) -> int:
        text = b"".join(self._client.stream("/version", {})).decode(errors="replace")
        return int(text.partition(".")[0]) if text.partition(".")[0].isdigit() else 0


class RunFiles:
    """`Files` of a run, read through the server."""

    def __init__(self, client: RestClient, run_id: str) -> None:
        self._client = client
        self._query = {"run_id": run_id, "run_uuid": run_id}

    def infos(self) -> Iterator[ArtifactInfo]:
        return self._below("", 0)

    def pieces(self, name: str) -> Iterator[bytes]:
        return self._client.stream("/get-artifact", {**self._query, "path": name})

    def _below(self, folder: str, depth: int) -> Iterator[ArtifactInfo]:
        listed = self._client.get(f"{_API}artifacts/list", {**self._query, "path": folder} if folder else self._query)
        for given in listed.get("files", []):
            yield from _listed(self._below, folder, given, depth)


class LoggedModelFiles:
    """`Files` of a logged model, read through the server."""

    def __init__(self, client: RestClient, model_id: str) -> None:
        self._client = client
        self._id = model_id

    def infos(self) -> Iterator[ArtifactInfo]:
        return self._below("", 0)

    def pieces(self, name: str) -> Iterator[bytes]:
        path = f"/ajax-api/2.0/mlflow/logged-models/{self._id}/artifacts/files"
        return self._client.stream(path, {"artifact_file_path": name})

    def _below(self, folder: str, depth: int) -> Iterator[ArtifactInfo]:
        path = f"{_API}logged-models/{self._id}/artifacts/directories"
        listed = self._client.get(path, {"artifact_directory_path": folder} if folder else {})
        for given in listed.get("files", []):
            yield from _listed(self._below, folder, given, depth)


def _listed(
    below: Callable[[str, int], Iterator[ArtifactInfo]], folder: str, given: Mapping[str, Any], depth: int
) -> Iterator[ArtifactInfo]:
    """What a listing of a folder says of one entry; all below it, when it is a folder."""
    name = str(given["path"])
    if depth >= _DEEPEST or (folder and not name.startswith(f"{folder}/")):
        raise InvalidNameError(f"The server lists {name!r} below {folder!r}, which cannot be; its answer is not used.")
    if given.get("is_dir"):
        yield from below(name, depth + 1)
    else:
        size = given.get("file_size")
        yield ArtifactInfo(name, is_folder=False, size=None if size is None else int(size))
