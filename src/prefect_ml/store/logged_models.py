"""Logged models: created, finalized, tagged and deleted."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete, insert, select, update

from prefect_ml.entities import LifecycleStage, LoggedModel, LoggedModelStatus
from prefect_ml.errors import AlreadyExistsError, NotFoundError, ParamConflictError
from prefect_ml.store.experiments import active_experiment, artifact_location
from prefect_ml.store.logged_model_load import find_logged_model, load_logged_model
from prefect_ml.store.logged_model_names import check_final, check_logged_model_name, check_model_id
from prefect_ml.store.logged_model_tables import logged_model_params, logged_model_tags, logged_models
from prefect_ml.store.names import check_text
from prefect_ml.store.registry_names import check_tag_key, check_tags, check_words
from prefect_ml.store.rows import Rows, now
from prefect_ml.store.run_names import made_up_name
from prefect_ml.store.statements import upsert

if TYPE_CHECKING:
    from collections.abc import Mapping


class LoggedModelRows(Rows):
    def create_logged_model(
        self,
        experiment_id: str,
        *,
        model_id: str | None = None,
        name: str | None = None,
        model_type: str = "",
        source_run_id: str = "",
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> LoggedModel:
        made = f"m-{uuid.uuid4().hex}" if model_id is None else check_model_id(model_id)
        values = {
            "model_id": made,
            "name": check_logged_model_name(name) if name else made_up_name(),
            "model_type": check_words("The type of a logged model", model_type),
            "source_run_id": check_text("A run id", source_run_id),
            "status": LoggedModelStatus.PENDING,
            "lifecycle_stage": LifecycleStage.ACTIVE,
        }
        checked_params, checked_tags = check_tags(params), check_tags(tags)

        def work(connection: Connection) -> LoggedModel:
            experiment = active_experiment(connection, experiment_id)
            root = artifact_location(experiment, self.artifact_root).rstrip("/")
            at = now()
            row = {"experiment": experiment.id, "artifact_uri": f"{root}/models/{made}/artifacts"}
            row |= {"creation_timestamp": at, "last_updated_timestamp": at}
            statement = upsert(connection, logged_models, ["model_id"], []).values(values | row)
            number = connection.execute(statement.returning(logged_models.c.id)).scalar()
            if number is None:
                raise AlreadyExistsError(f"Logged model with ID '{made}' already exists; use it or take another id.")
            _add_params(connection, number, made, checked_params)
            _set_tags(connection, number, checked_tags)
            return load_logged_model(connection, made)

        return self.database.write(work)

    def get_logged_model(self, model_id: str) -> LoggedModel:
        with self.database.read() as connection:
            return load_logged_model(connection, model_id)

    def finalize_logged_model(self, model_id: str, status: LoggedModelStatus) -> LoggedModel:
        final = check_final(status)

        def work(connection: Connection) -> LoggedModel:
            _touch(connection, find_logged_model(connection, model_id, lock=True).id, status=final)
            return load_logged_model(connection, model_id)

        return self.database.write(work)

    def delete_logged_model(self, model_id: str) -> None:
        def work(connection: Connection) -> None:
            number = find_logged_model(connection, model_id, lock=True).id
            _touch(connection, number, lifecycle_stage=LifecycleStage.DELETED, deletion_time=now())

        self.database.write(work)

    def set_logged_model_tags(self, model_id: str, tags: Mapping[str, str]) -> LoggedModel:
        checked = check_tags(tags)

        def work(connection: Connection) -> LoggedModel:
            number = find_logged_model(connection, model_id, lock=True).id
            _set_tags(connection, number, checked)
            _touch(connection, number)
            return load_logged_model(connection, model_id)

        return self.database.write(work)

    def delete_logged_model_tag(self, model_id: str, key: str) -> None:
        check_tag_key(key)

        def work(connection: Connection) -> None:
            number = find_logged_model(connection, model_id, lock=True).id
            tags = logged_model_tags.c
            gone = delete(logged_model_tags).where(tags.model == number, tags.key == key)
            if connection.execute(gone).rowcount == 0:
                raise NotFoundError(f"No tag with key '{key}' found for model with ID '{model_id}'. Check the key.")
            _touch(connection, number)

        self.database.write(work)

    def log_logged_model_params(self, model_id: str, params: Mapping[str, str]) -> LoggedModel:
        checked = check_tags(params)

        def work(connection: Connection) -> LoggedModel:
            number = find_logged_model(connection, model_id, lock=True).id
            _add_params(connection, number, model_id, checked)
            _touch(connection, number)
            return load_logged_model(connection, model_id)

        return self.database.write(work)


def _add_params(connection: Connection, number: int, model_id: str, params: Mapping[str, str]) -> None:
    """Add params to a model that nobody else changes meanwhile."""
    of = logged_model_params.c
    known = dict(connection.execute(select(of.key, of.value).where(of.model == number)).tuples().all())
    for key, value in params.items():
        if known.get(key, value) != value:
            raise ParamConflictError(
                f"Changing param values is not allowed. Param with key='{key}' was already logged with "
                f"value='{known[key]}' for model ID='{model_id}'. Attempted logging new value '{value}'."
            )
    rows = [{"model": number, "key": key, "value": value} for key, value in params.items() if key not in known]
    if rows:
        connection.execute(insert(logged_model_params), rows)


def _set_tags(connection: Connection, number: int, tags: Mapping[str, str]) -> None:
    rows = [{"model": number, "key": key, "value": value} for key, value in tags.items()]
    if rows:
        connection.execute(upsert(connection, logged_model_tags, ["model", "key"], ["value"]), rows)


def _touch(connection: Connection, number: int, **values: str | int) -> None:
    """Change columns of a logged model, and note when."""
    statement = update(logged_models).where(logged_models.c.id == number)
    connection.execute(statement.values(last_updated_timestamp=now(), **values))
