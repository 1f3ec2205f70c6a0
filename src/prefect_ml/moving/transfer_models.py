"""Taking over registered models with their versions, once the runs and logged models that they point to are here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from prefect_ml.entities import ModelVersion
from prefect_ml.errors import NotFoundError, PrefectMLError, StoreUnavailableError
from prefect_ml.moving import compare
from prefect_ml.moving.carrying import listing_digest
from prefect_ml.moving.files import walk
from prefect_ml.moving.places import Moves, open_place
from prefect_ml.moving.report import Kind, Notes
from prefect_ml.store.contract import Store
from prefect_ml.store.moving_contract import FOREIGN_EVIDENCE_TAG, MovedModel

# The tag by which MLflow knows the experiments of a prompt: their ids between commas.
_EXPERIMENTS = "_mlflow_experiment_ids"


class ModelTransfer:
    """One move's registered models.

    Args:
        origin: the name of where they come from.
        store: where they come to.
        moves: what became of experiments, runs and logged models.
        notes: the report.
    """

    def __init__(self, origin: str, store: Store, moves: Moves, notes: Notes) -> None:
        self._origin = origin
        self._store = store
        self._moves = moves
        self._notes = notes
        self._known: dict[tuple[str, int], ModelVersion] = {}

    def take_over(self, models: Sequence[MovedModel]) -> None:
        # The oldest version first, since a copy names one that was there before it.
        versions = [version for moved in models for version in moved.versions]
        for version in sorted(versions, key=lambda each: (each.creation_timestamp, each.name, each.version)):
            self._known[version.name, version.version] = self._placed(version)
        for given in models:
            name = given.model.name
            self._notes.count(Kind.MODELS, "found")
            self._notes.count(Kind.VERSIONS, "found", len(given.versions))
            moved = self._without_refused(self._renumbered(given))
            try:
                self._model(moved)
            except StoreUnavailableError:
                raise
            except PrefectMLError as error:
                self._notes.count(Kind.MODELS, "refused")
                self._notes.count(Kind.VERSIONS, "refused", len(moved.versions))
                self._notes.failure(f"Registered model {name!r} was not taken over: {error}")

    def _renumbered(self, moved: MovedModel) -> MovedModel:
        """A model whose tag of a prompt's experiments names those here."""
        told = moved.model.tags.get(_EXPERIMENTS)
        if told is None:
            return moved
        ids = [self._moves.experiments[each] for each in told.split(",") if each in self._moves.experiments]
        tags = {**moved.model.tags, _EXPERIMENTS: f",{','.join(ids)},"}
        return dataclasses.replace(moved, model=dataclasses.replace(moved.model, tags=tags))

    def _without_refused(self, moved: MovedModel) -> MovedModel:
        """A model without the versions whose run or logged model is not here; they come when it does."""
        versions = []
        for version in moved.versions:
            if missing := {version.run_id, version.model_id} & self._moves.refused:
                self._notes.count(Kind.VERSIONS, "refused")
                self._notes.failure(
                    f"Version {version.version} of {version.name!r} was not taken over: what it is of, "
                    f"{min(map(str, missing))}, was not."
                )
            else:
                versions.append(version)
        numbers = {version.version for version in versions}
        aliases = {alias: version for alias, version in moved.model.aliases.items() if version in numbers}
        return dataclasses.replace(moved, model=dataclasses.replace(moved.model, aliases=aliases), versions=versions)

    def _placed(self, version: ModelVersion) -> ModelVersion:
        """A version with the places of its files here, and their digest where nobody noted it."""
        placed = self._moves.version(version, self._known)
        # It is about what the origin keeps from elsewhere, which is no part of a version.
        tags = {key: value for key, value in placed.tags.items() if key != FOREIGN_EVIDENCE_TAG}
        placed = dataclasses.replace(placed, tags=tags)
        within = None if placed.artifact_digest else self._moves.within(placed.location or placed.source)
        if within is None:
            return placed
        root, folder = within
        infos = list(walk(open_place(self._store, root), folder))
        return dataclasses.replace(placed, artifact_digest=listing_digest(infos, folder))

    def _model(self, moved: MovedModel) -> None:
        name = moved.model.name
        before = self._versions_here(name)
        versions = [self._known[name, version.version] for version in moved.versions]
        withheld = self._store.take_over_model(dataclasses.replace(moved, versions=versions), self._origin)
        for sentence in withheld:
            self._notes.conflict(sentence)
        here = self._store.get_moved_model(name)
        self._compare_model(moved, here, new=before is None)
        found = {version.version: version for version in here.versions}
        for version in versions:
            self._compare_version(version, found.get(version.version), new=version.version not in (before or ()))

    def _versions_here(self, name: str) -> set[int] | None:
        try:
            return {version.version for version in self._store.get_moved_model(name).versions}
        except NotFoundError:
            return None

    def _compare_model(self, moved: MovedModel, here: MovedModel, *, new: bool) -> None:
        name = moved.model.name
        told = compare.differences(compare.model_fields(moved.model), compare.model_fields(here.model))
        other = [
            f"alias {alias}"
            for alias, version in moved.model.aliases.items()
            if here.model.aliases.get(alias) != version
        ]
        if told or other:
            self._notes.conflict(
                f"Registered model {name!r} is here with other content, which stays: "
                f"{', '.join([*told, *other])} differ."
            )
        self._notes.count(Kind.MODELS, "refused" if told or other else "copied" if new else "present")

    def _compare_version(self, given: ModelVersion, here: ModelVersion | None, *, new: bool) -> None:
        if here is None:
            self._notes.count(Kind.VERSIONS, "refused")
            return
        told = compare.differences(compare.version_fields(given), compare.version_fields(here))
        if told:
            self._notes.conflict(
                f"Version {given.version} of {given.name!r} is here with other content, which stays: "
                f"{', '.join(told)} differ."
            )
        self._notes.count(Kind.VERSIONS, "refused" if told else "copied" if new else "present")
