"""From a model to what produced it, by what the store holds; no orchestrator is asked."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from prefect_ml.entities import Attempt, LifecycleStage
from prefect_ml.errors import NotFoundError
from prefect_ml.lineage import tags
from prefect_ml.lineage.facts import Execution, Lineage, RunFacts, UsedDataset
from prefect_ml.lineage.outcome import moves_to, promotions_of
from prefect_ml.registry.resolve import ResolvedModel, resolve
from prefect_ml.tracking.model_inputs import ModelInput, model_inputs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prefect_ml.entities import Dataset, ModelVersion, Run
    from prefect_ml.store.contract import Store

# Enough for what people build on each other; more would only be a loop or a mistake.
MAX_GENERATIONS = 5
MAX_MODELS = 100
_MAX_PARENTS = 20


def get_lineage(store: Store, uri: str) -> Lineage:
    """What produced a model, and what became of it.

    Args:
        store: where registry and runs are.
        uri: any `models:/` URI, `runs:/<run id>/<path>` or a folder.

    Raises:
        InvalidInputError: it is no model URI.
        NotFoundError: there is no such model, version, alias or run.
    """
    return _Reader(store).read(resolve(store, uri), 0)


class _Reader:
    """Reads a model and its ancestors; each model is looked into once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: set[str] = set()

    def read(self, resolved: ResolvedModel, generation: int) -> Lineage:
        self._seen.add(resolved.origin)
        version = None
        if resolved.name is not None and resolved.version is not None:
            version = self._store.get_model_version(resolved.name, resolved.version)
        lineage = Lineage(resolved.origin, resolved.digest, version)
        if version is not None:
            promotions = promotions_of(self._store, version)
            moves = moves_to(self._store, version, {promotion.alias for promotion in promotions})
            lineage = dataclasses.replace(lineage, promotions=promotions, moves=moves)
        return self._with_run(lineage, resolved, generation)

    def _with_run(self, lineage: Lineage, resolved: ResolvedModel, generation: int) -> Lineage:
        if not resolved.run_id:
            return dataclasses.replace(lineage, unknown=("It names no run, so nothing tells what produced it.",))
        try:
            run = self._store.get_run(resolved.run_id)
        except NotFoundError:
            missing = f"Its run {resolved.run_id} is not in the store, so nothing tells what produced it."
            return dataclasses.replace(lineage, unknown=(missing,))
        parents = list(_parents(self._store, run))
        path = resolved.source.removeprefix(f"{run.artifact_uri.rstrip('/')}/")
        found = dataclasses.replace(
            lineage,
            run=_facts(self._store, run),
            execution=_execution(self._store, [run, *parents], path, lineage.version),
            code=tags.code(run.tags),
            environment_digest=run.tags.get(tags.ENVIRONMENT, ""),
            datasets=[_used(each.dataset, each.tags) for each in run.inputs],
            parents=[_facts(self._store, parent) for parent in parents],
            upstream=[self._ancestor(each, generation + 1) for each in model_inputs(run.tags)[:MAX_MODELS]],
        )
        return dataclasses.replace(found, unknown=tuple(_unknown(found)))

    def _ancestor(self, model: ModelInput, generation: int) -> Lineage:
        """The lineage of a model that was loaded; of one that is gone, or told already, only its name and digest."""
        told = Lineage(model.uri, model.digest)
        if model.uri in self._seen:
            return dataclasses.replace(told, unknown=("It is told above.",))
        if generation > MAX_GENERATIONS or len(self._seen) >= MAX_MODELS:
            return dataclasses.replace(told, unknown=("Its own ancestors were not looked for.",))
        try:
            resolved = resolve(self._store, model.uri)
        except NotFoundError:
            return dataclasses.replace(told, unknown=("It is no longer in the store.",))
        found = self.read(resolved, generation)
        return found if found.digest else dataclasses.replace(found, digest=model.digest)


def _parents(store: Store, run: Run) -> Iterator[Run]:
    seen = {run.run_id}
    while (above := run.tags.get(tags.PARENT, "")) and above not in seen and len(seen) <= _MAX_PARENTS:
        seen.add(above)
        try:
            run = store.get_run(above)
        except NotFoundError:
            return
        yield run


def _facts(store: Store, run: Run) -> RunFacts:
    return RunFacts(
        run.run_id,
        run.name,
        store.get_experiment(run.experiment_id).name,
        run.status,
        run.user_id,
        run.start_time,
        run.end_time,
        deleted=run.lifecycle_stage is LifecycleStage.DELETED,
    )


def _execution(store: Store, runs: Sequence[Run], path: str, version: ModelVersion | None) -> Execution:
    """Flow, attempt and task; the flow is that of the nearest run around it which is a flow run's."""
    run = runs[0]
    flow = next((each.tags for each in runs if tags.FLOW_RUN in each.tags), {})
    recorders = store.recorders(run.run_id, "model", path)
    attempts = store.get_attempts(run.run_id)
    if recorders:
        last = recorders[-1]
        attempt = next((each for each in attempts if each.attempt_id == last.attempt_id), None)
        task_run_id = last.task_run_id
    else:
        attempt, task_run_id = _attempt_at(attempts, version), ""
    names = {step.task_run_id: step.name for step in store.get_steps(run.run_id)} if task_run_id else {}
    return Execution(
        flow.get(tags.FLOW_NAME, ""),
        flow.get(tags.FLOW_RUN, ""),
        flow.get(tags.DEPLOYMENT, ""),
        attempt,
        task_run_id,
        names.get(task_run_id, ""),
    )


def _attempt_at(attempts: Sequence[Attempt], version: ModelVersion | None) -> Attempt | None:
    """The attempt that was under way when the version was made; the last one of a model that is none."""
    begun = [each for each in attempts if version is None or each.start_time <= version.creation_timestamp]
    return begun[-1] if begun else None


def _unknown(lineage: Lineage) -> Iterator[str]:
    if lineage.run is not None and lineage.run.deleted:
        yield "Its run is deleted; `prefect-ml runs restore` brings it back."
    if not lineage.execution.flow_run_id:
        yield "No flow run: it was made by a script, or by another client."
    if not lineage.code.commit:
        yield "No commit: the code lay in no git repository, or the run was not made by prefect-ml."
    if not lineage.datasets:
        yield "No data set: the run recorded none; `ml.log_input` does."
    if not lineage.environment_digest:
        yield "No environment: the run recorded no packages."
    if not lineage.digest:
        yield "No digest: nothing tells whether its files are still the same."


def _used(dataset: Dataset, context: Mapping[str, str]) -> UsedDataset:
    used_for = context.get(tags.DATA_CONTEXT, "")
    return UsedDataset(
        dataset.name, dataset.digest, used_for, dataset.source_type, dataset.source, _rows(dataset.profile)
    )


def _rows(profile: str) -> int | None:
    """How many rows a data set's profile tells."""
    try:
        told = json.loads(profile or "{}")
    except ValueError:  # another client's words
        return None
    rows = told.get("num_rows") if isinstance(told, dict) else None
    return rows if type(rows) is int else None
