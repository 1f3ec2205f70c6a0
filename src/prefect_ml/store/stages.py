"""Stages of model versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from prefect_ml.entities import ModelVersion, Stage
from prefect_ml.errors import InvalidInputError
from prefect_ml.store.audit import record
from prefect_ml.store.policies import refuse_protected
from prefect_ml.store.registry_load import load_latest, load_version
from prefect_ml.store.registry_names import check_stage
from prefect_ml.store.registry_rows import RegistryRows, find_model, find_version, touch_model, touch_version
from prefect_ml.store.registry_tables import model_versions

if TYPE_CHECKING:
    from collections.abc import Sequence

ACTIVE = (Stage.STAGING, Stage.PRODUCTION)


class StageRows(RegistryRows):
    def transition_stage(
        self, name: str, version: int, stage: Stage, *, archive_existing: bool = False
    ) -> ModelVersion:
        """Move a version to an unprotected stage, perhaps archiving the others that are in it."""
        target = check_stage(stage)
        if archive_existing and target not in ACTIVE:
            raise InvalidInputError(
                f"Model version transition cannot archive existing model versions because '{target}' is not an "
                "Active stage. Valid stages are ['Staging', 'Production']"
            )

        def work(connection: Connection) -> ModelVersion:
            row = find_version(connection, name, version)
            refuse_protected(connection, name, version, stage=[target, row.stage])
            enter_stage(connection, name, row.model, version, target, archive_existing=archive_existing)
            return load_version(connection, row.model, version)

        return self.change(work)

    def latest_versions(self, name: str, stages: Sequence[Stage] = ()) -> Sequence[ModelVersion]:
        wanted = [check_stage(stage) for stage in stages]
        with self.database.read() as connection:
            model = find_model(connection, name).id
            return load_latest(connection, [model], wanted)[model]


def enter_stage(
    connection: Connection,
    name: str,
    model: int,
    version: int,
    stage: Stage,
    *,
    archive_existing: bool,
    actor: str = "",
    reason: str = "",
) -> dict[str, list[str]]:
    """Move a version to a stage, and perhaps the others in it to Archived, each with its audit row.

    Whoever calls it has made sure that the stages may change. Returns those that did, by version: before and after.
    """
    versions = model_versions.c
    changes = [(version, stage)]
    if archive_existing:
        others = select(versions.version).where(versions.model == model, versions.stage == stage)
        others = others.where(versions.version != version).order_by(versions.version)
        changes += [(other, Stage.ARCHIVED) for other in connection.execute(others).scalars()]
    changed: dict[str, list[str]] = {}
    for number, target in changes:
        current = select(versions.stage).where(versions.model == model, versions.version == number)
        before = connection.execute(current).scalar_one()
        touch_version(connection, model, number, stage=target)
        if before != target:
            changed[str(number)] = [before, target.value]
            record(
                connection,
                "stage-changed",
                f"models:/{name}/{number}",
                actor=actor,
                reason=reason,
                before={"stage": before},
                after={"stage": target},
            )
    touch_model(connection, model)
    return changed
