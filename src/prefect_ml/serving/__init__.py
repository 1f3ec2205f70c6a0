"""The process that answers predictions and follows an alias to the next version."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect_ml.settings import Settings

__all__ = ["run_server"]


def run_server(
    *models: str,
    host: str = "127.0.0.1",
    port: int = 5001,
    workers: int = 1,
    supervised: bool = False,
    settings: Settings | None = None,
) -> None:
    """Serve models over HTTP until SIGTERM or SIGINT; see `prefect_ml.serving.server.run_server`."""
    from prefect_ml.serving import server  # noqa: PLC0415 - loads the web server and the model's library

    server.run_server(*models, host=host, port=port, workers=workers, supervised=supervised, settings=settings)
