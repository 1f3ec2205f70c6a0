"""`@track`: an ordinary Prefect flow becomes a tracked run.

The flow's function is wrapped and keeps its file, line, name and parameters, so that everything Prefect
reads from it (schema, entrypoint, version, bundle) stays as it was. The wrapper records an attempt; the
states of the flow run, by hooks, decide how the run ends. Nothing here changes the outcome of the flow.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import functools
import inspect
import logging
import re
import sys
import threading
import types
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.context import FlowRunContext

from prefect_ml.entities import RunStatus
from prefect_ml.errors import InvalidInputError, PrefectMLError
from prefect_ml.tracking import summary, values
from prefect_ml.tracking.current import entered, entering
from prefect_ml.tracking.run import ActiveRun
from prefect_ml.tracking.start import begin

logger = logging.getLogger(__name__)

T = TypeVar("T")

_OPTIONS = "__prefect_ml_track__"
_SUMMARY_SECONDS = 10.0
_NOT_IN_KEYS = re.compile(r"[^a-z0-9]+")
# Summaries are sent while Prefect reports the end of the flow run, and waited for in the hook.
_summaries: dict[str, threading.Thread] = {}
_STATUS = {
    StateType.COMPLETED: RunStatus.FINISHED,
    StateType.FAILED: RunStatus.FAILED,
    StateType.CRASHED: RunStatus.FAILED,
    StateType.CANCELLING: RunStatus.KILLED,
    StateType.CANCELLED: RunStatus.KILLED,
}


@dataclass(frozen=True, slots=True)
class _Options:
    experiment: str | None = None
    name: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@overload
def track(flow: T, /) -> T: ...
@overload
def track(
    *, experiment: str | None = None, name: str | None = None, tags: Mapping[str, Any] | None = None
) -> Callable[[T], T]: ...
def track(
    flow: Any = None,
    /,
    *,
    experiment: str | None = None,
    name: str | None = None,
    tags: Mapping[str, Any] | None = None,
) -> Any:
    """Record each run of a flow: its parameters, what it logs, the numbers that it returns, and how it ends.

    Put it above `@flow`. Below works too, but then nobody learns that a run was cancelled or that its
    process was killed. The id of the run is that of the flow run without dashes, and its name the flow
    run's.

    Args:
        flow: the flow, when used without parentheses.
        experiment: name of the experiment, created when it does not exist; the flow's name by default.
        name: name of the runs; the flow run's by default.
        tags: tags of the runs.

    Raises:
        InvalidInputError: a tag's name that the store refuses, or something that is no flow and no function.
    """
    texts = {values.name(key, "tag"): values.tag_value(key, value) for key, value in (tags or {}).items()}
    options = _Options(experiment, name, texts)
    return functools.partial(_tracked, options=options) if flow is None else _tracked(flow, options)


def tracked_run_id() -> tuple[str | None, bool]:
    """The id that the run of the innermost flow run here has, and whether that flow is tracked."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return None, False
    return context.flow_run.id.hex, context.flow is not None and hasattr(context.flow.fn, _OPTIONS)


def _tracked(target: Any, options: _Options) -> Any:
    if isinstance(target, Flow):
        if not hasattr(target.fn, _OPTIONS):
            target.fn = _wrapped(target.fn, options)
        _install_hooks(target)
        return target
    if isinstance(target, staticmethod | classmethod):
        return type(target)(_tracked(target.__func__, options))
    if not callable(target):
        raise InvalidInputError(f"@track takes a flow, not {type(target).__name__}; put it directly above @flow.")
    return target if hasattr(target, _OPTIONS) else _wrapped(target, options)


