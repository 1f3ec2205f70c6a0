"""Who runs when in a sweep: trials are started as others end, until all are done or something says stop."""

from __future__ import annotations

import multiprocessing
import queue
import time
import uuid
from collections import deque
from collections.abc import Mapping
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from prefect.exceptions import CancelledRun
from prefect.futures import PrefectFuture
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner

from prefect_ml.entities import RunStatus
from prefect_ml.errors import NotFoundError, PrefectMLError
from prefect_ml.flows.trial import Order, run_trial
from prefect_ml.settings import Settings
from prefect_ml.store import open_store
from prefect_ml.sweeps.choose import Chooser
from prefect_ml.sweeps.trials import STOP_TAG, Plan, Trial
from prefect_ml.tracking.outbox import deliver_folder
from prefect_ml.tracking.run import ActiveRun
from prefect_ml.tracking.start import PARENT_TAG
from prefect_ml.tracking.values import now_ms

# Prefect's worker kills a cancelled flow's process after 30 seconds; by then all must be recorded.
_GRACE_SECONDS = 12.0
_FLUSH_SECONDS = 5.0
_LOOK_SECONDS = 1.0
_LONGEST_LABEL = 120


@dataclass(frozen=True, slots=True)
class Limits:
    """How many trials run at once, and when no further one starts; None never stops."""

    parallel: int
    max_seconds: float | None = None
    stop_at: float | None = None
    max_failures: int | None = None


class _Running(NamedTuple):
    number: int
    future: PrefectFuture[Any]


