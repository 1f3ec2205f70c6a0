"""From what people name to an origin."""

from __future__ import annotations

from functools import partial

from prefect_ml.errors import InvalidInputError
from prefect_ml.moving.mlflow_database import MlflowDatabaseOrigin
from prefect_ml.moving.origin import Origin
from prefect_ml.moving.own import OwnOrigin
from prefect_ml.moving.places import open_place
from prefect_ml.moving.rest import RestOrigin
from prefect_ml.store.contract import Store


def mlflow_origin(uri: str, artifact_root: str | None = None) -> Origin:
    """The origin at a tracking URI (http, https) or the URL of MLflow's database (sqlite, postgresql).

    Args:
        uri: the URI.
        artifact_root: for a database, where its server kept the files of `mlflow-artifacts:/…`.

    Raises:
        InvalidInputError: it is none of these.
    """
    scheme = uri.partition(":")[0].lower()
    if scheme in ("http", "https"):
        return RestOrigin(uri)
    if scheme.startswith(("sqlite", "postgres")):
        return MlflowDatabaseOrigin(uri, artifact_root)
    raise InvalidInputError(
        "MLflow is imported from http://host:5000 of a server, or from sqlite:////folder/mlflow.db or "
        "postgresql://user@host/database. For a folder of runs (mlruns), start `mlflow server` on it."
    )


def own_origin(store: Store) -> Origin:
    """A store of ours as the origin."""
    return OwnOrigin(store, partial(open_place, store))
