"""The process that serves."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from prefect_ml.artifacts import open_artifacts
from prefect_ml.http.listener import listening, log_to_stderr, stopped_in_order, url_of
from prefect_ml.protocol.backend import Backend
from prefect_ml.server.app import build_app
from prefect_ml.settings import Settings
from prefect_ml.store.open import open_served_store

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator


def run_server(*, host: str = "127.0.0.1", port: int = 5000, settings: Settings | None = None) -> None:
    """Serve the store and its artifacts until SIGTERM or SIGINT, then answer what is in hand and return.

    Args:
        host: address to listen on; beyond this machine only with the setting `server_token`.
        port: TCP port; 0 takes a free one, and the line on standard output names it.
        settings: read from the environment by default.

    Raises:
        InvalidInputError: an address that cannot be listened on, or one beyond this machine without a token.
        StoreUnavailableError: the store cannot be reached.
    """
    settings = settings or Settings()
    log_to_stderr("prefect_ml")
    guarded = settings.server_token is not None
    with (
        listening(host, port, guarded=guarded, setting="PREFECT_ML_SERVER_TOKEN") as listener,
        backend_of(settings) as backend,
    ):
        server = TrackingServer(backend, listener, settings)
        with stopped_in_order(server):
            server.run(sockets=[listener])


@contextlib.contextmanager
def backend_of(settings: Settings) -> Iterator[Backend]:
    """The store and the artifacts that settings name."""
    artifacts = open_artifacts(settings.resolved_artifact_root)
    with contextlib.closing(open_served_store(settings)) as store:
        yield Backend(store, artifacts)


class TrackingServer(uvicorn.Server):
    """A uvicorn server that says on standard output where it listens."""

    def __init__(self, backend: Backend, listener: socket.socket, settings: Settings) -> None:
        self.url = url_of(listener)
        self._place = f"{backend.store.url}, artifacts in {_shown(settings.resolved_artifact_root)}"
        super().__init__(
            uvicorn.Config(
                build_app(backend, settings, hosts={listener.getsockname()[0]}),
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                lifespan="on",
                timeout_keep_alive=60,
                timeout_graceful_shutdown=settings.server_drain,
                proxy_headers=False,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            sys.stdout.write(f"Serving {self._place} at {self.url}\n")
            sys.stdout.flush()


def _shown(root: str) -> str:
    return root if "://" in root else str(Path(root).absolute())