class Loop:
    """One execution of a sweep.

    Attributes:
        trials: what is known of each trial that was started ever, by number.
        failures: how many trials failed in this execution.
        last_error: what the last of them said.
        stopped: why it ended early; "" when it did not.
    """

    def __init__(
        self,
        plan: Plan,
        chooser: Chooser,
        runner: TaskRunner[Any],
        run: ActiveRun,
        *,
        train: Any,
        fixed: Mapping[str, Any],
        limits: Limits,
    ) -> None:
        self.trials: dict[int, Trial] = {}
        self.failures = 0
        self.last_error = self.stopped = ""
        self._plan, self._chooser, self._limits = plan, chooser, limits
        self._runner, self._run, self._train, self._fixed = runner, run, train, fixed
        self._execution = uuid.uuid4().hex
        self._running: dict[Any, _Running] = {}
        self._done: queue.SimpleQueue[PrefectFuture[Any]] = queue.SimpleQueue()
        self._pool: set[Any] = set()
        self._started_at = time.monotonic()

    @property
    def too_many_failures(self) -> bool:
        most = self._limits.max_failures
        return most is not None and self.failures >= most

    def run(self, known: Mapping[int, Trial]) -> None:
        """Run every trial that is not finished; an exception, a signal for example, stops those that run."""
        others = set(multiprocessing.active_children())
        waiting = self._recall(known)
        with self._runner:
            try:
                while self._running or (waiting and not self._stop_rule()):
                    while waiting and len(self._running) < self._limits.parallel and not self._stop_rule():
                        self._start(waiting.popleft())
                    if self._running:
                        self._go_on(self._harvest(self._next_done(others)))
            except BaseException as error:
                self.stopped = "it was interrupted"
                self._stop(others, broken=isinstance(error.__cause__, BrokenExecutor))
                raise
        if waiting:
            self.stopped = self._stop_rule()

    def _next_done(self, others: set[Any]) -> PrefectFuture[Any]:
        """Wait for the next trial that is over.

        A pool does not see the death of the process that it started last while nothing else happens: its executor
        waits for those that it had when it began to wait. So it is looked for here.
        """
        while True:
            try:
                return self._done.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                living = set(multiprocessing.active_children()) - others
                if self._pool - living and isinstance(self._runner, ProcessPoolTaskRunner):
                    self._go_on(BrokenExecutor("A process of the pool is gone."))
                self._pool |= living

    def _recall(self, known: Mapping[int, Trial]) -> deque[int]:
        """Take over what is finished, and say what is left to do."""
        self.trials = dict(known)
        for number in sorted(known):
            if known[number].status is RunStatus.FINISHED:
                self._chooser.tell(known[number])
                self._adopt(known[number])
        finished = {number for number, trial in known.items() if trial.status is RunStatus.FINISHED}
        return deque(number for number in range(self._chooser.count) if number not in finished)

    def _adopt(self, trial: Trial) -> None:
        """A trial of an earlier execution becomes a child of the run that continues the sweep."""
        if trial.sweep_run_id != self._run.run_id:
            open_store().log_batch(trial.run_id, tags={PARENT_TAG: self._run.run_id})

    def _stop_rule(self) -> str:
        limits = self._limits
        if limits.max_seconds is not None and time.monotonic() - self._started_at >= limits.max_seconds:
            return f"{limits.max_seconds:g} seconds are over"
        if self.too_many_failures:
            return f"{self.failures} trials failed"
        if limits.stop_at is not None and any(self._reaches(trial, limits.stop_at) for trial in self.trials.values()):
            return f"a trial reached {limits.stop_at:g}"
        return ""

    def _reaches(self, trial: Trial, goal: float) -> bool:
        if not trial.comparable or trial.value is None:
            return False
        return trial.value == goal or self._plan.better(trial.value, goal)

    def _start(self, number: int) -> None:
        before = self.trials.get(number)
        # What a run was started with it is started with again: its params never change.
        params = self._chooser.ask(number) if before is None else before.params
        trial = Trial(number, self._plan.run_id(number), params, RunStatus.RUNNING, sweep_run_id=self._run.run_id)
        future = self._runner.submit(run_trial, {"train": self._train, "order": self._order(trial)})
        self.trials[number] = trial
        self._running[future.task_run_id] = _Running(number, future)
        future.add_done_callback(self._done.put)

    def _order(self, trial: Trial) -> Order:
        named = ", ".join(f"{name}={_short(value)}" for name, value in trial.params.items())
        return Order(
            number=trial.number,
            run_id=trial.run_id,
            label=f"trial {trial.number}: {named}"[:_LONGEST_LABEL],
            params=dict(trial.params),
            fixed=dict(self._fixed),
            experiment=self._plan.experiment,
            sweep_run_id=self._run.run_id,
            key=self._plan.key,
            plan=self._plan.digest,
            metric=self._plan.metric,
            execution=self._execution,
            attempt=len(open_store().get_attempts(trial.run_id)) + 1 if trial.number in self.trials else 1,
            pooled=isinstance(self._runner, ProcessPoolTaskRunner),
        )

    @staticmethod
    def _go_on(outcome: Any) -> None:
        if isinstance(outcome, BrokenExecutor):
            raise PrefectMLError(
                "A process of the pool died (killed, or out of memory), and the pool with it. Start the sweep again "
                "with the same key, or retry the flow run: it goes on where it stopped."
            ) from outcome

    def _harvest(self, future: PrefectFuture[Any]) -> Any:
        """Take note of how a trial ended; of one that is noted already, nothing."""
        running = self._running.get(future.task_run_id)
        if running is None:
            return None
        number = running.number
        outcome = _outcome(future)
        trial = self.trials[number]
        if isinstance(outcome, CancelledRun | BrokenExecutor):
            self.trials[number] = replace(trial, status=RunStatus.KILLED)
            if isinstance(outcome, BrokenExecutor):
                _end_killed(trial.run_id)
        elif isinstance(outcome, BaseException):
            self.failures += 1
            self.last_error = f"trial {number}: {type(outcome).__name__}: {outcome}"
            self.trials[number] = replace(trial, status=RunStatus.FAILED, error=f"{type(outcome).__name__}: {outcome}")
        else:
            self.trials[number] = replace(trial, status=RunStatus.FINISHED, value=outcome)
        del self._running[future.task_run_id]
        self._chooser.tell(self.trials[number])
        return outcome

    def _stop(self, others: set[Any], *, broken: bool) -> None:
        """Tell the trials that run to stop, wait a while, and end what did not.

        Args:
            others: child processes that are not the pool's.
            broken: whether the pool lost a process: it then waits for the others, which may not heed its SIGTERM.
        """
        self._run.set_tag(STOP_TAG, self._execution)
        self._run.flush(_FLUSH_SECONDS, patient=False)
        # The interrupt may have come while one that is over was taken from the queue: then it is in none.
        for running in tuple(self._running.values()):
            running.future.add_done_callback(self._done.put)
        deadline = time.monotonic() + _GRACE_SECONDS
        while self._running and (left := deadline - time.monotonic()) > 0:
            try:
                self._harvest(self._done.get(timeout=left))
            except queue.Empty:
                break
        if isinstance(self._runner, ProcessPoolTaskRunner) and (self._running or broken):
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
                process.join()
        for running in self._running.values():
            trial = self.trials[running.number]
            self.trials[trial.number] = replace(trial, status=RunStatus.KILLED)
            _end_killed(trial.run_id)


def _outcome(future: PrefectFuture[Any]) -> Any:
    """What a trial came to, or the exception that tells why it came to nothing."""
    try:
        outcome = future.result(raise_on_failure=False)
        # For a state that a task returned itself Prefect gives its data, which a stopped trial has none of.
        return CancelledRun() if outcome is None and future.state.is_cancelled() else outcome
    except Exception as error:  # noqa: BLE001 - whatever a runner raises when a worker dies
        return error


def _end_killed(run_id: str) -> None:
    """End the run of a trial that could not do it itself; one that never started has none."""
    store, folder = open_store(), Settings().journal_folder / run_id
    if folder.is_dir():
        deliver_folder(store, folder)
    try:
        if store.get_run(run_id).status is not RunStatus.FINISHED:
            store.update_run(run_id, status=RunStatus.KILLED, end_time=now_ms())
    except NotFoundError:
        return


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
