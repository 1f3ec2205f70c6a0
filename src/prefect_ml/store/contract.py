"""The port of the store rooms: one protocol a noun, and all of them together as `Store`.

Every write is one transaction: it is wholly there when the call returns, and not there at all when it raises.
Errors raised are those of `prefect_ml.errors`; each docstring names the ones that are not obvious.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from prefect_ml.entities import (
    Alias,
    AliasMove,
    Attempt,
    DatasetInput,
    DatasetSummary,
    Experiment,
    JournalSpan,
    Metric,
    ModelMetric,
    ModelOutput,
    ModelVersion,
    Page,
    RegisteredModel,
    Rejection,
    Run,
    RunBatch,
    RunStatus,
    Source,
    Stage,
    Step,
    ViewType,
)
from prefect_ml.store.endpoint_contract import EndpointStore
from prefect_ml.store.logged_model_contract import LoggedModelStore
from prefect_ml.store.moving_contract import MovingStore
from prefect_ml.store.promotion_contract import PromotionStore
from prefect_ml.store.retention_contract import RetentionStore


class ExperimentStore(Protocol):
    """Experiments. A fresh store holds id "0" named "Default"; ids count up and are never reused."""

    def create_experiment(
        self, name: str, tags: Mapping[str, str] | None = None, artifact_location: str | None = None
    ) -> str:
        """Create one and return its id; `AlreadyExistsError` also when a deleted one has the name.

        Args:
            name: 1 to 500 characters.
            tags: of the experiment.
            artifact_location: an absolute URI or folder where its artifacts are; below the artifact root by default.
                The store keeps the text and never opens it. `InvalidInputError` when it is relative, or a URI with a
                fragment or query, or a place behind a server, which only the server gives out.
        """
        ...

    def get_experiment(self, experiment_id: str) -> Experiment: ...

    def get_experiment_by_name(self, name: str) -> Experiment:
        """Find it by name, deleted ones included."""
        ...

    def search_experiments(
        self,
        filter: str = "",
        order_by: Sequence[str] = (),
        view_type: ViewType = ViewType.ACTIVE_ONLY,
        max_results: int = 1000,
        page_token: str | None = None,
    ) -> Page[Experiment]: ...

    def rename_experiment(self, experiment_id: str, name: str) -> None: ...

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None: ...

    def delete_experiment_tag(self, experiment_id: str, key: str) -> None:
        """Remove a tag; `NotFoundError` when it is not there."""
        ...

    def delete_experiment(self, experiment_id: str) -> None:
        """Mark it and all its runs deleted."""
        ...

    def restore_experiment(self, experiment_id: str) -> None:
        """Make it and all its runs active again."""
        ...

    def search_datasets(self, experiment_ids: Sequence[str]) -> Sequence[DatasetSummary]:
        """What active runs of these experiments used, each once; at most 1,000."""
        ...


class RunStore(Protocol):
    """Runs with their params, tags and metrics."""

    def create_run(
        self,
        experiment_id: str,
        *,
        run_id: str | None = None,
        name: str | None = None,
        user_id: str = "",
        start_time: int | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Run:
        """Create a run (status RUNNING); without an id or a name, one is made up. `AlreadyExistsError` on a used id."""
        ...

    def get_run(self, run_id: str) -> Run: ...

    def update_run(
        self,
        run_id: str,
        *,
        status: RunStatus | None = None,
        end_time: int | None = None,
        name: str | None = None,
    ) -> Run:
        """Change what is given and nothing else."""
        ...

    def delete_run(self, run_id: str) -> None: ...

    def restore_run(self, run_id: str) -> None: ...

    def log_batch(
        self,
        run_id: str,
        *,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        model_metrics: Sequence[ModelMetric] = (),
    ) -> None:
        """Apply all of it or nothing; `ParamConflictError` when a param already has another value.

        An identical point leaves one; the latest value of a key is the one with the largest (step, timestamp, value).
        `model_metrics` are points of logged models, besides `metrics`; `NotFoundError` when there is no such model.
        """
        ...

    def log_inputs(self, run_id: str, inputs: Sequence[DatasetInput], *, models: Sequence[str] = ()) -> None:
        """Note which data sets and logged models a run used; the same again changes nothing.

        Within a run, name and digest name an input: of two, the first one's facts and tags stay, as in MLflow. What a
        journal says later of an input replaces them instead: there a process speaks of what it did itself.
        """
        ...

    def log_outputs(self, run_id: str, outputs: Sequence[ModelOutput]) -> None:
        """Note which logged models a run made; of two steps of one model, the later call's stays."""
        ...

    def delete_tag(self, run_id: str, key: str) -> None: ...

    def append_to_tag(self, run_id: str, key: str, value: Any) -> None:
        """Add a JSON value to the JSON list in a tag, which is begun when it is not there; its text is never cut.

        `InvalidInputError` when the tag holds something else, or the list grows beyond a million characters.
        """
        ...

    def apply_journal(self, span: JournalSpan, batches: Sequence[RunBatch]) -> Sequence[Rejection]:
        """Apply what was read from a journal, exactly once, and return what was refused for good.

        In one transaction with the data, the journal's offset moves from `span.start` to `span.end`. A span that ends
        at or before the stored offset was applied already: nothing happens. `JournalOffsetError` when it starts
        elsewhere. Nobody waits for an answer here, so a part that can never be applied (a param conflict, a deleted
        run) is returned as a Rejection and the rest is kept. A batch for an unknown run without a `start` creates the
        run in the default experiment, so that the order in which several processes deliver does not matter; a later
        `start` then moves it to its experiment and sets its name and start time. A `start` of an existing run that
        had ended before it makes it RUNNING again (a retry or resume); the earliest start time stays. An unknown
        experiment name is created; a deleted one restored.
        """
        ...

    def journal_offset(self, journal_id: str) -> int:
        """How far, in bytes, a journal has been applied; 0 when it is unknown."""
        ...

    def get_attempts(self, run_id: str) -> Sequence[Attempt]:
        """The attempts of a run, in order."""
        ...

    def heartbeat(self, attempt_ids: Sequence[str]) -> None:
        """Note that attempts live; one that was presumed dead runs again."""
        ...

    def silent_attempts(self, timeout: float, max_results: int = 100) -> Sequence[Attempt]:
        """Attempts that have not ended and gave no sign of life for `timeout` seconds, the longest silent first."""
        ...

    def presume_ended(
        self,
        run_id: str,
        attempt_id: str,
        status: RunStatus,
        end_time: int,
        *,
        seen: int | None = None,
        anew: bool = False,
    ) -> bool:
        """End an attempt that nobody ended, and its run when it is RUNNING and this is its latest attempt.

        False, and nothing changes, when it has ended, or gave another sign of life than `seen`. With `anew`, an end
        that was presumed before is corrected, by one who knows it better.
        """
        ...

    def save_steps(self, run_id: str, steps: Sequence[Step]) -> None:
        """Keep what the orchestrator says of task runs now, by `task_run_id`; `recorded` is not written by this."""
        ...

    def get_steps(self, run_id: str) -> Sequence[Step]:
        """The steps that are known of a run, by start."""
        ...

    def recorders(self, run_id: str, kind: str, name: str) -> Sequence[Source]:
        """The tasks of a run that recorded a name of a kind (as in `Step.recorded`), in the order of execution."""
        ...

    def get_metric_history(
        self,
        run_id: str,
        key: str,
        max_results: int | None = None,
        page_token: str | None = None,
        *,
        by_time: bool = False,
    ) -> Page[Metric]:
        """The points of one curve by (step, timestamp, value), or (timestamp, step, value); all without `max_results`.

        In MLflow's protocol they are by time. That costs more where a later step of a long curve has an earlier time.
        """
        ...

    def sample_metric_history(self, run_id: str, key: str, max_points: int) -> Sequence[Metric]:
        """At most `max_points` points evenly over the curve, always with the first and the last."""
        ...

    def sample_metric_histories(
        self, run_ids: Sequence[str], key: str, steps: tuple[int, int] | None, max_points: int
    ) -> Sequence[tuple[str, Sequence[Metric]]]:
        """Points of one metric of several runs at the same steps, run by run in the order of their ids.

        At most `max_points` steps, evenly over all that the runs have, and the last step of each run; `steps` are the
        first and the last to look at, all when None. A run has at most `max_points` points and its last one.
        """
        ...

    def search_runs(  # noqa: PLR0917  MLflow's parameters, in MLflow's order
        self,
        experiment_ids: Sequence[str],
        filter: str = "",
        order_by: Sequence[str] = (),
        view_type: ViewType = ViewType.ACTIVE_ONLY,
        max_results: int = 1000,
        page_token: str | None = None,
    ) -> Page[Run]:
        """Runs in MLflow's filter and order-by language; newest first by default, then by run id. Keyset paging."""
        ...


