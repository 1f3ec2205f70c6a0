"""Running a project in this process, for the commands that do."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

from prefect_ml.cli.output import complaints
from prefect_ml.projects.run import ProjectFailedError, run_here
from prefect_ml.server.beside import served_beside
from prefect_ml.settings import Settings
from prefect_ml.tracking.current import entering
from prefect_ml.tracking.inherited import inherited
from prefect_ml.tracking.start import started

if TYPE_CHECKING:
    from prefect_ml.projects.process import Ended
    from prefect_ml.projects.request import Request


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
            ended = run_here(active, request, Settings(), tell=tell, serve=served_beside)
        except ProjectFailedError as error:
            complaints.print(f"Error: {error} It was run {active.run_id}.", style="red", markup=False, highlight=False)
            sys.exit(error.ended.code)
    return active.run_id, ended
