"""prefect-ml: tracking, models, registry, promotion and serving, the Prefect way.

Nothing is imported until it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect_ml.api import (
        approve,
        autolog,
        current_run,
        flush,
        get_alias,
        get_attempts,
        get_lineage,
        get_metric_history,
        get_run,
        get_steps,
        load_model,
        log_artifact,
        log_artifacts,
        log_dict,
        log_figure,
        log_input,
        log_metric,
        log_metrics,
        log_model,
        log_param,
        log_params,
        log_text,
        promote,
        register_model,
        reject,
        request_promotion,
        request_rollback,
        rollback,
        search_runs,
        set_tag,
        set_tags,
        start_run,
    )
    from prefect_ml.errors import PrefectMLError
    from prefect_ml.flows.run_project import run_project
    from prefect_ml.registry.signing import sign_model
    from prefect_ml.store import open_store
    from prefect_ml.track import track

    __version__: str

__all__ = [
    "PrefectMLError",
    "__version__",
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
    "open_store",
    "promote",
    "register_model",
    "reject",
    "request_promotion",
    "request_rollback",
    "rollback",
    "run_project",
    "search_runs",
    "set_tag",
    "set_tags",
    "sign_model",
    "start_run",
    "track",
]

_ELSEWHERE = {
    "PrefectMLError": "prefect_ml.errors",
    "open_store": "prefect_ml.store",
    "run_project": "prefect_ml.flows.run_project",
    "sign_model": "prefect_ml.registry.signing",
    "track": "prefect_ml.track",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - only those who use it pay for its import

        found: Any = version("prefect-ml")
    else:
        found = getattr(importlib.import_module(_ELSEWHERE.get(name, "prefect_ml.api")), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
