"""One execution of a flow's function: an attempt of the run that the flow run is."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prefect import Flow, Task
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.exceptions import Pause

from prefect_ml.entities import RunStatus
from prefect_ml.errors import InvalidInputError
from prefect_ml.flowruns.harmless import harmless
from prefect_ml.flowruns.options import Options, left_out
from prefect_ml.flowruns.outlive import outlive_worker
from prefect_ml.flowruns.start import begin_run
from prefect_ml.flowruns.states import STATUS, install_hooks
from prefect_ml.flowruns.summary import summarize_soon
from prefect_ml.tracking import values
from prefect_ml.tracking.current import entering
from prefect_ml.tracking.run import ActiveRun


class Execution:
    """What happens around a flow's function; outside of a flow run, as in `flow.fn()`, nothing does."""

    def __init__(self, options: Options, function: Callable[..., Any]) -> None:
        self.run: ActiveRun | None = None
        self._options = options
        self._context = FlowRunContext.get()
        if self._context is None or self._context.flow_run is None or self._context.flow is None:
            return
        if left_out(options, self._context.flow, self._context.flow_run):
            return
        self._entered = self._is_entered()
        outlive_worker()
        with harmless("The run of this flow cannot be recorded"):
            self.run = begin_run(self._context.flow, self._context.flow_run, options, function)
            install_hooks(self._context.flow)
            if not options.wrapper:
                _log_parameters(self.run, _shown(self._context.flow, self._context.parameters or {}))

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Make the run the current one; not for generators, whose body shares its context with the caller."""
        if self.run is None:
            yield
            return
        with entering(self.run, self.run.run_id), self.suspending():
            yield

    @contextlib.contextmanager
    def suspending(self) -> Iterator[None]:
        """Record when the flow run is suspended here, where another process will go on, and note that it failed."""
        try:
            yield
        except Exception:
            self._note(RunStatus.FAILED)
            raise
        except Pause:
            if self.run is not None:
                with harmless("That the run is suspended cannot be recorded"):
                    self.run.end(RunStatus.SCHEDULED)
            raise

    def returned(self, value: Any) -> None:
        """Record the numbers of a return value; called when the function ended well."""
        if self.run is None or self._context is None:
            return
        self._note(STATUS.get(value.type, RunStatus.FINISHED) if isinstance(value, State) else RunStatus.FINISHED)
        with harmless("The numbers that this flow returned cannot be recorded"):
            if not self._options.wrapper and (numbers := _numbers(value)):
                self.run.log_metrics(numbers)
        if isinstance(value, State):
            if value.is_cancelled():  # no hook is called for a state that the flow itself returns
                self.run.end(RunStatus.KILLED)
            return
        with harmless("The run's summary cannot be made"):
            summarize_soon(self.run, self._context)

    def _note(self, status: RunStatus) -> None:
        """Note how the code ended, for when Prefect's engine cannot tell how the flow run does."""
        if self.run is not None:
            self.run.outlet.code_ended(status, lambda: self._entered and not self._is_entered())

    def _is_entered(self) -> bool:
        """Whether the engine executes this attempt still: it leaves the context after it told, or failed to tell."""
        return self._context is not None and self._context._token is not None  # noqa: SLF001 - nothing public says it


def _shown(flow: Flow[..., Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as Prefect keeps them; functions, tasks and flows by name, of which it keeps nothing."""
    given = flow.serialize_parameters(dict(parameters))
    names = {key: _name(value) for key, value in parameters.items() if key in given}
    return given | {key: name for key, name in names.items() if name}


def _name(value: Any) -> str:
    """The dotted path of a function, class, task or flow; "" of anything else."""
    found = value.fn if isinstance(value, Flow | Task) else value
    if isinstance(found, types.FunctionType | types.BuiltinFunctionType | types.MethodType | type):
        return f"{found.__module__}:{found.__qualname__}"
    return ""


def _log_parameters(run: ActiveRun, parameters: Mapping[str, Any]) -> None:
    try:
        run.log_params(parameters)
    except InvalidInputError:
        for key, value in parameters.items():
            with harmless(f"The parameter {key!r} cannot be recorded"):
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
