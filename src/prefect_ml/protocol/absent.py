"""What MLflow has and this server has not: it answers 501 with a sentence, so that nobody searches for the reason."""

from __future__ import annotations

import re

from prefect_ml.http.refusal import RefusedError

_PATH = re.compile(r"/(?:ajax-)?api/[0-9.]+/mlflow/(?P<noun>[\w\-]+)(?:/.*)?")
_NOUNS = {
    "assessments": "assessments",
    "datasets": "evaluation data sets",
    "gateway": "model gateways",
    "gateway-proxy": "model gateways",
    "issues": "issues of traces",
    "jobs": "jobs",
    "scorers": "scorers",
    "trace": "traces",
    "traces": "traces",
}
_ALONE = {
    "/ajax-api/2.0/mlflow/get-trace-artifact": "traces",
    "/ajax-api/2.0/mlflow/runs/create-promptlab-run": "prompt lab",
    "/graphql": "GraphQL endpoint",
    "/v1/traces": "traces",
}


def refuse_absent(path: str) -> None:
    """Refuse a path of what is not here.

    Raises:
        RefusedError: 501 NOT_IMPLEMENTED.
    """
    match = _PATH.fullmatch(path)
    what = _ALONE.get(path) or (_NOUNS.get(match["noun"]) if match else None)
    if what is not None:
        raise RefusedError(
            501,
            "NOT_IMPLEMENTED",
            f"This server has no {what}. Send them to one that does, and runs, models and the registry here.",
        )
