"""Taking over registered models: what the one here lacks is added, and what is there stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, func, insert, select, update

from prefect_ml.entities import ModelVersion, Policy, Stage
from prefect_ml.errors import AlreadyExistsError
from prefect_ml.store import registry_names as names
from prefect_ml.store.audit import record
from prefect_ml.store.held import being_removed
from prefect_ml.store.names import check_text, check_time
from prefect_ml.store.origin import here
from prefect_ml.store.policies import in_force, protecting_alias, protecting_stage
from prefect_ml.store.prompts import PROMPT_TAG, is_prompt
from prefect_ml.store.registry_rows import RegistryRows, find_model
from prefect_ml.store.registry_tables import (
    alias_moves,
    aliases,
    audit,
    model_version_tags,
    model_versions,
    registered_model_tags,
    registered_models,
)
from prefect_ml.store.requests import alias_subject
from prefect_ml.store.rows import now
from prefect_ml.store.statements import upsert

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect_ml.store.moving_contract import MovedModel


class MovingModelRows(RegistryRows):
    def take_over_model(self, moved: MovedModel, origin: str) -> Sequence[str]:
        given = moved.model
        name = names.check_model_name(given.name)
        values = {
            "name": name,
            "description": names.check_words("The description", given.description, names.MAX_DESCRIPTION),
            "creation_timestamp": check_time("creation_timestamp", given.creation_timestamp),
            "last_updated_timestamp": check_time("last_updated_timestamp", given.last_updated_timestamp),
            "last_version": max([moved.last_version, *(version.version for version in moved.versions)], default=0),
        }
        tags = names.check_tags(given.tags)
        versions = [(_checked(version), names.check_tags(version.tags)) for version in moved.versions]
        for alias in given.aliases:
            names.check_alias(alias)

        def work(connection: Connection) -> Sequence[str]:
            model = _model(connection, values, prompt=tags.get(PROMPT_TAG) == "true")
            rows = [{"model": model.id, "key": key, "value": value} for key, value in tags.items()]
            _add(connection, registered_model_tags, ["model", "key"], rows)
            policies = in_force(connection)
            added, withheld = _add_versions(connection, model, versions, policies)
            withheld += _add_aliases(connection, model, moved, origin, policies)
            highest = max(model.last_version, values["last_version"])
            connection.execute(
                update(registered_models).where(registered_models.c.id == model.id).values(last_version=highest)
            )
            after = {"origin": origin, "versions": added, "withheld": [names.clip(each) for each in withheld]}
            record(connection, "imported", f"models:/{name}", after=after)
            return withheld

        return self.change(work)


def _model(connection: Connection, values: dict[str, Any], *, prompt: bool) -> Row[Any]:
    """The row of the model, added where it is missing."""
    new = insert(registered_models).values(values)
    found = connection.execute(select(registered_models.c.id).where(registered_models.c.name == values["name"])).first()
    if found is None:
        connection.execute(new)
    elif is_prompt(connection, found.id) != prompt:
        one, other = ("prompt", "registered model") if prompt else ("registered model", "prompt")
        raise AlreadyExistsError(
            f"The name {values['name']!r} of a {one} is that of a {other} here; rename one of the two."
        )
    return find_model(connection, values["name"])


def _checked(version: ModelVersion) -> dict[str, Any]:
    return {
        "version": names.check_version(version.version),
        "creation_timestamp": check_time("creation_timestamp", version.creation_timestamp),
        "last_updated_timestamp": check_time("last_updated_timestamp", version.last_updated_timestamp),
        "source": names.check_words("The source", version.source, names.MAX_SOURCE),
        "run_id": None if version.run_id is None else check_text("A run id", version.run_id),
        "stage": names.check_stage(version.stage),
        "description": names.check_words("The description", version.description, names.MAX_DESCRIPTION),
        "artifact_digest": names.check_words("The digest", version.artifact_digest),
        "model_id": names.check_words("The id of a logged model", version.model_id),
        "run_link": names.check_words("The link", version.run_link, names.MAX_SOURCE),
        "location": names.check_words("The location", version.location, names.MAX_SOURCE),
    }


def _add_versions(
    connection: Connection,
    model: Row[Any],
    versions: Sequence[tuple[dict[str, Any], dict[str, str]]],
    policies: Sequence[Policy],
) -> tuple[list[int], list[str]]:
    """Add those whose number is free; their numbers, and what was withheld of them."""
    of = model_versions.c
    there = set(connection.execute(select(of.version).where(of.model == model.id)).scalars())
    added, withheld = [], []
    for values, tags in versions:
        number = values["version"]
        if number in there:
            continue
        if _was_deleted(connection, model.name, number):
            withheld.append(f"Version {number} of {model.name!r} was deleted here; its number is not given again.")
            continue
        if going := being_removed(connection, [values[each] for each in ("source", "run_id", "model_id", "location")]):
            withheld.append(f"Version {number} of {model.name!r} was left out: {going} is being removed for good here.")
            continue
        if values["stage"] != Stage.NONE and (policy := protecting_stage(policies, model.name, values["stage"])):
            withheld.append(
                f"Version {number} of {model.name!r} came without its stage {values['stage']}, which policy "
                f"{policy.name!r} protects; ask for it with: prefect-ml promote {model.name} {number}"
            )
            values = values | {"stage": Stage.NONE}  # noqa: PLW2901  the given ones are used again by a repetition
        connection.execute(insert(model_versions), values | {"model": model.id})
        rows = [{"model": model.id, "version": number, "key": key, "value": tags[key]} for key in tags]
        _add(connection, model_version_tags, ["model", "version", "key"], rows)
        added.append(number)
    return added, withheld


def _add_aliases(
    connection: Connection, model: Row[Any], moved: MovedModel, origin: str, policies: Sequence[Policy]
) -> list[str]:
    """Set those that are not set, on versions that are there; what was withheld."""
    withheld = []
    set_already = set(connection.execute(select(aliases.c.alias).where(aliases.c.model == model.id)).scalars())
    of = model_versions.c
    there = set(connection.execute(select(of.version).where(of.model == model.id)).scalars())
    for alias, version in sorted(moved.model.aliases.items()):
        if alias in set_already or version not in there:
            continue
        if policy := protecting_alias(policies, model.name, alias):
            withheld.append(
                f"The alias {alias!r} of {model.name!r} was not set on version {version}: policy {policy.name!r} "
                f"protects it; ask for it with: prefect-ml promote {model.name} {version} --alias {alias}"
            )
            continue
        _set_alias(connection, model, alias, version, origin)
    return withheld


def _set_alias(connection: Connection, model: Row[Any], alias: str, version: int, origin: str) -> None:
    """As moving an alias does, but without a word to webhooks, and the model keeps its times."""
    moves = alias_moves.c
    highest = select(func.max(moves.generation)).where(moves.name == model.name, moves.alias == alias)
    generation = (connection.execute(highest).scalar() or 0) + 1
    values = {"alias": alias, "version": version, "generation": generation, "previous_version": None}
    values |= {"moved_at": now(), "moved_by": here().who, "request_id": None}
    connection.execute(insert(aliases), {"model": model.id, **values})
    reason = names.clip(f"imported from {origin}")
    connection.execute(insert(alias_moves), {"name": model.name, "reason": reason, **values})
    after = {name: values[name] for name in ("version", "generation", "moved_at")}
    record(connection, "alias-set", alias_subject(model.name, alias), reason=reason, after=after)


def _was_deleted(connection: Connection, name: str, version: int) -> bool:
    rows = select(audit.c.sequence).where(audit.c.subject == f"models:/{name}/{version}")
    return connection.execute(rows.where(audit.c.action == "version-deleted").limit(1)).first() is not None


def _add(connection: Connection, table: Any, keys: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Add rows whose keys are free."""
    if rows:
        connection.execute(upsert(connection, table, keys, []), rows)
