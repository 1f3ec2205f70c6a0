"""From rows to registered models and model versions: tags and aliases of many of them in one query each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, bindparam, func, literal, select, true, tuple_, union_all

from prefect_ml.entities import ModelVersion, RegisteredModel, Stage
from prefect_ml.store.registry_names import check_version, is_text
from prefect_ml.store.registry_rows import find_version
from prefect_ml.store.registry_tables import (
    aliases,
    model_version_tags,
    model_versions,
    registered_model_tags,
    registered_models,
)
from prefect_ml.store.tables import Words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Select

# Within the number of parameters that both databases take.
_CHUNK = 5000
# Made once: to make a statement costs as much as to execute it.
_ITS_TAGS = (
    select(model_version_tags.c.key, model_version_tags.c.value)
    .where(model_version_tags.c.model == bindparam("key"), model_version_tags.c.version == bindparam("number"))
    .order_by(model_version_tags.c.key)
)
_ITS_ALIASES = (
    select(aliases.c.alias)
    .where(aliases.c.model == bindparam("key"), aliases.c.version == bindparam("number"))
    .order_by(aliases.c.alias)
)


def select_versions() -> Select[Any]:
    """Rows that `load_versions` understands: those of versions, each with its model's `name`."""
    joined = registered_models.c.id == model_versions.c.model
    return select(model_versions, registered_models.c.name).join_from(model_versions, registered_models, joined)


_ONE = select_versions().where(
    model_versions.c.model == bindparam("key"), model_versions.c.version == bindparam("number")
)
_NAMED = select_versions().where(
    registered_models.c.name == bindparam("name"), model_versions.c.version == bindparam("number")
)


def load_model(connection: Connection, name: str) -> RegisteredModel:
    query = select(registered_models).where(registered_models.c.name == name)
    return load_models(connection, connection.execute(query).all())[0]


def load_models(connection: Connection, rows: Sequence[Row[Any]]) -> list[RegisteredModel]:
    """The models of rows of the table, in their order."""
    models = [row.id for row in rows]
    tags: dict[int, dict[str, str]] = {model: {} for model in models}
    found = select(registered_model_tags).where(registered_model_tags.c.model.in_(models))
    for model, key, value in connection.execute(found.order_by(registered_model_tags.c.key)):
        tags[model][key] = value
    pointing: dict[int, dict[str, int]] = {model: {} for model in models}
    set_aliases = select(aliases.c.model, aliases.c.alias, aliases.c.version).where(aliases.c.model.in_(models))
    for model, alias, version in connection.execute(set_aliases.order_by(aliases.c.alias)):
        pointing[model][alias] = version
    latest = load_latest(connection, models)
    return [
        RegisteredModel(
            name=row.name,
            creation_timestamp=row.creation_timestamp,
            last_updated_timestamp=row.last_updated_timestamp,
            description=row.description,
            tags=tags[row.id],
            aliases=pointing[row.id],
            latest_versions=tuple(latest[row.id]),
        )
        for row in rows
    ]


def load_latest(
    connection: Connection, models: Sequence[int], stages: Sequence[Stage] = ()
) -> dict[int, list[ModelVersion]]:
    """The highest version of each stage of each model, by version; of the named stages only, if any is named."""
    versions, named = model_versions.c, [literal(stage.value, Words) for stage in sorted(set(stages or Stage))]
    staged = union_all(*(select(each.label("stage")) for each in named)).subquery()
    # One look into the index for each stage of a model, however many versions there are.
    of = model_versions.alias()
    newest = select(func.max(of.c.version)).where(of.c.model == registered_models.c.id, of.c.stage == staged.c.stage)
    highest = select(registered_models.c.id, newest.scalar_subquery()).join_from(registered_models, staged, true())
    highest = highest.where(registered_models.c.id.in_(models))
    query = select_versions().where(tuple_(versions.model, versions.version).in_(highest))
    rows = connection.execute(query.order_by(versions.model, versions.version)).all()
    found: dict[int, list[ModelVersion]] = {model: [] for model in models}
    for row, version in zip(rows, load_versions(connection, rows), strict=True):
        found[row.model].append(version)
    return found


def load_versions(connection: Connection, rows: Sequence[Row[Any]]) -> list[ModelVersion]:
    """The versions of rows of `select_versions`, in their order."""
    found: list[ModelVersion] = []
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK]
        keys = [(row.model, row.version) for row in part]
        tags = _version_tags(connection, keys)
        pointing = _version_aliases(connection, keys)
        found += [_version(row, tags[row.model, row.version], pointing[row.model, row.version]) for row in part]
    return found


def load_version(connection: Connection, model: int, version: int) -> ModelVersion:
    return _whole(connection, connection.execute(_ONE, {"key": model, "number": version}).one())


def load_named_version(connection: Connection, name: str, version: int) -> ModelVersion:
    """A version by its name and number; `NotFoundError` when there is none, as from `find_version`."""
    named = {"name": name, "number": check_version(version)}
    row = connection.execute(_NAMED, named).first() if is_text(name) else None
    if row is None:
        return load_version(connection, find_version(connection, name, version).model, version)
    return _whole(connection, row)


def _whole(connection: Connection, row: Row[Any]) -> ModelVersion:
    its = {"key": row.model, "number": row.version}
    tags = {tag.key: tag.value for tag in connection.execute(_ITS_TAGS, its)}
    return _version(row, tags, list(connection.execute(_ITS_ALIASES, its).scalars()))


def _version(row: Row[Any], tags: dict[str, str], pointing: list[str]) -> ModelVersion:
    return ModelVersion(
        name=row.name,
        version=row.version,
        creation_timestamp=row.creation_timestamp,
        last_updated_timestamp=row.last_updated_timestamp,
        source=row.source,
        run_id=row.run_id,
        stage=Stage(row.stage),
        description=row.description,
        artifact_digest=row.artifact_digest,
        tags=tags,
        aliases=tuple(pointing),
        model_id=row.model_id,
        run_link=row.run_link,
        location=row.location,
    )


def _version_tags(connection: Connection, keys: list[tuple[int, int]]) -> dict[tuple[int, int], dict[str, str]]:
    found: dict[tuple[int, int], dict[str, str]] = {key: {} for key in keys}
    tags = model_version_tags.c
    query = select(model_version_tags).where(tuple_(tags.model, tags.version).in_(keys)).order_by(tags.key)
    for model, version, key, value in connection.execute(query):
        found[model, version][key] = value
    return found


def _version_aliases(connection: Connection, keys: list[tuple[int, int]]) -> dict[tuple[int, int], list[str]]:
    found: dict[tuple[int, int], list[str]] = {key: [] for key in keys}
    query = select(aliases.c.model, aliases.c.version, aliases.c.alias)
    query = query.where(tuple_(aliases.c.model, aliases.c.version).in_(keys)).order_by(aliases.c.alias)
    for model, version, alias in connection.execute(query):
        found[model, version].append(alias)
    return found
