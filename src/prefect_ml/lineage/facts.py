"""The words of lineage: plain frozen values; what is unknown is empty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prefect_ml.entities import AliasMove, Attempt, ModelVersion, RunStatus


@dataclass(frozen=True, slots=True)
class Code:
    """The code that ran.

    Attributes:
        repository: the remote's URL.
        branch: the branch that was checked out.
        commit: the commit that was checked out.
        dirty: whether tracked files were changed since; None when unknown.
        diff_digest: "sha256:…" of these changes, which are the run's artifact `source/changes.patch`.
        notebook_digest: "sha256:…" of the cells, which are the run's artifact `source/notebook.ipynb`.
        entry_point: the script, module, or `file:function` of a flow.
    """

    repository: str = ""
    branch: str = ""
    commit: str = ""
    dirty: bool | None = None
    diff_digest: str = ""
    notebook_digest: str = ""
    entry_point: str = ""


@dataclass(frozen=True, slots=True)
class UsedDataset:
    """A data set that the run used, and for what ("training", "evaluation", …; "" when it was not said).

    `rows` is how many it has; None when nobody noted it.
    """

    name: str
    digest: str
    context: str
    source_type: str
    source: str
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run in brief; `experiment` is a name, `deleted` says that it is marked so."""

    run_id: str
    name: str
    experiment: str
    status: RunStatus
    user: str
    start_time: int
    end_time: int | None
    deleted: bool


@dataclass(frozen=True, slots=True)
class Execution:
    """Where in the orchestrator it happened.

    Attributes:
        flow_name: the flow; "" outside of one.
        flow_run_id: its flow run.
        deployment_id: its deployment.
        attempt: the execution of the run that kept the model; None when unknown.
        task_run_id: the task run that kept the model; "" when the flow's own code did, or nobody knows.
        task_name: its name.
    """

    flow_name: str = ""
    flow_run_id: str = ""
    deployment_id: str = ""
    attempt: Attempt | None = None
    task_run_id: str = ""
    task_name: str = ""


@dataclass(frozen=True, slots=True)
class Promotion:
    """A request that a version was promoted by, or should have been."""

    request_id: str
    alias: str
    status: str
    requester: str
    requested_at: int
    approvers: Sequence[str]
    policy: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """What produced a model, and what became of it.

    Attributes:
        uri: `models:/<name>/<version>`, or the URI as it was given.
        digest: "sha256:…" of its files.
        version: None for a model that is not registered, or no longer.
        run: the run that kept it; None when it is unknown or gone.
        execution: the flow, attempt and task.
        code: what ran.
        environment_digest: "sha256:…" of the installed packages that were imported.
        datasets: what the run used.
        parents: the runs around it, the nearest first, the root last.
        upstream: the models that were loaded in the run, each with its own lineage.
        promotions: of the version, newest first.
        moves: the moves of aliases to the version, oldest first.
        unknown: what is not known and why, as sentences.
    """

    uri: str
    digest: str = ""
    version: ModelVersion | None = None
    run: RunFacts | None = None
    execution: Execution = Execution()
    code: Code = Code()
    environment_digest: str = ""
    datasets: Sequence[UsedDataset] = ()
    parents: Sequence[RunFacts] = ()
    upstream: Sequence[Lineage] = ()
    promotions: Sequence[Promotion] = ()
    moves: Sequence[AliasMove] = ()
    unknown: Sequence[str] = ()
