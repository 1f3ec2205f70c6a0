"""`@track`: an ordinary Prefect flow becomes a tracked run.

The flow's function is wrapped and keeps its file, line, name and parameters, so that everything Prefect
reads from it (schema, entrypoint, version, bundle) stays as it was. The wrapper records an attempt; the
states of the flow run, by hooks, decide how the run ends. Nothing here changes the outcome of the flow.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import logging
import sys
import types
from collections.abc import AsyncIterator, Callable, Generator, Mapping, Sequence
from typing import Any, TypeVar, overload

from prefect import Flow
from prefect.context import FlowRunContext
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from prefect_ml.entities import ModelVersion
from prefect_ml.errors import InvalidInputError
from prefect_ml.flowruns.attempt import Execution
from prefect_ml.flowruns.last_words import facts
from prefect_ml.flowruns.options import OPTIONS, Options, is_recorded, options_of
from prefect_ml.flowruns.source import source_here
from prefect_ml.flowruns.start import outer_context
from prefect_ml.flowruns.states import install_hooks, remove_hooks
from prefect_ml.store.contract import Store
from prefect_ml.tracking import values
from prefect_ml.tracking.attribution import register_source_finder
from prefect_ml.tracking.autolog import switch
from prefect_ml.tracking.autolog.telling import register_logger
from prefect_ml.tracking.current import entered, register_finder
from prefect_ml.tracking.inherited import inherited
from prefect_ml.tracking.models import register_listener
from prefect_ml.tracking.run import ActiveRun
from prefect_ml.tracking.watch import Mourner, register_mourner

T = TypeVar("T")


@overload
def track(flow: T, /) -> T: ...
@overload
def track(
    *,
    experiment: str | None = None,
    name: str | None = None,
    tags: Mapping[str, Any] | None = None,
    autolog: bool | Sequence[str] | None = None,
    enabled: bool = True,
    wrapper: bool = False,
) -> Callable[[T], T]: ...
def track(
    flow: Any = None,
    /,
    *,
    experiment: str | None = None,
    name: str | None = None,
    tags: Mapping[str, Any] | None = None,
    autolog: bool | Sequence[str] | None = None,
    enabled: bool = True,
    wrapper: bool = False,
) -> Any:
    """Record each run of a flow: its parameters, what it logs, the numbers that it returns, and how it ends.

    Put it above `@flow`. Below works too, but then nobody learns that a run was cancelled or that its
    process was killed. The id of the run is that of the flow run without dashes, and its name the flow
    run's.

    Args:
        flow: the flow, when used without parentheses.
        experiment: name of the experiment, created when it does not exist; the flow's name by default. Parameters
            may stand in it as in `flow_run_name`: "{team}-churn".
        name: name of the runs; the flow run's by default.
        tags: tags of the runs.
        autolog: whether training libraries record by themselves in these runs, or which of them ("sklearn", …);
            None leaves it to `prefect_ml.autolog`.
        enabled: False leaves this flow untracked even where every flow is tracked.
        wrapper: whether the flow only runs other code: then its parameters, its source, its packages and the numbers
            that it returns are not those of its runs.

    Raises:
        InvalidInputError: a tag's name that the store refuses, a library that autolog does not know, or something
            that is no flow and no function.
    """
    texts = {values.name(key, "tag"): values.tag_value(key, value) for key, value in (tags or {}).items()}
    if autolog:
        switch.prepare(autolog)
    options = Options(experiment, name, texts, autolog, wrapper=wrapper) if enabled else None
    return functools.partial(_tracked, options=options) if flow is None else _tracked(flow, options)


def flow_run_id_here() -> str | None:
    """The id that the run of the innermost flow run here has, or would have."""
    context = FlowRunContext.get()
    return None if context is None or context.flow_run is None else context.flow_run.id.hex


def _run_here() -> ActiveRun | None:
    """The innermost run here: of `start_run`, or of the tracked flow that this code or its task runs in."""
    around, context = entered(), FlowRunContext.get()
    if context is None or context.flow_run is None or not is_recorded(context.flow, context.flow_run):
        return inherited() if around is None else around.run
    run_id = context.flow_run.id.hex
    return around.run if around is not None and around.flow_run_id == run_id else ActiveRun(run_id)


def track_unasked(flow: Flow[..., Any], exceptions: tuple[str, ...]) -> None:
    """Track a flow for a setting: whatever its own decorator says replaces that.

    Args:
        flow: the flow.
        exceptions: patterns of names of flows to leave out.
    """
    _tracked(flow, Options(exceptions=exceptions))


def _tracked(target: Any, options: Options | None) -> Any:
    if isinstance(target, Flow):
        if (known := options_of(target.fn)) is not None and known.exceptions is not None:
            target.fn = inspect.getattr_static(target.fn, "__wrapped__")  # it was tracked for a setting
            remove_hooks(target)
        if not hasattr(target.fn, OPTIONS):
            target.fn = _marked(target.fn, options)
        if options_of(target.fn) is not None:
            install_hooks(target)
        return target
    if isinstance(target, staticmethod | classmethod):
        return type(target)(_tracked(target.__func__, options))
    if not callable(target):
        raise InvalidInputError(f"@track takes a flow, not {type(target).__name__}; put it directly above @flow.")
    return target if hasattr(target, OPTIONS) else _marked(target, options)


def _marked(function: Callable[..., Any], options: Options | None) -> Callable[..., Any]:
    """The function wrapped, or as it is with a mark that it stays so."""
    if options is not None:
        return _wrapped(function, options)
    with contextlib.suppress(AttributeError):  # a bound method takes no attributes; its function does
        setattr(inspect.unwrap(getattr(function, "__func__", function)), OPTIONS, None)
    return function


def _call(function: Callable[..., Any], options: Options, args: Any, kwargs: Any) -> Any:
    execution = Execution(options, function)
    with execution.current():
        value = function(*args, **kwargs)
        execution.returned(value)
    return value


async def _call_async(function: Callable[..., Any], options: Options, args: Any, kwargs: Any) -> Any:
    execution = Execution(options, function)
    with execution.current():
        value = await function(*args, **kwargs)
        execution.returned(value)
    return value


def _generate(function: Callable[..., Any], options: Options, args: Any, kwargs: Any) -> Generator[Any, Any, Any]:
    execution = Execution(options, function)
    with execution.suspending():
        value = yield from function(*args, **kwargs)
    execution.returned(value)
    return value


async def _generate_async(function: Callable[..., Any], options: Options, args: Any, kwargs: Any) -> AsyncIterator[Any]:
    execution = Execution(options, function)
    with execution.suspending():
        async with contextlib.aclosing(function(*args, **kwargs)) as items:
            async for item in items:
                yield item
    execution.returned(None)


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


def _wrapped(function: Callable[..., Any], options: Options) -> Callable[..., Any]:
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
    setattr(wrapper, OPTIONS, options)
    return wrapper


def _autolog() -> bool | Sequence[str] | None:
    """What the innermost recorded flow here says of autolog: its run is that of untracked flows within it, too."""
    context = FlowRunContext.get()
    while context is not None and not is_recorded(context.flow, context.flow_run):
        context = outer_context(context)
    options = None if context is None or context.flow is None else options_of(context.flow.fn)
    return None if options is None else options.autolog


def _log_here() -> logging.Logger | logging.LoggerAdapter[logging.Logger] | None:
    """The log of the task or flow run here."""
    try:
        return get_run_logger()
    except MissingContextError:
        return None


def _tell_prefect(store: Store, version: ModelVersion) -> None:
    from prefect_ml.flowruns.lineage import model_registered  # noqa: PLC0415 - only those who use it pay for its import

    model_registered(store, version)


register_finder(_run_here)
register_listener(_tell_prefect)
register_source_finder(source_here)
switch.register_choice(_autolog)
register_logger(_log_here)
register_mourner(Mourner("prefect_ml.flowruns.last_words", facts))


class _CallableModule(types.ModuleType):
    """`prefect_ml.track` is this module where something imported it before the decorator of that name."""

    __call__ = staticmethod(track)


sys.modules[__name__].__class__ = _CallableModule
