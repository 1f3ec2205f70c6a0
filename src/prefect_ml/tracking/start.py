"""Runs of plain scripts."""

from __future__ import annotations

import logging
import os
import platform
import signal
import threading
import uuid
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prefect_ml.entities import Attempt, RunStart, RunStatus
from prefect_ml.store.names import check_experiment_name
from prefect_ml.tracking import capture, values
from prefect_ml.tracking.current import entered, entering
from prefect_ml.tracking.inherited import inherited
from prefect_ml.tracking.run import ActiveRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType

logger = logging.getLogger(__name__)

# How a run ends with an exit code; 128 and a signal's number is how a shell says that SIGINT or SIGTERM ended it.
_EXITS = {None: RunStatus.FINISHED, 0: RunStatus.FINISHED, 130: RunStatus.KILLED, 143: RunStatus.KILLED}
# MLflow's tag of a child run.
PARENT_TAG = "mlflow.parentRunId"


def begin(
    run_id: str,
    experiment: str,
    name: str | None,
    *,
    parent: ActiveRun | None,
    tags: Mapping[str, Any] | None,
    source_file: str | None = None,
    attempt: Attempt | None = None,
    own_code: bool = True,
) -> ActiveRun:
    """Create or continue a run of this process, by an attempt of its own unless one is given.

    Without `own_code`, the run executes other code than this process, so that this one's is not looked at.
    """
    given = {values.name(key, "tag"): values.tag_value(key, value) for key, value in (tags or {}).items()}
    nested = {} if parent is None else {PARENT_TAG: parent.run_id}
    found = capture.process_tags(source_file)
    run = ActiveRun(run_id)
    now = values.now_ms()
    mine = attempt or Attempt(run_id, uuid.uuid4().hex, 1, now)
    mine = replace(mine, host=platform.node(), pid=os.getpid())
    start = RunStart(check_experiment_name(experiment), name, capture.user(), now, found | nested | given, mine)
    run.begin(start, source_file=source_file, own_code=own_code)
    return run


@contextmanager
def started(
    experiment: str,
    name: str | None,
    *,
    parent: ActiveRun | None,
    tags: Mapping[str, Any] | None,
    flow_run_id: str | None,
    own_code: bool = True,
) -> Iterator[ActiveRun]:
    """A run that lasts for the body.

    An exception ends it FAILED, an interrupt and SIGTERM KILLED. SIGTERM is only watched in the main
    thread, and where nobody else watches it. Where the run that started this process is the one around, it is
    continued instead: whoever started it ends it.
    """
    if parent is not None and entered() is None and parent == inherited():
        with entering(parent, flow_run_id):
            if tags:
                parent.set_tags(tags)
            try:
                yield parent
            finally:
                parent.flush()
        return
    run = begin(uuid.uuid4().hex, experiment, name, parent=parent, tags=tags, own_code=own_code)
    status = RunStatus.FINISHED
    try:
        with entering(run, flow_run_id), _terminating():
            yield run
    except (KeyboardInterrupt, _TerminatedError):
        status = RunStatus.KILLED
        raise
    except SystemExit as error:
        status = _EXITS.get(error.code, RunStatus.FAILED)  # type: ignore[arg-type]  # text is no key
        raise
    except GeneratorExit:
        status = RunStatus.KILLED
        raise
    except BaseException:
        status = RunStatus.FAILED
        raise
    finally:
        run.end(status)


class _TerminatedError(SystemExit):
    """SIGTERM came; leaves the process as SystemExit does, with the code that shells give it."""


@contextmanager
def _terminating() -> Iterator[None]:
    """Let SIGTERM unwind the stack, so that the run is ended."""
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    handler: Callable[[int, FrameType | None], None] = _terminate
    signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, _: FrameType | None) -> None:
    raise _TerminatedError(128 + number)
