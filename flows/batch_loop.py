"""Mapping the task that scores over the chunks of a data set, some at a time."""

from __future__ import annotations

import multiprocessing
import queue
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import BrokenExecutor
from typing import Any, Protocol, cast

from prefect import State, Task, task, unmapped
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.futures import PrefectFuture
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner

from prefect_ml.errors import ArtifactError, PrefectMLError, StoreUnavailableError
from prefect_ml.scoring import chunk as scoring
from prefect_ml.scoring.job import Job
from prefect_ml.scoring.parts import ChunkError, Part
from prefect_ml.scoring.plan import Chunk

# Chunks that wait at the task runner for each that is scored: enough to keep it busy, and few enough that memory does
# not grow with their number and that little is left to do when one has failed.
_AHEAD = 2
_LOOK_SECONDS = 1.0


class Progress(Protocol):
    """Is told of each part that was written."""

    def add(self, part: Part, /) -> None: ...


def _may_pass(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    """Whether it may go well the next time: places and stores come back, bad rows stay bad."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, (ArtifactError, StoreUnavailableError, OSError))


@task(
    name="score",
    task_run_name="score chunk {chunk.number}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[1, 5],
    retry_condition_fn=_may_pass,
)
def score(chunk: Chunk, job: Job) -> Part:
    """Score a chunk of the data and write its part."""
    return scoring.score_chunk(chunk, job)


class Loop:
    """One execution of a scoring.

    Args:
        runner: a task runner that was entered.
        job: what to do with each chunk.
        parallel: how many chunks the runner scores at once.
        progress: is told of each part.
    """

    def __init__(self, runner: TaskRunner[Any], job: Job, parallel: int, progress: Progress) -> None:
        self._runner, self._job, self._progress = runner, job, progress
        self._most = parallel * (1 + _AHEAD)
        self._done: queue.SimpleQueue[PrefectFuture[Any]] = queue.SimpleQueue()
        self._others = set(multiprocessing.active_children())
        self._pool: set[Any] = set()

    def run(self, chunks: Sequence[Chunk], done: Mapping[int, Part]) -> dict[int, Part]:
        """Score every chunk that is not done, and return the parts of all by number.

        Raises:
            ChunkError: one failed, or several, of which this is the first in the data; no further one was started,
                and those that ran were waited for.
        """
        parts = dict(done)
        waiting = deque(chunk for chunk in chunks if chunk.number not in done)
        running = 0
        failures: list[BaseException] = []
        while running or (waiting and not failures):
            if not failures and (free := self._most - running) and waiting:
                running += self._start([waiting.popleft() for _ in range(min(free, len(waiting)))])
            outcome = self._next()
            running -= 1
            if isinstance(outcome, Part):
                parts[outcome.number] = outcome
                self._progress.add(outcome)
            else:
                failures.append(outcome)
        if failures:
            raise min(failures, key=lambda error: error.number if isinstance(error, ChunkError) else -1)
        return parts

    def _start(self, chunks: list[Chunk]) -> int:
        mapped = cast("Task[..., Any]", score)
        for future in self._runner.map(mapped, {"chunk": chunks, "job": unmapped(self._job)}):
            future.add_done_callback(self._done.put)
        return len(chunks)

    def _next(self) -> Part | BaseException:
        """What the next chunk that is over came to.

        A pool does not see the death of the process that it started last while nothing else happens: so it is looked
        for here.
        """
        while True:
            try:
                future = self._done.get(timeout=_LOOK_SECONDS)
                break
            except queue.Empty:
                self._look_for_dead()
        try:
            outcome = future.result(raise_on_failure=False)
        except Exception as error:  # noqa: BLE001 - whatever a runner raises when a worker dies
            outcome = error
        if isinstance(outcome, BrokenExecutor):
            raise _dead() from outcome
        if isinstance(outcome, Part | BaseException):
            return outcome
        return PrefectMLError(f"A chunk came to {outcome!r} instead of a part; see its task run.")

    def _look_for_dead(self) -> None:
        if isinstance(self._runner, ProcessPoolTaskRunner):
            living = set(multiprocessing.active_children()) - self._others
            if self._pool - living:
                raise _dead()
            self._pool |= living


def _dead() -> PrefectMLError:
    return PrefectMLError(
        "A process of the pool died (killed, or out of memory: give fewer rows per chunk), and the pool with it. Start "
        "the scoring again, or retry the flow run: it goes on where it stopped."
    )
