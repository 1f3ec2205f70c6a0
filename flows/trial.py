"""One trial of a sweep, wherever a task runner runs it: a child run of the sweep's, which ends truly."""

from __future__ import annotations

import contextlib
import ctypes
import inspect
import multiprocessing
import os
import pkgutil
import threading
import uuid
from asyncio import run as run_coroutine
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.states import Cancelled

from prefect_ml.entities import Attempt, RunStatus, Source
from prefect_ml.errors import InvalidInputError, PrefectMLError
from prefect_ml.store import open_store
from prefect_ml.sweeps.trials import KEY_TAG, PARAMS_TAG, PLAN_TAG, STOP_TAG, TRIAL_TAG, VALUE_TAG
from prefect_ml.tracking import values
from prefect_ml.tracking.attribution import register_source_finder
from prefect_ml.tracking.current import entering
from prefect_ml.tracking.run import ActiveRun
from prefect_ml.tracking.start import begin

_LOOK_SECONDS = 1.0
_WORKER_DIES_WITH_PARENT = threading.Lock()
# What records in the trials that run here; a later attempt replaces the points of an earlier one.
_sources: dict[str, Source] = {}
register_source_finder(_sources.get)


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker needs to know to run a trial.

    Attributes:
        number: the trial's number in the sweep.
        run_id: its run.
        label: its name.
        params: what is searched.
        fixed: what every trial gets.
        experiment: of the sweep.
        sweep_run_id: run of the sweep, and the id of its flow run.
        key: of the sweep.
        plan: digest of the sweep's plan.
        metric: what is judged.
        execution: this execution of the sweep, which may be told to stop.
        attempt: how often the trial was started, this time included.
        pooled: whether the worker is a process of a pool, which must not outlive the sweep.
    """

    number: int
    run_id: str
    label: str
    params: Mapping[str, Any]
    fixed: Mapping[str, Any]
    experiment: str
    sweep_run_id: str
    key: str
    plan: str
    metric: str
    execution: str
    attempt: int
    pooled: bool


def load_train(given: Any) -> Callable[..., Any]:
    """The training function itself, or the one at a dotted path like "package.module:train".

    Raises:
        InvalidInputError: there is none.
    """
    train: Any = given
    if isinstance(given, str):
        try:
            train = pkgutil.resolve_name(given)
        except (ValueError, ImportError, AttributeError) as error:
            raise InvalidInputError(
                f'There is no training function at {given!r} ({error}); write "package.module:function", and see that '
                "the package can be imported where the sweep runs."
            ) from error
    if not callable(train):
        raise InvalidInputError(f"A sweep needs a function, a task or a dotted path to train with, not {train!r}.")
    found: Callable[..., Any] = train
    return found


@task(name="trial", task_run_name="{order.label}", cache_policy=NO_CACHE, persist_result=False)
def run_trial(train: Any, order: Order) -> Any:
    """Train once and return the value of the sweep's metric.

    Args:
        train: function, task, flow or dotted path.
        order: what to run.

    Raises:
        InvalidInputError: training neither logged nor returned the metric.
    """
    if order.pooled:
        _die_with_parent()
    function = load_train(train)
    run = _begin(order)
    status = RunStatus.FAILED
    try:
        with entering(run, order.sweep_run_id), _stoppable(order):
            run.log_params(order.params)
            value = _value(run, order.metric, _call(function, {**order.fixed, **order.params}))
        status = RunStatus.FINISHED
    except _StopTrial:
        status = RunStatus.KILLED
        return Cancelled(message="The sweep was stopped.")
    except Exception:
        raise
    except BaseException:
        status = RunStatus.KILLED
        raise
    finally:
        run.end(status)
        _sources.pop(order.run_id, None)
    return value


def _begin(order: Order) -> ActiveRun:
    attempt = Attempt(order.run_id, uuid.uuid4().hex, order.attempt, values.now_ms())
    _sources[order.run_id] = Source(attempt.attempt_id, attempt.number, attempt.start_time)
    parent = ActiveRun(order.sweep_run_id)
    return begin(order.run_id, order.experiment, order.label, parent=parent, tags=_tags(order), attempt=attempt)


def _tags(order: Order) -> dict[str, str]:
    return {
        KEY_TAG: order.key,
        PLAN_TAG: order.plan,
        TRIAL_TAG: str(order.number),
        PARAMS_TAG: orjson.dumps(order.params).decode(),
    }


def _call(function: Callable[..., Any], params: Mapping[str, Any]) -> Any:
    returned = function(**params)
    return run_coroutine(_awaited(returned)) if inspect.isawaitable(returned) else returned


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


def _value(run: ActiveRun, metric: str, returned: Any) -> float:
    """The metric that was returned, else the one that was logged last; kept in the run, as the sweep's memory."""
    numbers = _numbers(metric, returned)
    if numbers:
        run.log_metrics(numbers)
    value = numbers.get(metric)
    if value is None:
        value = run.get().metrics.get(metric)
    if value is None:
        raise InvalidInputError(
            f"The trial has no metric {metric!r}: log it (`ml.log_metric({metric!r}, …)`), or return it as a number or "
            "in a dictionary."
        )
    run.set_tag(VALUE_TAG, repr(value))
    return value


def _numbers(metric: str, returned: Any) -> dict[str, float]:
    items = returned if isinstance(returned, Mapping) else {metric: returned}
    found: dict[str, float] = {}
    for key, item in items.items():
        if item is None or isinstance(item, bool | str | bytes):
            continue
        with contextlib.suppress(InvalidInputError):  # what is no number is no metric
            found[values.name(str(key), "metric")] = values.metric_value(str(key), item)
    return found


class _StopTrial(BaseException):
    """Raised inside training when the sweep is stopped."""


@contextlib.contextmanager
def _stoppable(order: Order) -> Iterator[None]:
    """Raise in this thread when the sweep's run says that this execution stops; works on any task runner.

    Python raises between two instructions: a call into native code ends first.
    """
    over, lock, thread_id = threading.Event(), threading.Lock(), threading.get_ident()

    def look() -> None:
        while not over.wait(_LOOK_SECONDS):
            if _told_to_stop(order):
                with lock:
                    if not over.is_set():
                        ctypes.pythonapi.PyThreadState_SetAsyncExc(
                            ctypes.c_ulong(thread_id), ctypes.py_object(_StopTrial)
                        )
                return

    threading.Thread(target=look, name="prefect-ml-trial", daemon=True).start()
    try:
        yield
    finally:
        with lock:
            over.set()


def _told_to_stop(order: Order) -> bool:
    try:
        return open_store().get_run(order.sweep_run_id).tags.get(STOP_TAG) == order.execution
    except PrefectMLError:  # a store that is away tells nothing
        return False


def _die_with_parent() -> None:
    """Let this process of a pool end when its parent has: after kill -9 of a sweep nobody else would end it."""
    parent = multiprocessing.parent_process()
    if parent is None or not _WORKER_DIES_WITH_PARENT.acquire(blocking=False):
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="prefect-ml-parent", daemon=True).start()
