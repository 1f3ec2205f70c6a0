"""Running a project in this process, for the commands that do."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import InvalidInputError
from prefect_ml.projects.request import Request
from prefect_ml.projects.run import ProjectFailedError, run_here
from prefect_ml.settings import Settings
from prefect_ml.tracking.current import entering
from prefect_ml.tracking.inherited import inherited
from prefect_ml.tracking.start import started

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from prefect_ml.projects.process import Ended


def pairs(given: Sequence[str], option: str) -> dict[str, str]:
    """What an option was given, NAME=VALUE each time.

    Raises:
        InvalidInputError: it is no pair, or a name comes twice.
    """
    found: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise InvalidInputError(f"{option} takes NAME=VALUE, not {each[:100]!r}.")
        if name in found:
            raise InvalidInputError(f"{option} gives {name!r} twice.")
        found[name] = value
    return found


def run_asked(asked: dict[str, Any], name: str | None, *, as_json: bool) -> None:
    """Run a project in this process, and tell how that went; raises as `run_project_here`.

    Args:
        asked: what of it, as `Request` takes it.
        name: of the run; made up by default.
        as_json: whether to print JSON.
    """
    begun = time.monotonic()
    run_id, ended = run_project_here(Request(**asked), name, as_json=as_json)
    tell({"run_id": run_id, "exit_code": ended.code, "seconds": round(time.monotonic() - begun, 3)}, as_json=as_json)


def tell(told: dict[str, Any], *, as_json: bool) -> None:
    """Say how a run ended."""
    if as_json:
        from prefect_ml.cli.output import print_json  # noqa: PLC0415 - takes time to load, which only its users have

        print_json(told)
        return
    rest = ", ".join(f"{key} {value}" for key, value in told.items() if key != "run_id" and value is not None)
    sys.stdout.write(f"Run {told['run_id']}: {rest}\n")


def run_project_here(request: Request, name: str | None = None, *, as_json: bool) -> tuple[str, Ended]:
    """Run a project without Prefect, which takes seconds to start, and show its output.

    Within the command of another project, it is a child of that one's run.

    Args:
        request: what is asked.
        name: of the run; made up by default.
        as_json: whether standard output is for JSON, so that the command's goes to standard error.

    Returns:
        The id of the run, and how the command ended.

    Raises:
        SystemExit: the command failed, with its exit code.
        PrefectMLError: it could not be started.
    """
    stream, around = sys.stderr if as_json else sys.stdout, inherited()

    def tell(line: str) -> None:
        stream.write(f"{line}\n")
        stream.flush()

    with (
        nullcontext() if around is None else entering(around),
        started(request.experiment, name, parent=around, tags=None, flow_run_id=None, own_code=False) as active,
    ):
        try:
            ended = run_here(active, request, Settings(), tell=tell, serve=_served)
        except ProjectFailedError as error:
            from prefect_ml.cli.output import complaints  # noqa: PLC0415 - as above

            complaints.print(f"Error: {error} It was run {active.run_id}.", style="red", markup=False, highlight=False)
            sys.exit(error.ended.code)
    return active.run_id, ended


def _served(settings: Settings) -> AbstractContextManager[tuple[str, str]]:
    from prefect_ml.server.beside import served_beside  # noqa: PLC0415 - only where MLflow's client runs

    return served_beside(settings)
