"""How a run was executed: attempts, their steps, and what recorded in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from prefect_ml.entities.words import RunStatus


class Source(NamedTuple):
    """What recorded something in a run: the code of the run itself, or one of its tasks.

    A later execution of the same code (same scope; later by `number`, `started` and `retry`) replaces what an earlier
    one recorded at the same step of the same curve, so that a retried or resumed run has each point once.

    Attributes:
        attempt_id: the attempt of the run; "" when unknown, which replaces nothing and is replaced by nothing.
        number: the attempt's number.
        started: when the attempt started, in ms.
        scope: "" for the run's own code; else one call of one task, named alike in each attempt.
        retry: how often the task was retried before within the attempt.
        task_run_id: the orchestrator's id of the task run, "" for the run's own code.
    """

    attempt_id: str = ""
    number: int = 1
    started: int = 0
    scope: str = ""
    retry: int = 0
    task_run_id: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One execution of a run's code: a retried, resumed or rescheduled run has several.

    Attributes:
        run_id: the run.
        attempt_id: an opaque id.
        number: the orchestrator's count, from 1; a resumed run keeps the number of the attempt that was suspended.
        start_time: when it started, in ms.
        end_time: when it ended, in ms; None while it lives.
        outcome: how it ended: a status of runs, SCHEDULED when it was suspended; None while it lives.
        host: the machine.
        pid: the process.
        seen: its last sign of life by the store's clock, in ms.
        presumed: whether its end was concluded from its silence; another sign of life undoes that.
    """

    run_id: str
    attempt_id: str
    number: int
    start_time: int
    end_time: int | None = None
    outcome: RunStatus | None = None
    host: str = ""
    pid: int = 0
    seen: int = 0
    presumed: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """A task run of a flow run, as a step of the run.

    Attributes:
        task_run_id: the orchestrator's id.
        name: name of the task run.
        task_key: the orchestrator's name of the task, the same in each of its runs.
        state: the orchestrator's name of its state, for example "Completed", "Cached" or "AwaitingRetry".
        start_time: in ms; None when it never started.
        end_time: in ms; None while it runs.
        run_count: how often its code ran; 0 for one that was taken from a cache.
        recorded: what it recorded: kinds ("metric", "param", "tag", "artifact", "model", "input") to names.
    """

    task_run_id: str
    name: str
    task_key: str
    state: str
    start_time: int | None
    end_time: int | None
    run_count: int
    recorded: Mapping[str, Sequence[str]] = field(default_factory=dict)
