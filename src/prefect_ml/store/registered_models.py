"""Registered models: created, described, tagged, renamed and deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete, insert, select, update

from prefect_ml.entities import RegisteredModel
from prefect_ml.errors import AlreadyExistsError
from prefect_ml.store import registry_names as names
from prefect_ml.store.aliases import aliases_on, drop_alias, move_alias
from prefect_ml.store.audit import record
from prefect_ml.store.policies import refuse_protected
from prefect_ml.store.prompts import PROMPT_TAG, is_prompt
from prefect_ml.store.registry_load import load_model
from prefect_ml.store.registry_rows import RegistryRows, find_model, touch_model
from prefect_ml.store.registry_tables import (
    model_version_tags,
    model_versions,
    registered_model_tags,
    registered_models,
)
from prefect_ml.store.requests import supersede_open
from prefect_ml.store.routed import refuse_routed
from prefect_ml.store.rows import now
from prefect_ml.store.statements import upsert
from prefect_ml.store.webhook_outbox import model_created, model_tag_changed

if TYPE_CHECKING:
    from collections.abc import Mapping


class RegisteredModelRows(RegistryRows):
    def create_registered_model(
        self, name: str, description: str = "", tags: Mapping[str, str] | None = None
    ) -> RegisteredModel:
        names.check_model_name(name)
        names.check_words("The description", description, names.MAX_DESCRIPTION)
        checked = names.check_tags(tags)

        def work(connection: Connection) -> RegisteredModel:
            _refuse_taken(connection, name, prompt=checked.get(PROMPT_TAG) == "true")
            at = now()
            values = {"name": name, "description": description, "last_version": 0}
            values |= {"creation_timestamp": at, "last_updated_timestamp": at}
            connection.execute(insert(registered_models), values)
            model = find_model(connection, name).id
            _set_tags(connection, model, checked)
            record(connection, "model-created", f"models:/{name}")
            model_created(connection, model, name, description, checked)
            return load_model(connection, name)

        return self.change(work)

    def get_registered_model(self, name: str) -> RegisteredModel:
        with self.database.read() as connection:
            return load_model(connection, find_model(connection, name).name)

    def update_registered_model(self, name: str, description: str) -> RegisteredModel:
        names.check_words("The description", description, names.MAX_DESCRIPTION)

        def work(connection: Connection) -> RegisteredModel:
            touch_model(connection, find_model(connection, name).id, description=description)
            return load_model(connection, name)

        return self.change(work)

    def rename_registered_model(self, name: str, new_name: str) -> RegisteredModel:
        """Give a model another name; its aliases leave the old one and come to the new one in new generations."""
        names.check_model_name(new_name, "new_name")

        def work(connection: Connection) -> RegisteredModel:
            model = find_model(connection, name).id
            _refuse_taken(connection, new_name)
            for either in (name, new_name):
                _refuse_if_protected(connection, either, model)
            refuse_routed(connection, name, f"rename the model {name!r}")
            supersede_open(connection, name, None, f"the model was renamed to {new_name!r}")
            pointing = aliases_on(connection, model)
            reason = f"renamed from {name!r} to {new_name!r}"
            for row in pointing:
                drop_alias(connection, name, row, actor="", reason=reason)
            touch_model(connection, model, name=new_name)
            versions = update(model_versions).where(model_versions.c.model == model)
            connection.execute(versions.values(last_updated_timestamp=now()))
            for row in pointing:
                move_alias(
                    connection, new_name, model, row.alias, row.version, action="alias-set", actor="", reason=reason
                )
            before, after = {"name": name}, {"name": new_name}
            record(connection, "model-renamed", f"models:/{new_name}", before=before, after=after)
            return load_model(connection, new_name)

        return self.change(work)

    def delete_registered_model(self, name: str) -> None:
        """Delete a model with its versions, tags and aliases; its history and its audit rows stay."""

        def work(connection: Connection) -> None:
            row = find_model(connection, name)
            _refuse_if_protected(connection, name, row.id)
            refuse_routed(connection, name, f"delete the model {name!r}")
            supersede_open(connection, name, None, "the model was deleted")
            for alias in aliases_on(connection, row.id):
                drop_alias(connection, name, alias, actor="", reason="the model was deleted")
            for table in (model_version_tags, model_versions, registered_model_tags):
                connection.execute(delete(table).where(table.c.model == row.id))
            connection.execute(delete(registered_models).where(registered_models.c.id == row.id))
            record(connection, "model-deleted", f"models:/{name}", before={"last_version": row.last_version})

        self.change(work)

    def set_registered_model_tag(self, name: str, key: str, value: str) -> None:
        checked = names.check_tags({key: value})

        def work(connection: Connection) -> None:
            model = find_model(connection, name).id
            _set_tags(connection, model, checked)
            touch_model(connection, model)
            model_tag_changed(connection, model, name, key, value)

        self.change(work)

    def delete_registered_model_tag(self, name: str, key: str) -> None:
        """Remove a tag; one that is not there is no error."""
        names.check_tag_key(key)

        def work(connection: Connection) -> None:
            model = find_model(connection, name).id
            tags = registered_model_tags.c
            gone = connection.execute(delete(registered_model_tags).where(tags.model == model, tags.key == key))
            touch_model(connection, model)
            if gone.rowcount:
                model_tag_changed(connection, model, name, key, None)

        self.change(work)


def _set_tags(connection: Connection, model: int, tags: Mapping[str, str]) -> None:
    rows = [{"model": model, "key": key, "value": value} for key, value in tags.items()]
    if rows:
        connection.execute(upsert(connection, registered_model_tags, ["model", "key"], ["value"]), rows)


def _refuse_if_protected(connection: Connection, name: str, model: int) -> None:
    """Refuse what takes the model's aliases and stages from a name, or to it, where they are protected."""
    pointing = [row.alias for row in aliases_on(connection, model)]
    used = select(model_versions.c.stage).where(model_versions.c.model == model).distinct()
    refuse_protected(connection, name, None, alias=pointing, stage=sorted(connection.execute(used).scalars()))


def _refuse_taken(connection: Connection, name: str, *, prompt: bool = False) -> None:
    row = connection.execute(select(registered_models.c.id).where(registered_models.c.name == name)).first()
    if row is None:
        return
    if is_prompt(connection, row.id) != prompt:
        new, old = ("prompt", "registered model") if prompt else ("model", "prompt")
        raise AlreadyExistsError(
            f"Tried to create a {new} with name {name!r}, but the name is already taken by a {old}. "
            "MLflow does not allow creating a model and a prompt with the same name. Take another name."
        )
    what = "Prompt" if prompt else "Registered Model"
    raise AlreadyExistsError(f"{what} (name={name}) already exists. Use it, or take another name.")