class _Attempt:
    """One execution of a flow's function; `value` is what it returned."""

    def __init__(self, options: _Options, function: Callable[..., Any]) -> None:
        self.value: Any = None
        self.run: ActiveRun | None = None
        self._context = FlowRunContext.get()
        if self._context is None or self._context.flow_run is None or self._context.flow is None:
            return  # a plain call of flow.fn
        with _harmless("The run of this flow cannot be recorded"):
            self.run = _begin(self._context.flow, self._context.flow_run, options, function)
            _install_hooks(self._context.flow)
            _log_parameters(self.run, self._context.flow.serialize_parameters(self._context.parameters or {}))

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Make the run the current one; not for generators, whose body shares its context with the caller."""
        if self.run is None:
            yield
            return
        with entering(self.run, self.run.run_id):
            yield

    def returned(self, value: Any) -> None:
        """Record the numbers of a return value; called when the function ended well."""
        if self.run is None or self._context is None:
            return
        with _harmless("The numbers that this flow returned cannot be recorded"):
            if numbers := _numbers(value):
                self.run.log_metrics(numbers)
        if isinstance(value, State):
            if value.is_cancelled():  # no hook is called for a state that the flow itself returns
                self.run.end(RunStatus.KILLED)
            return
        with _harmless("The run's summary cannot be made"):
            thread = threading.Thread(target=_summarize, args=(self.run, self._context), daemon=True)
            thread.start()
            _summaries[self.run.run_id] = thread


def _begin(flow: Flow[..., Any], flow_run: FlowRun, options: _Options, function: Callable[..., Any]) -> ActiveRun:
    around = entered()
    run_id = flow_run.id.hex
    tags = {
        "prefect_ml.flow_name": flow.name,
        "prefect_ml.flow_run_id": str(flow_run.id),
        "prefect_ml.attempt": str(max(flow_run.run_count, 1)),
    }
    if flow_run.deployment_id is not None:
        tags["prefect_ml.deployment_id"] = str(flow_run.deployment_id)
    return begin(
        run_id,
        options.experiment or flow.name,
        options.name or flow_run.name,
        parent=None if around is None or around.run.run_id == run_id else around.run,
        tags=tags | dict(options.tags),
        source_file=inspect.unwrap(function).__code__.co_filename,
    )


def _log_parameters(run: ActiveRun, parameters: Mapping[str, Any]) -> None:
    try:
        run.log_params(parameters)
    except InvalidInputError:
        for key, value in parameters.items():
            with _harmless(f"The parameter {key!r} cannot be recorded"):
                run.log_params({key: value})


def _numbers(value: Any) -> dict[str, float]:
    """The numbers among a returned dictionary's values, or the number itself as `result`."""
    items = value.items() if isinstance(value, Mapping) else [("result", value)]
    return {key: number for key, item in items for number in _number(str(key), item)}


def _number(key: str, value: Any) -> list[float]:
    if value is None or isinstance(value, State | bool | str | bytes):
        return []
    try:
        return [values.metric_value(key, value)]
    except InvalidInputError:
        return []


@contextlib.contextmanager
def _harmless(what: str) -> Iterator[None]:
    """A failure of tracking is a warning; the flow goes on."""
    try:
        yield
    except PrefectMLError as error:
        logger.warning("%s; the flow goes on. %s", what, error)
    except Exception:  # tracking must not change the outcome of the user's flow
        logger.warning("%s; the flow goes on.", what, exc_info=True)


def _call(function: Callable[..., Any], options: _Options, args: Any, kwargs: Any) -> Any:
    attempt = _Attempt(options, function)
    with attempt.current():
        value = function(*args, **kwargs)
        attempt.returned(value)
    return value


async def _call_async(function: Callable[..., Any], options: _Options, args: Any, kwargs: Any) -> Any:
    attempt = _Attempt(options, function)
    with attempt.current():
        value = await function(*args, **kwargs)
        attempt.returned(value)
    return value


def _generate(function: Callable[..., Any], options: _Options, args: Any, kwargs: Any) -> Generator[Any, Any, Any]:
    attempt = _Attempt(options, function)
    value = yield from function(*args, **kwargs)
    attempt.returned(value)
    return value


async def _generate_async(
    function: Callable[..., Any], options: _Options, args: Any, kwargs: Any
) -> AsyncIterator[Any]:
    attempt = _Attempt(options, function)
    async with contextlib.aclosing(function(*args, **kwargs)) as items:
        async for item in items:
            yield item
    attempt.returned(None)