class ModelStore(Protocol):
    """Registered models, versions, aliases and stages.

    Whatever would move, drop or hide a protected alias or stage raises `ProtectedError`: setting or deleting the alias,
    a transition into or out of a protected stage, deleting the version or model it is on, renaming the model.
    """

    def create_registered_model(
        self, name: str, description: str = "", tags: Mapping[str, str] | None = None
    ) -> RegisteredModel: ...

    def get_registered_model(self, name: str) -> RegisteredModel: ...

    def update_registered_model(self, name: str, description: str) -> RegisteredModel: ...

    def rename_registered_model(self, name: str, new_name: str) -> RegisteredModel:
        """Give it another name; `ProtectedError` when an endpoint routes to it, or a policy protects its aliases."""
        ...

    def delete_registered_model(self, name: str) -> None:
        """Delete it with its versions; `ProtectedError` as for a rename."""
        ...

    def search_registered_models(
        self,
        filter: str = "",
        order_by: Sequence[str] = (),
        max_results: int = 100,
        page_token: str | None = None,
    ) -> Page[RegisteredModel]: ...

    def set_registered_model_tag(self, name: str, key: str, value: str) -> None: ...

    def delete_registered_model_tag(self, name: str, key: str) -> None: ...

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
        """Add the next version (from 1, never reused) to an existing model.

        Where the source is `models:/<name>/<version>` or `models:/<model id>`, the version's `location` is that of the
        other version, or of the logged model, whose run is the version's when none is given; `NotFoundError` when
        there is none. The digest of another version is the new one's, when none is given.
        """
        ...

    def record_digest(self, name: str, version: int, digest: str) -> ModelVersion:
        """Note the digest of a version that was made without one; one that is there stays, so look at what returns."""
        ...

    def get_model_version(self, name: str, version: int) -> ModelVersion: ...

    def update_model_version(self, name: str, version: int, description: str) -> ModelVersion: ...

    def delete_model_version(self, name: str, version: int) -> None:
        """Delete it with the aliases on it.

        Raises:
            ProtectedError: an endpoint routes to it, by itself or by an alias, or a policy protects such an alias.
        """
        ...

    def search_model_versions(
        self,
        filter: str = "",
        order_by: Sequence[str] = (),
        max_results: int = 1000,
        page_token: str | None = None,
    ) -> Page[ModelVersion]: ...

    def set_model_version_tag(self, name: str, version: int, key: str, value: str) -> None: ...

    def delete_model_version_tag(self, name: str, version: int, key: str) -> None: ...

    def transition_stage(
        self, name: str, version: int, stage: Stage, *, archive_existing: bool = False
    ) -> ModelVersion: ...

    def latest_versions(self, name: str, stages: Sequence[Stage] = ()) -> Sequence[ModelVersion]:
        """The highest version of each stage present (of all stages when none is named)."""
        ...

    def set_alias(self, name: str, alias: str, version: int, *, actor: str = "", reason: str = "") -> Alias:
        """Point an unprotected alias at a version: generation + 1, previous kept, history and audit row."""
        ...

    def delete_alias(self, name: str, alias: str, *, actor: str = "", reason: str = "") -> None:
        """Remove it; `ProtectedError` when an endpoint routes to it, or a policy protects it."""
        ...

    def get_alias(self, name: str, alias: str) -> Alias: ...

    def alias_history(self, name: str, alias: str) -> Sequence[AliasMove]:
        """Every move, oldest first."""
        ...

    def alias_at(self, name: str, alias: str, at: int) -> AliasMove | None:
        """The move in force at a time (ms); None when the alias did not exist."""
        ...


class Store(
    ExperimentStore,
    RunStore,
    LoggedModelStore,
    ModelStore,
    PromotionStore,
    EndpointStore,
    MovingStore,
    RetentionStore,
    Protocol,
):
    """All of it. `SqlStore` is one; a server's client is another."""

    @property
    def url(self) -> str:
        """Where it is, without any password."""
        ...

    def close(self) -> None:
        """Finish what is being written and give all connections back. Idempotent."""
        ...
