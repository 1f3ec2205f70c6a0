"""The public functions: each acts on the current run, or on the store of this process's settings.

A call that reads sees everything that this process recorded before.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Any, Literal, overload

from prefect_ml.entities import Alias, Attempt, Metric, ModelVersion, PromotionRequest, Run, Step, ViewType
from prefect_ml.errors import InvalidInputError, NoActiveRunError
from prefect_ml.settings import Settings
from prefect_ml.store import open_store
from prefect_ml.store.experiment_ids import experiment_ids
from prefect_ml.tracking import capture, current, reaper, start
from prefect_ml.tracking.outlet import flush_all
from prefect_ml.tracking.run import ActiveRun

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime
    from pathlib import Path
    from types import ModuleType

    import pandas as pd

    from prefect_ml.entities import Dataset
    from prefect_ml.lineage.facts import Lineage
    from prefect_ml.models.folder import LoadedModel
    from prefect_ml.models.signature import Signature
    from prefect_ml.registry.policy import PromotionPolicy
    from prefect_ml.store.contract import Store
    from prefect_ml.tracking.models import LoggedModel

logger = logging.getLogger(__name__)

_PAGE = 1000
_DEFAULT_EXPERIMENT = "Default"


def current_run() -> ActiveRun:
    """The innermost run here: of `start_run`, or of the tracked flow that this code or its task runs in.

    Raises:
        NoActiveRunError: there is none.
    """
    flow_run_id = _flow_run_id()
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
    flow_run_id, parent = _flow_run_id(), current.find_run()
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


def log_model(
    model: Any,
    name: str = "model",
    *,
    input_example: Any = None,
    register: str | None = None,
    signature: Signature | None = None,
    flavor: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    allow_pickle: bool = False,
) -> LoggedModel:
    """Keep a model with the current run, and register it when asked; see `ActiveRun.log_model`."""
    return current_run().log_model(
        model,
        name,
        input_example=input_example,
        register=register,
        signature=signature,
        flavor=flavor,
        metadata=metadata,
        allow_pickle=allow_pickle,
    )


def load_model(uri: str) -> LoadedModel:
    """Load a model, verified against its recorded digest.

    Args:
        uri: `models:/<name>@<alias>`, `models:/<name>/<version>`, `runs:/<run id>/<name>` or a folder.

    Inside of a run it is recorded as an ancestor of the models that the run makes.

    Raises:
        NotFoundError: there is no such model.
        UntrustedModelError: it would unpickle, and its origin is not trusted.
    """
    from prefect_ml.registry import resolve  # noqa: PLC0415 - only those who use it pay for its import
    from prefect_ml.tracking.model_inputs import note_model  # noqa: PLC0415 - only those who use it pay for its import

    resolved = resolve.resolve(_fresh_store(), uri)
    model = resolve.load_resolved(resolved, Settings())
    with contextlib.suppress(NoActiveRunError):
        note_model(current_run(), resolved)
    return model


def register_model(
    uri: str,
    name: str,
    *,
    run_id: str | None = None,
    description: str = "",
    tags: Mapping[str, str] | None = None,
) -> ModelVersion:
    """Add the model at a URI or folder as the next version of `name`, created when it does not exist."""
    version: ModelVersion = _registry().register_model(
        _fresh_store(), uri, name, run_id=run_id, description=description, tags=tags
    )
    return version


def get_run(run_id: str) -> Run:
    """A run with its params, tags and latest metrics; `NotFoundError` when there is none."""
    return _fresh_store().get_run(run_id)


def get_metric_history(run_id: str, key: str) -> Sequence[Metric]:
    """All points of a curve, ordered by step, time and value."""
    return _fresh_store().get_metric_history(run_id, key).items


def get_attempts(run_id: str) -> Sequence[Attempt]:
    """The attempts of a run in order: a retried, resumed or rescheduled one has several; `NotFoundError` when none."""
    return _fresh_store().get_attempts(run_id)


def get_steps(run_id: str) -> Sequence[Step]:
    """The task runs of a flow's run, by start, and what each recorded; brought up to date where Prefect is reached.

    Raises:
        NotFoundError: there is no such run.
    """
    from prefect_ml.flowruns import steps  # noqa: PLC0415 - only those who use it pay for Prefect's import

    return steps.get_steps(_fresh_store(), run_id)


def get_lineage(uri: str) -> Lineage:
    """What produced a model and what became of it; see `prefect_ml.lineage.read.get_lineage`.

    Args:
        uri: as in `load_model`.
    """
    from prefect_ml.lineage import read  # noqa: PLC0415 - only those who use it pay for its import

    return read.get_lineage(_fresh_store(), uri)


@overload
def search_runs(
    experiments: str | Sequence[str] | None = None,
    filter: str = "",
    *,
    order_by: Sequence[str] = (),
    max_results: int = _PAGE,
    view_type: ViewType = ViewType.ACTIVE_ONLY,
    output: Literal["runs"] = "runs",
) -> list[Run]: ...
@overload
def search_runs(
    experiments: str | Sequence[str] | None = None,
    filter: str = "",
    *,
    order_by: Sequence[str] = (),
    max_results: int = _PAGE,
    view_type: ViewType = ViewType.ACTIVE_ONLY,
    output: Literal["pandas"],
) -> pd.DataFrame: ...
def search_runs(
    experiments: str | Sequence[str] | None = None,
    filter: str = "",
    *,
    order_by: Sequence[str] = (),
    max_results: int = _PAGE,
    view_type: ViewType = ViewType.ACTIVE_ONLY,
    output: Literal["runs", "pandas"] = "runs",
) -> list[Run] | pd.DataFrame:
    """Find runs, newest first unless ordered otherwise.

    Args:
        experiments: names or ids; all active ones by default.
        filter: in MLflow's language, for example "metrics.auc > 0.9 and params.c = '1.0'".
        order_by: for example ["metrics.auc DESC"].
        max_results: how many at most.
        view_type: active runs, deleted ones, or both.
        output: "runs" for a list of `Run`, "pandas" for a DataFrame, a column each param, metric and tag.

    Raises:
        InvalidFilterError: `filter` or `order_by` does not parse.
        NotFoundError: there is no such experiment.
    """
    if output not in ("runs", "pandas"):
        raise InvalidInputError(f'output is "runs" or "pandas", not {output!r}.')
    store = _fresh_store()
    ids = experiment_ids(store, experiments)
    found: list[Run] = []
    token: str | None = None
    while len(found) < max_results and ids:
        size = min(_PAGE, max_results - len(found))
        page = store.search_runs(ids, filter, order_by, view_type, size, token)
        found += page.items
        token = page.next_token
        if token is None:
            break
    if output == "runs":
        return found
    from prefect_ml.tracking.run_table import runs_frame  # noqa: PLC0415 - only those who use it pay for its import

    return runs_frame(found)


def request_promotion(
    name: str,
    version: int,
    alias: str = "champion",
    *,
    requester: str | None = None,
    key: str | None = None,
    stage: str | None = None,
    policy: str | PromotionPolicy | None = None,
) -> PromotionRequest:
    """Evaluate the gates and ask for an alias; see `prefect_ml.registry.promotion.request_promotion`.

    Args:
        name: the registered model.
        version: the version that asks.
        alias: the alias to move.
        requester: who asks; the user of this process by default.
        key: makes the call idempotent.
        stage: a stage that the version enters with the move.
        policy: for an alias that no policy protects yet.
    """
    request: PromotionRequest = _registry().request_promotion(
        _fresh_store(),
        name,
        version,
        alias,
        requester=requester or capture.user(),
        key=key,
        stage=stage,
        policy=policy,
    )
    return request


def approve(request_id: str, *, actor: str | None = None, reason: str = "") -> PromotionRequest:
    """Approve a promotion request, as the user of this process by default.

    A flow run that waits for it goes on and moves the alias; without one, `promote` does.
    """
    return _decide(request_id, approve=True, actor=actor, reason=reason)


def reject(request_id: str, *, actor: str | None = None, reason: str) -> PromotionRequest:
    """Reject a promotion request, as the user of this process by default; a flow run that waits for it ends."""
    return _decide(request_id, approve=False, actor=actor, reason=reason)


def promote(request_id: str, *, actor: str | None = None) -> Alias:
    """Move the alias of an approved request, after verifying the artifact once more; idempotent."""
    moved: Alias = _registry().move(open_store(), request_id, actor=actor or capture.user())
    return moved


def rollback(name: str, alias: str = "champion", *, reason: str, actor: str | None = None) -> Alias:
    """Move an alias back at once, as the user of this process by default; a protected one only in an emergency."""
    moved: Alias = _registry().rollback(open_store(), name, alias, actor=actor or capture.user(), reason=reason)
    return moved


def get_alias(name: str, alias: str = "champion", *, at: datetime | int | None = None) -> Alias:
    """Where an alias points now, or pointed at a time; `NotFoundError` when it does, or did, not.

    Args:
        name: the registered model.
        alias: the alias.
        at: see `prefect_ml.registry.history.alias_at`; now by default.
    """
    if at is None:
        return open_store().get_alias(name, alias)
    from prefect_ml.registry import history  # noqa: PLC0415 - only those who use it pay for its import

    return history.alias_at(open_store(), name, alias, at)


def flush(timeout: float | None = None) -> bool:
    """Wait until everything that this process recorded is in the store; whether it is.

    Args:
        timeout: seconds; the setting `flush_timeout` by default.
    """
    return flush_all(timeout)


def _decide(request_id: str, *, approve: bool, actor: str | None, reason: str) -> PromotionRequest:
    who = actor or capture.user()
    decided: PromotionRequest = _registry().decide(
        open_store(), request_id, approve=approve, actor=who, reason=reason, channel="python"
    )
    if decided.flow_run_id is not None:
        from prefect_ml.flowruns import waiting  # noqa: PLC0415 - only those who use it pay for Prefect's import

        if problem := waiting.tell_waiting(decided).problem:
            logger.warning("%s", problem)
    return decided


def _registry() -> ModuleType:
    """The steps of the registry; those that tell Prefect of changes where it is in use."""
    if "prefect.context" in sys.modules:
        from prefect_ml.flowruns import announced  # noqa: PLC0415 - only those who use it pay for its import

        return announced
    from prefect_ml.registry import steps  # noqa: PLC0415 - only those who use it pay for its import

    return steps


def _flow_run_id() -> str | None:
    """The flow run here; plain scripts do not pay for Prefect's import."""
    if "prefect.context" not in sys.modules:
        return None
    from prefect_ml.track import flow_run_id_here  # noqa: PLC0415 - only those who use it pay for its import

    return flow_run_id_here()


def _fresh_store() -> Store:
    """The store, with everything in it that this process recorded, and no run that only seems to be running."""
    if not flush_all():
        logger.warning("What this process recorded last is not in the store yet, so it cannot be read.")
    store = open_store()
    reaper.end_silent(store, Settings().heartbeat_timeout)
    return store
