"""The tracking server: one process, or several, that serve the store and its artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect_ml.settings import Settings

__all__ = ["run_server"]


def run_server(
    *, host: str = "127.0.0.1", port: int = 5000, workers: int = 1, settings: Settings | None = None
) -> None:
    """Serve the store until SIGTERM or SIGINT; see `prefect_ml.server.run.run_server`."""
    from prefect_ml.server import run  # noqa: PLC0415 - loads the web server

    run.run_server(host=host, port=port, workers=workers, settings=settings)
