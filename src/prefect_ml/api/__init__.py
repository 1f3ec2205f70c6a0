"""The public functions: each acts on the current run, or on the store of this process's settings.

A call that reads sees everything that this process recorded before.
"""

from __future__ import annotations

from prefect_ml.api.models import get_lineage, load_model, log_model, register_model
from prefect_ml.api.promotions import approve, get_alias, promote, reject, request_promotion, request_rollback, rollback
from prefect_ml.api.reading import get_attempts, get_metric_history, get_run, get_steps, search_runs
from prefect_ml.api.runs import (
    autolog,
    current_run,
    flush,
    log_artifact,
    log_artifacts,
    log_dict,
    log_figure,
    log_input,
    log_metric,
    log_metrics,
    log_param,
    log_params,
    log_text,
    set_tag,
    set_tags,
    start_run,
)

__all__ = [
    "approve",
    "autolog",
    "current_run",
    "flush",
    "get_alias",
    "get_attempts",
    "get_lineage",
    "get_metric_history",
    "get_run",
    "get_steps",
    "load_model",
    "log_artifact",
    "log_artifacts",
    "log_dict",
    "log_figure",
    "log_input",
    "log_metric",
    "log_metrics",
    "log_model",
    "log_param",
    "log_params",
    "log_text",
    "promote",
    "register_model",
    "reject",
    "request_promotion",
    "request_rollback",
    "rollback",
    "search_runs",
    "set_tag",
    "set_tags",
    "start_run",
]
