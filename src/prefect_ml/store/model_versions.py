"""Versions of registered models: added, described, tagged and deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, delete, insert

from prefect_ml.entities import ModelVersion, Stage
from prefect_ml.errors import InactiveError
from prefect_ml.store import registry_names as names
from prefect_ml.store.aliases import aliases_on, drop_alias
from prefect_ml.store.audit import record
from prefect_ml.store.held import being_removed
from prefect_ml.store.names import check_text
from prefect_ml.store.policies import refuse_protected
from prefect_ml.store.registry_load import load_named_version, load_version
from prefect_ml.store.registry_rows import RegistryRows, find_model, find_version, touch_model, touch_version
from prefect_ml.store.registry_tables import model_version_tags, model_versions
from prefect_ml.store.requests import supersede_open
from prefect_ml.store.routed import refuse_routed
from prefect_ml.store.rows import now
from prefect_ml.store.statements import upsert
from prefect_ml.store.version_location import origin_of
from prefect_ml.store.webhook_outbox import version_created, version_tag_changed

if TYPE_CHECKING:
    from collections.abc import Mapping


class ModelVersionRows(RegistryRows):
    def create_model_version(
        self,
        name: str,
        source: str,
        *,
        run_id: str | None = None,
        description: str = "",
        artifact_digest: str = "",
        tags: Mapping[str, str] | None = None,
        model_id: str = "",
        run_link: str = "",
    ) -> ModelVersion:
        names.check_words("The source", source, names.MAX_SOURCE, needed=True)
        names.check_words("The description", description, names.MAX_DESCRIPTION)
        values: dict[str, Any] = {
            "source": source,
            "run_id": None if run_id is None else check_text("A run id", run_id),
            "description": description,
            "artifact_digest": names.check_words("The digest", artifact_digest),
            "run_link": names.check_words("The link to a run", run_link),
            "stage": Stage.NONE,
        }
        names.check_words("The id of a logged model", model_id)
        checked = names.check_tags(tags)

        def work(connection: Connection) -> ModelVersion:
            model = find_model(connection, name)
            version = model.last_version + 1
            at = now()
            origin = origin_of(connection, source)
            row = {"model": model.id, "version": version, "creation_timestamp": at, "last_updated_timestamp": at}
            row |= {"location": origin.location, "model_id": model_id or origin.model_id}
            facts = values | {"artifact_digest": artifact_digest or origin.digest}
            if run_id is None:
                facts["run_id"] = origin.run_id
            if going := being_removed(connection, [source, facts["run_id"], row["model_id"], row["location"]]):
                raise InactiveError(f"{going} is being removed for good; register what stays.")
            connection.execute(insert(model_versions), row | facts)
            touch_model(connection, model.id, last_version=version)
            _set_tags(connection, model.id, version, checked)
            after = {"source": source, "run_id": facts["run_id"], "digest": facts["artifact_digest"]}
            record(connection, "version-created", f"models:/{name}/{version}", after=after)
            version_created(connection, model.id, name, version, facts | {"tags": checked})
            return load_version(connection, model.id, version)

        return self.change(work)

    def record_digest(self, name: str, version: int, digest: str) -> ModelVersion:
        names.check_words("The digest", digest, needed=True)

        def work(connection: Connection) -> ModelVersion:
            row = find_version(connection, name, version)
            if not row.artifact_digest:
                touch_version(connection, row.model, version, artifact_digest=digest)
                record(connection, "digest-recorded", f"models:/{name}/{version}", after={"digest": digest})
            return load_version(connection, row.model, version)

        return self.change(work)

    def get_model_version(self, name: str, version: int) -> ModelVersion:
        with self.database.read() as connection:
            return load_named_version(connection, name, version)

    def update_model_version(self, name: str, version: int, description: str) -> ModelVersion:
        names.check_words("The description", description, names.MAX_DESCRIPTION)

        def work(connection: Connection) -> ModelVersion:
            model = find_version(connection, name, version).model
            touch_version(connection, model, version, description=description)
            return load_version(connection, model, version)

        return self.change(work)

    def delete_model_version(self, name: str, version: int) -> None:
        """See `ModelStore.delete_model_version`; its tags go as well."""

        def work(connection: Connection) -> None:
            row = find_version(connection, name, version)
            pointing = aliases_on(connection, row.model, version)
            names_of = [a.alias for a in pointing]
            refuse_protected(connection, name, None, alias=names_of, stage=[row.stage])
            refuse_routed(connection, name, f"delete version {version} of {name!r}", version=version, alias=names_of)
            supersede_open(connection, name, version, f"version {version} was deleted")
            for alias in pointing:
                drop_alias(connection, name, alias, actor="", reason=f"version {version} was deleted")
            for table in (model_version_tags, model_versions):
                connection.execute(delete(table).where(table.c.model == row.model, table.c.version == version))
            touch_model(connection, row.model)
            before = {"source": row.source, "run_id": row.run_id, "digest": row.artifact_digest}
            record(connection, "version-deleted", f"models:/{name}/{version}", before=before)

        self.change(work)

    def set_model_version_tag(self, name: str, version: int, key: str, value: str) -> None:
        checked = names.check_tags({key: value})

        def work(connection: Connection) -> None:
            model = find_version(connection, name, version).model
            _set_tags(connection, model, version, checked)
            touch_version(connection, model, version)
            version_tag_changed(connection, model, name, version, key=key, value=value)

        self.change(work)

    def delete_model_version_tag(self, name: str, version: int, key: str) -> None:
        """Remove a tag; one that is not there is no error."""
        names.check_tag_key(key)

        def work(connection: Connection) -> None:
            model = find_version(connection, name, version).model
            tags = model_version_tags.c
            wanted = (tags.model == model) & (tags.version == version) & (tags.key == key)
            gone = connection.execute(delete(model_version_tags).where(wanted))
            touch_version(connection, model, version)
            if gone.rowcount:
                version_tag_changed(connection, model, name, version, key=key, value=None)

        self.change(work)


def _set_tags(connection: Connection, model: int, version: int, tags: Mapping[str, str]) -> None:
    rows = [{"model": model, "version": version, "key": key, "value": value} for key, value in tags.items()]
    if rows:
        keys = ["model", "version", "key"]
        connection.execute(upsert(connection, model_version_tags, keys, ["value"]), rows)
