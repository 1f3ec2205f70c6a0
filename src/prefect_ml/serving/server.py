"""The process that serves a model over HTTP."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import uvicorn

from prefect_ml.http.gate import LOCAL_NAMES, Gate
from prefect_ml.http.listener import listening, log_to_stderr, stopped_in_order, url_of
from prefect_ml.models.uri import ModelUri, UriKind
from prefect_ml.registry.resolve import ResolvedModel, resolve
from prefect_ml.serving.app import build_app
from prefect_ml.serving.follow import Follower, Served
from prefect_ml.serving.invocations import Limits
from prefect_ml.serving.replica import load_replica
from prefect_ml.settings import Settings
from prefect_ml.store import open_store

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from prefect_ml.store.contract import Store

_FOLLOWED = (UriKind.ALIAS, UriKind.STAGE, UriKind.LATEST)


def run_server(model_uri: str, *, host: str = "127.0.0.1", port: int = 5001, settings: Settings | None = None) -> None:
    """Serve a model until SIGTERM or SIGINT, then answer what is in hand and return.

    An alias, a stage and `latest` are followed: the version that they mean is taken over while requests go on.

    Args:
        model_uri: `models:/<name>@<alias>`, `models:/<name>/<version>`, `runs:/<run id>/<path>` or a model folder.
        host: address to listen on; beyond this machine only with the setting `serve_token`.
        port: TCP port; 0 takes a free one, and the line on standard output names it.
        settings: read from the environment by default.

    Raises:
        InvalidInputError: no model URI, an address that cannot be listened on, or one beyond this machine without a
            token.
        NotFoundError: there is no such model.
        PrefectMLError: the model cannot be fetched or loaded, or fails on its own input example.
    """
    settings = settings or Settings()
    log_to_stderr("prefect_ml.serving")
    guarded = bool(settings.serve_token)
    with (
        listening(host, port, guarded=guarded, setting="PREFECT_ML_SERVE_TOKEN") as listener,
        _store_of(model_uri, settings) as store,
    ):
        server = ModelServer(model_uri, listener, settings, store)
        with stopped_in_order(server):
            server.run(sockets=[listener])


class ModelServer(uvicorn.Server):
    """A uvicorn server of one model, loaded when this is made; it says on standard output where it listens."""

    def __init__(
        self,
        model_uri: str,
        listener: socket.socket,
        settings: Settings,
        store: Store | None,
        limits: Limits | None = None,
    ) -> None:
        limits = limits or _limits(settings)
        self.served = Served(load_replica(_resolve(store, model_uri), settings))
        followed = ModelUri.parse(model_uri).kind in _FOLLOWED
        follower = Follower(self.served, store, settings) if store is not None and followed else None
        self.url = url_of(listener)
        token = settings.serve_token.get_secret_value() if settings.serve_token else None
        hosts = {*LOCAL_NAMES, listener.getsockname()[0]}
        gate = Gate(build_app(self.served, limits, follower), token=token, hosts=hosts)
        super().__init__(
            uvicorn.Config(
                gate,
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                lifespan="on",
                timeout_keep_alive=30,
                timeout_graceful_shutdown=settings.serve_drain,
                limit_concurrency=1000,
                proxy_headers=False,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            replica = self.served.current
            version = f" version {replica.version}" if replica.version else ""
            sys.stdout.write(f"Serving {replica.name}{version} at {self.url}\n")
            sys.stdout.flush()


def _limits(settings: Settings) -> Limits:
    return Limits(body=settings.serve_max_body, threads=settings.serve_threads, waiting=settings.serve_waiting)


@contextlib.contextmanager
def _store_of(model_uri: str, settings: Settings) -> Iterator[Store | None]:
    """The store that knows the model; none for a folder, which is served where there is no store."""
    if ModelUri.parse(model_uri).kind is UriKind.FOLDER:
        yield None
        return
    with contextlib.closing(open_store(settings.resolved_store_url)) as store:
        yield store


def _resolve(store: Store | None, model_uri: str) -> ResolvedModel:
    if store is None:
        path = str(ModelUri.parse(model_uri))
        return ResolvedModel(uri=path, source=path)
    return resolve(store, model_uri)
