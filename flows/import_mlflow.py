"""The flow that takes over what a server or a database of MLflow's has."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from prefect_ml.errors import InvalidInputError
from prefect_ml.moving.opening import mlflow_origin
from prefect_ml.moving.origin import Wanted
from prefect_ml.moving.report import Report
from prefect_ml.moving.transfer import take_over
from prefect_ml.store import open_store


@task(cache_policy=NO_CACHE, retries=5, retry_delay_seconds=[1, 5, 15, 60, 300])
def take_over_from_mlflow(
    origin: str, artifact_root: str | None, wanted: Wanted, *, threads: int, skip_unreadable: bool
) -> Report:
    """Take over what is not here yet; a retry goes on where the attempt before it ended."""
    opened = mlflow_origin(origin, artifact_root)
    try:
        return take_over(opened, open_store(), wanted, threads=threads, skip_unreadable=skip_unreadable)
    finally:
        opened.close()


@flow(name="import-mlflow", flow_run_name="import from MLflow")
def import_mlflow(  # noqa: PLR0917  the parameters of a flow are a form, filled in by name
    origin: str,
    artifact_root: str | None = None,
    experiments: list[str] | None = None,
    models: list[str] | None = None,
    threads: int = 8,
    skip_unreadable: bool = False,
) -> Any:
    """Take over experiments, runs, logged models, registered models and files from MLflow, unchanged.

    It can be run again at any time: what is here stays, what is not here yet comes. The report is a Markdown artifact
    of the flow run. A flow run in which not everything came is Completed, named "Incomplete".

    Args:
        origin: `http://host:5000` of a tracking server, or `sqlite:////folder/mlflow.db` or
            `postgresql://user@host/database` of its database. Without a password, which Prefect would keep: credentials
            are read from MLFLOW_TRACKING_TOKEN (or _USERNAME and _PASSWORD), or PGPASSWORD.
        artifact_root: for a database, the folder or URL where its server keeps what is at `mlflow-artifacts:/…`.
        experiments: by name; with `models`, all that are named, else everything.
        models: registered models by name, with the runs and logged models of their versions.
        threads: runs that are carried at once.
        skip_unreadable: whether a run comes without those of its files that cannot be read, or not at all.

    Returns:
        The report as a dict: `complete`, `counts` by kind, `points`, `files`, `bytes`, `digest`, `conflicts`,
        `failures`, `left_behind`.

    Raises:
        InvalidInputError: the origin is none, or has a password in it.
        NotFoundError: something that is named is not there.
        StoreUnavailableError: the origin or the store stayed away.
    """
    if urlsplit(origin).password is not None:
        raise InvalidInputError(
            "The origin has a password in it, and parameters of flow runs are kept and shown: leave it out, and set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or PGPASSWORD, where the flow runs."
        )
    wanted = Wanted(frozenset(experiments or ()), frozenset(models or ()))
    report = take_over_from_mlflow(origin, artifact_root, wanted, threads=threads, skip_unreadable=skip_unreadable)
    create_markdown_artifact(report.markdown(), key="import-mlflow", description=f"From {report.origin}")
    if report.complete:
        return report.document()
    told = f"{len(report.conflicts)} conflicts, {len(report.failures)} failures"
    get_run_logger().warning("Not everything came: %s. See the artifact of this run.", told)
    return Completed(name="Incomplete", message=f"Not everything came: {told}.", data=report.document())
