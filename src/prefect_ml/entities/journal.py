"""What a journal says, as a store applies it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from prefect_ml.entities.execution import Attempt, Source
from prefect_ml.entities.runs import DatasetInput, Metric
from prefect_ml.entities.words import RunStatus


@dataclass(frozen=True, slots=True)
class JournalSpan:
    """The bytes `start` to `end` of one journal that a batch was read from.

    A store applies a span once: it keeps, for each journal, how far it has come, in the transaction of the data.
    """

    journal_id: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class RunStart:
    """What creates a run, or continues it when it exists."""

    experiment: str
    name: str | None
    user_id: str
    start_time: int
    tags: Mapping[str, str] = field(default_factory=dict)
    attempt: Attempt | None = None


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How an attempt ended, and the run with it unless a later attempt has started; SCHEDULED suspends the run.

    Attributes:
        status: how.
        end_time: when, in ms.
        attempt_id: the attempt; "" when whoever knows of the end does not know it: then all attempts end.
        number: number of the attempt, 0 when unknown; an attempt with a larger number goes on.
    """

    status: RunStatus
    end_time: int | None
    attempt_id: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one source recorded.

    Attributes:
        source: the code of the run, or one of its tasks.
        metrics: its points.
        names: what else, as in `Step.recorded`.
    """

    source: Source
    metrics: Sequence[Metric] = ()
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunBatch:
    """What is applied to one run in one transaction, in this order: start, params, tags, metrics, inputs, end.

    `metrics` are points of no known source.
    """

    run_id: str
    start: RunStart | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[Metric] = ()
    end: RunEnd | None = None
    recorded: Sequence[Recorded] = ()
    inputs: Sequence[DatasetInput] = ()


@dataclass(frozen=True, slots=True)
class Rejection:
    """A part of a journal batch that the store refused for good, and why."""

    what: str
    reason: str
