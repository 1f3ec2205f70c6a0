"""The command `prefect-ml`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from prefect_ml.cli.run_arguments import plain_run
from prefect_ml.errors import PrefectMLError
from prefect_ml.store.origin import origin

if TYPE_CHECKING:
    from prefect_ml.cli.commands import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; errors that are raised on purpose end as one sentence and exit code 1."""
    try:
        with origin(channel="cli"):
            _run()
    except PrefectMLError as error:
        from rich.console import Console  # noqa: PLC0415 - what went well needs none

        Console(stderr=True, soft_wrap=True).print("Error: " + str(error), style="red", markup=False, highlight=False)
        sys.exit(1)


def _run() -> None:
    if (asked := plain_run(sys.argv[1:])) is not None:
        from prefect_ml.cli.projects import run_and_tell  # noqa: PLC0415 - for this command alone

        run_and_tell(asked)
        return
    from prefect_ml.cli.commands import app  # noqa: PLC0415 - takes longer to load than a project to start

    app()


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from prefect_ml.cli.commands import app  # noqa: PLC0415 - as above

    return app