_BODIES: list[tuple[Callable[[Any], bool], Callable[..., Any], str]] = [
    (
        inspect.isasyncgenfunction,
        _generate_async,
        "async def w(*a, **k):\n  async for x in call(f, o, a, k): yield x",
    ),
    (inspect.isgeneratorfunction, _generate, "def w(*a, **k): return (yield from call(f, o, a, k))"),
    (inspect.iscoroutinefunction, _call_async, "async def w(*a, **k): return await call(f, o, a, k)"),
    (callable, _call, "def w(*a, **k): return call(f, o, a, k)"),
]


def _wrapped(function: Callable[..., Any], options: _Options) -> Callable[..., Any]:
    """A function with the user's file, line and globals: Prefect reads entrypoint, version and types."""
    call, body = next((call, body) for fits, call, body in _BODIES if fits(function))
    inner = inspect.unwrap(function)
    code = getattr(inner, "__code__", None)
    if not isinstance(code, types.CodeType):
        raise InvalidInputError(f"@track takes a flow or a function, not {function!r}.")
    tree = ast.parse(f"def make(call, f, o):\n {body}\n return w")
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt | ast.expr | ast.arg):
            node.lineno = node.end_lineno = code.co_firstlineno
    made: dict[str, Any] = {}
    exec(compile(tree, code.co_filename, "exec"), inner.__globals__, made)  # noqa: S102 - one of the bodies above
    wrapper: Callable[..., Any] = functools.wraps(function)(made["make"](call, function, options))
    setattr(wrapper, _OPTIONS, options)
    return wrapper


def _install_hooks(flow: Flow[..., Any]) -> None:
    for state in ("completion", "failure", "crashed", "cancellation"):
        name = f"on_{state}_hooks"
        hooks = getattr(flow, name) or []
        if end_run not in hooks:  # with_options() shares the list with the original, so a new one is set
            setattr(flow, name, [*hooks, end_run])


def end_run(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> Any:
    """State hook: end the run as the flow run ended; runs in whatever process learns of it."""
    with contextlib.suppress(RuntimeError):
        asyncio.get_running_loop()
        return asyncio.to_thread(_end, flow, flow_run, state)
    _end(flow, flow_run, state)
    return None


def _end(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    run = ActiveRun(flow_run.id.hex)
    with _harmless("The end of this run cannot be recorded"):
        if run.outlet.attempt is None:
            _begin(flow, flow_run, getattr(flow.fn, _OPTIONS, _Options()), flow.fn)
        run.end(_STATUS[state.type])
    begun = _summaries.pop(run.run_id, None)
    begun.join(_SUMMARY_SECONDS) if begun else _summarize(run, None)


def _summarize(run: ActiveRun, context: FlowRunContext | None) -> None:
    """Leave the run's summary in Prefect's UI, by the client that the flow run has open already."""
    with _harmless("The run's summary is not in Prefect's UI"):
        _send(_artifact(run), context)


def _artifact(run: ActiveRun) -> dict[str, Any]:
    entity = run.get()
    store = run.outlet.store
    experiment = store.get_experiment(entity.experiment_id).name
    return {
        "key": f"{_NOT_IN_KEYS.sub('-', experiment.lower()).strip('-') or 'tracked'}-run",
        "type": "markdown",
        "description": "What prefect-ml recorded of this run.",
        "data": summary.markdown(entity, experiment),
        "flow_run_id": entity.tags["prefect_ml.flow_run_id"],
    }


def _send(artifact: dict[str, Any], context: FlowRunContext | None) -> None:
    if context is None:
        with get_client(sync_client=True) as client:
            client.request("POST", "/artifacts/", json=artifact)
    elif isinstance(context.client, SyncPrefectClient):
        context.client.request("POST", "/artifacts/", json=artifact)
    elif context.client.loop is not None:
        request = context.client.request("POST", "/artifacts/", json=artifact)
        asyncio.run_coroutine_threadsafe(request, context.client.loop).result(_SUMMARY_SECONDS)


class _CallableModule(types.ModuleType):
    """`prefect_ml.track` is this module where something imported it before the decorator of that name."""

    __call__ = staticmethod(track)


sys.modules[__name__].__class__ = _CallableModule
