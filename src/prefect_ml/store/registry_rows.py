"""What the nouns of the registry share: one writer at a time, and finding a model or a version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, Row, bindparam, select, text, update

from prefect_ml.errors import NotFoundError
from prefect_ml.store.origin import here, within
from prefect_ml.store.registry_names import check_version, is_text
from prefect_ml.store.registry_tables import model_versions, registered_models
from prefect_ml.store.rows import Rows, now

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# Made once: to make a statement costs as much as to execute it.
_MODEL = select(registered_models).where(registered_models.c.name == bindparam("name"))
_VERSION = (
    select(model_versions)
    .join_from(registered_models, model_versions, registered_models.c.id == model_versions.c.model)
    .where(registered_models.c.name == bindparam("name"), model_versions.c.version == bindparam("number"))
)
_TOUCH = (
    update(registered_models)
    .where(registered_models.c.id == bindparam("key"))
    .values(last_updated_timestamp=bindparam("at"))
)
# PostgreSQL's advisory lock of all writes of the registry: any number that nobody else uses.
_LOCK = text("SELECT pg_advisory_xact_lock(1919248237)")


class RegistryRows(Rows):
    """Base of the registry's nouns."""

    def change(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction, after every other change of the registry and before the next.

        The registry changes seldom, and every change is part of one chain of audit rows; so what `work` reads (is the
        alias protected? where is it?) stays true until it is committed.
        """
        found = here()  # another thread may do the work

        def alone(connection: Connection) -> T:
            if connection.dialect.name == "postgresql":
                connection.execute(_LOCK)
            with within(lambda: found):
                return work(connection)

        return self.database.write(alone)


def find_model(connection: Connection, name: str) -> Row[Any]:
    row = connection.execute(_MODEL, {"name": name}).first() if is_text(name) else None
    if row is None:
        raise NotFoundError(
            f"Registered Model with name={name} not found. Check the name, or register a model under it."
        )
    return row


def find_version(connection: Connection, name: str, version: int) -> Row[Any]:
    """The row of a version; `NotFoundError` also when there is no such model."""
    number = check_version(version)
    row = connection.execute(_VERSION, {"name": name, "number": number}).first() if is_text(name) else None
    if row is None:
        model = find_model(connection, name)
        raise NotFoundError(
            f"Model Version (name={name}, version={version}) not found. "
            f"Versions up to {model.last_version} were made; see them with: prefect-ml models show {name}"
        )
    return row


def touch_model(connection: Connection, model: int, **values: Any) -> None:
    """Change columns of a model, and note when."""
    connection.execute(_TOUCH.values(**values) if values else _TOUCH, {"key": model, "at": now()})


def touch_version(connection: Connection, model: int, version: int, **values: Any) -> None:
    """Change columns of a version, and note when."""
    wanted = (model_versions.c.model == model) & (model_versions.c.version == version)
    statement = update(model_versions).where(wanted)
    connection.execute(statement.values(last_updated_timestamp=now(), **values))
