"""A database of MLflow's as the origin: no server of MLflow's is needed, and nothing is changed in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy import func, select

from prefect_ml.artifacts import open_artifacts
from prefect_ml.entities import Experiment, LifecycleStage, LoggedModel, Run
from prefect_ml.errors import InvalidInputError
from prefect_ml.moving.files import FolderFiles, StoredFiles
from prefect_ml.moving.mlflow_models import in_default, logged_models_of, models
from prefect_ml.moving.mlflow_runs import deletion_time_of, points_of, runs_of
from prefect_ml.moving.mlflow_tables import MlflowTables
from prefect_ml.moving.origin import Files
from prefect_ml.store.moving_contract import MovedExperiment, MovedLoggedModel, MovedModel, MovedRun

# Tables of what has no place in a store of ours, and what people call it.
_LEFT = {
    "trace_info": "traces",
    "assessments": "assessments of traces",
    "evaluation_datasets": "evaluation data sets",
    "scorers": "scorers",
    "webhooks": "webhooks",
    "endpoints": "gateway endpoints",
    "mcp_servers": "MCP servers",
    "jobs": "jobs",
}
_SERVED = "mlflow-artifacts"


class MlflowDatabaseOrigin:
    """`Origin` over MLflow's tables.

    Args:
        url: SQLAlchemy URL of the database.
        artifact_root: folder or URL where the server kept what its runs have at `mlflow-artifacts:/…` (its
            `--artifacts-destination`); needed only for those.

    Raises:
        InvalidInputError: the URL names no database of MLflow's.
    """

    def __init__(self, url: str, artifact_root: str | None = None) -> None:
        self._tables = MlflowTables(url)
        self._root = artifact_root

    @property
    def name(self) -> str:
        return self._tables.url

    def close(self) -> None:
        self._tables.close()

    def experiments(self) -> Iterator[MovedExperiment]:
        tables = self._tables
        of, tag = tables["experiments"].c, tables["experiment_tags"].c if "experiment_tags" in tables.there else None
        with tables.read() as connection:
            query = select(tables["experiments"]).where(in_default(tables, "experiments"))
            rows = connection.execute(query.order_by(of.experiment_id)).all()
            tags: dict[int, dict[str, str]] = {row.experiment_id: {} for row in rows}
            if tag is not None:
                for number, key, value in connection.execute(select(tag.experiment_id, tag.key, tag.value)):
                    tags.setdefault(number, {})[key] = value or ""
        for row in rows:
            yield MovedExperiment(
                Experiment(
                    experiment_id=str(row.experiment_id),
                    name=row.name,
                    artifact_location=row.artifact_location or "",
                    lifecycle_stage=LifecycleStage(row.lifecycle_stage or LifecycleStage.ACTIVE),
                    creation_time=getattr(row, "creation_time", None) or 0,
                    last_update_time=getattr(row, "last_update_time", None) or 0,
                    tags=tags[row.experiment_id],
                )
            )

    def runs(self, experiment: Experiment) -> Iterator[Run]:
        return runs_of(self._tables, experiment.experiment_id)

    def complete(self, run: Run) -> Run:
        return run

    def whole(self, run: Run) -> MovedRun:
        deleted = run.lifecycle_stage == LifecycleStage.DELETED
        at = deletion_time_of(self._tables, run.run_id) if deleted else None
        return MovedRun(run, points_of(self._tables, run.run_id), at)

    def logged_models(self, experiment: Experiment) -> Iterator[MovedLoggedModel]:
        return logged_models_of(self._tables, experiment.experiment_id)

    def models(self) -> Iterator[MovedModel]:
        return models(self._tables)

    def files(self, of: Run | LoggedModel) -> Files:
        uri = of.artifact_uri
        parts = urlsplit(uri)
        if parts.scheme == _SERVED:
            if self._root is None:
                raise InvalidInputError(
                    f"The files at {uri!r} lie behind a server; give the folder or URL where that server keeps them "
                    "(--artifacts), or import from the server's own URL."
                )
            return self._at(f"{self._root.rstrip('/')}/{parts.path.strip('/')}")
        return self._at(uri)

    def left_behind(self, experiments: Sequence[Experiment]) -> Sequence[str]:  # noqa: ARG002  all are counted at once
        tables = self._tables
        told = []
        with tables.read() as connection:
            for table, words in _LEFT.items():
                if table in tables.there:
                    count = connection.execute(select(func.count()).select_from(tables[table])).scalar_one()
                    if count:
                        told.append(f"Not copied: {words} ({count}).")
            elsewhere = ~in_default(tables, "experiments")
            count = connection.execute(
                select(func.count()).select_from(tables["experiments"]).where(elsewhere)
            ).scalar_one()
        if count:
            told.append(f"Not copied: experiments of other workspaces than the default one ({count}).")
        return told

    def _at(self, uri: str) -> Files:
        parts = urlsplit(uri)
        if parts.scheme not in ("", "file"):
            return StoredFiles(open_artifacts(uri))
        path = Path(unquote(parts.path) if parts.scheme else uri)
        # A relative one was relative to the server's folder, where its SQLite file usually lies.
        return FolderFiles((self._tables.folder or Path.cwd()) / path)
