"""Recording in the current run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect_ml.api.here import flow_run_here
from prefect_ml.errors import NoActiveRunError
from prefect_ml.tracking import current, start
from prefect_ml.tracking.outlet import flush_all
from prefect_ml.tracking.run import ActiveRun

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from prefect_ml.entities import Dataset

_DEFAULT_EXPERIMENT = "Default"


def current_run() -> ActiveRun:
    """The innermost run here: of `start_run`, or of the tracked flow that this code or its task runs in.

    Raises:
        NoActiveRunError: there is none.
    """
    flow_run_id = flow_run_here()
    if (run := current.find_run()) is not None:
        return run
    if flow_run_id is not None:
        raise NoActiveRunError(
            "The flow run here is not tracked, so there is no run to record in: put @prefect_ml.track(...) "
            "above its @flow, or pass the handle of another run (`prefect_ml.current_run()`) to the task."
        )
    raise NoActiveRunError(
        "There is no run to record in: call this inside a flow decorated with @prefect_ml.track(...), "
        "or inside `with prefect_ml.start_run(experiment=...):`. A new thread needs "
        "`contextvars.copy_context().run`."
    )


def start_run(
    experiment: str | None = None, name: str | None = None, *, tags: Mapping[str, Any] | None = None
) -> AbstractContextManager[ActiveRun]:
    """A run for the body of a `with`; inside of another run its child, and in its experiment.

    An exception ends it FAILED, an interrupt KILLED.

    Args:
        experiment: name, created when it does not exist; "Default" when there is no run around it.
        name: made up by default.
        tags: tags of the run.
    """
    flow_run_id, parent = flow_run_here(), current.find_run()
    if experiment is None:
        experiment = _DEFAULT_EXPERIMENT if parent is None else parent.outlet.experiment or _DEFAULT_EXPERIMENT
    return start.started(experiment, name, parent=parent, tags=tags, flow_run_id=flow_run_id)


def autolog(libraries: Sequence[str] | None = None, *, disable: bool = False) -> None:
    """Record what training libraries do in the runs of this process from now on; see `docs/autolog.md`.

    Args:
        libraries: "sklearn", "xgboost", "lightgbm", "lightning", "keras"; all by default. They need not be installed.
        disable: record nothing by itself any more, and leave the libraries as they are without this.

    Raises:
        InvalidInputError: an unknown library.
    """
    from prefect_ml.tracking.autolog import switch  # noqa: PLC0415 - only those who use it pay for its import

    switch.disable() if disable else switch.enable(libraries)


def log_param(key: str, value: object) -> None:
    """Record a param of the current run; see `ActiveRun.log_params`."""
    current_run().log_param(key, value)


def log_params(params: Mapping[str, Any]) -> None:
    """Record params of the current run; see `ActiveRun.log_params`."""
    current_run().log_params(params)


def log_metric(key: str, value: object, step: int = 0, timestamp: int | None = None) -> None:
    """Record a point of a curve of the current run; see `ActiveRun.log_metrics`."""
    current_run().log_metric(key, value, step, timestamp)


def log_metrics(metrics: Mapping[str, Any], step: int = 0, timestamp: int | None = None) -> None:
    """Record a point of each curve of the current run; see `ActiveRun.log_metrics`."""
    current_run().log_metrics(metrics, step, timestamp)


def set_tag(key: str, value: object) -> None:
    """Set a tag of the current run."""
    current_run().set_tag(key, value)


def set_tags(tags: Mapping[str, Any]) -> None:
    """Set tags of the current run."""
    current_run().set_tags(tags)


def log_input(
    data: Any,
    name: str | None = None,
    *,
    context: str | None = "training",
    source: str | Path | None = None,
    tags: Mapping[str, Any] | None = None,
) -> Dataset:
    """Record that the current run uses a data set; see `ActiveRun.log_input`."""
    return current_run().log_input(data, name, context=context, source=source, tags=tags)


def log_artifact(path: str | Path, folder: str = "") -> None:
    """Keep a file with the current run; see `ActiveRun.log_artifact`."""
    current_run().log_artifact(path, folder)


def log_artifacts(path: str | Path, folder: str = "") -> None:
    """Keep everything below a folder with the current run; see `ActiveRun.log_artifacts`."""
    current_run().log_artifacts(path, folder)


def log_text(text: str, name: str) -> None:
    """Keep text with the current run; see `ActiveRun.log_text`."""
    current_run().log_text(text, name)


def log_dict(content: Mapping[str, Any] | list[Any], name: str) -> None:
    """Keep plain data with the current run; see `ActiveRun.log_dict`."""
    current_run().log_dict(content, name)


def log_figure(figure: Any, name: str) -> None:
    """Keep a figure with the current run; see `ActiveRun.log_figure`."""
    current_run().log_figure(figure, name)


def flush(timeout: float | None = None) -> bool:
    """Wait until everything that this process recorded is in the store; whether it is.

    Args:
        timeout: seconds; the setting `flush_timeout` by default.
    """
    return flush_all(timeout)
