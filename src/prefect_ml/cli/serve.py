"""`prefect-ml serve`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter


def serve(
    *models: str,
    host: str = "127.0.0.1",
    port: int = 5001,
    workers: int = 1,
    supervised: Annotated[bool, Parameter(negative="")] = False,
    batch_rows: int | None = None,
    batch_wait: float | None = None,
    parent: int | None = None,
) -> None:
    """Serve models over HTTP, by MLflow's scoring protocol, until it is told to stop.

    An alias is followed: when it moves, the new version is loaded beside the old one and takes over.

    Args:
        models: Each `models:/churn@champion`, `models:/churn/3`, `runs:/RUN_ID/model` or a model folder, or one of
            these after `NAME=`. The first answers /invocations, each /models/NAME/invocations.
        host: Address to listen on; beyond this machine only with a token (PREFECT_ML_SERVE_TOKEN).
        port: Port to listen on.
        workers: Processes that serve; each that dies is replaced.
        supervised: Replace a single worker too when it dies.
        batch_rows: Rows of several requests that are predicted at once; one request at a time when absent.
        batch_wait: Seconds that a request waits at most for others, while others are predicted.
        parent: Number of the process that starts this one; the server stops in order when that one has ended.
    """
    from prefect_ml.models.flavors.skops_types import be_lean  # noqa: PLC0415
    from prefect_ml.serving import run_server  # noqa: PLC0415 (loads the web server)
    from prefect_ml.settings import Settings  # noqa: PLC0415

    be_lean()
    given = {"serve_batch_rows": batch_rows, "serve_batch_wait": batch_wait}
    settings = Settings().replaced(**{name: value for name, value in given.items() if value is not None})
    if parent is not None:
        from prefect_ml.http.parent import end_with  # noqa: PLC0415

        end_with(parent, within=settings.serve_drain + 10)
    run_server(*models, host=host, port=port, workers=workers, supervised=supervised, settings=settings)
