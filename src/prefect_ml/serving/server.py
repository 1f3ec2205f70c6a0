"""The process that serves models over HTTP."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import uvicorn

from prefect_ml.http.gate import LOCAL_NAMES, Gate
from prefect_ml.http.listener import listening, log_to_stderr, stopped_in_order, url_of
from prefect_ml.serving.app import build_app
from prefect_ml.serving.invocations import Limits
from prefect_ml.serving.observing import Observers
from prefect_ml.serving.opening import opened_models
from prefect_ml.serving.wanted import wanted_models
from prefect_ml.settings import Settings

if TYPE_CHECKING:
    import socket

    from prefect_ml.serving.picking import ServedModel, ServedModels


def run_server(*models: str, host: str = "127.0.0.1", port: int = 5001, settings: Settings | None = None) -> None:
    """Serve models until SIGTERM or SIGINT, then answer what is in hand and return.

    An alias, a stage and `latest` are followed: the version that they mean is taken over while requests go on.

    Args:
        models: each `models:/<name>@<alias>`, `models:/<name>/<version>`, `runs:/<run id>/<path>` or a model folder,
            or one of these after `NAME=`; the first answers `/invocations`, each `/models/<name>/invocations`.
        host: address to listen on; beyond this machine only with the setting `serve_token`.
        port: TCP port; 0 takes a free one, and the line on standard output names it.
        settings: read from the environment by default.

    Raises:
        InvalidInputError: no model URI, two of one name, an address that cannot be listened on, or one beyond this
            machine without a token.
        NotFoundError: there is no such model.
        PrefectMLError: a model cannot be fetched or loaded, or fails on its own input example.
    """
    settings = settings or Settings()
    wanted = wanted_models(models)
    log_to_stderr("prefect_ml.serving")
    guarded = bool(settings.serve_token)
    with (
        listening(host, port, guarded=guarded, setting="PREFECT_ML_SERVE_TOKEN") as listener,
        opened_models(wanted, settings) as opened,
    ):
        server = ModelServer(opened, listener, settings, observers=observers_of(settings))
        with stopped_in_order(server):
            server.run(sockets=[listener])


def observers_of(settings: Settings) -> Observers:  # noqa: ARG001  those that a setting asks for are made of it
    """What the settings want to be told of each answered request, made in the process that serves."""
    return Observers()


class ModelServer(uvicorn.Server):
    """A uvicorn server of loaded models; it says on standard output where it listens."""

    def __init__(
        self,
        models: ServedModels,
        listener: socket.socket,
        settings: Settings,
        limits: Limits | None = None,
        observers: Observers | None = None,
    ) -> None:
        self._models = models
        self.url = url_of(listener)
        token = settings.serve_token.get_secret_value() if settings.serve_token else None
        hosts = {*LOCAL_NAMES, listener.getsockname()[0]}
        gate = Gate(build_app(models, limits or _limits(settings), observers), token=token, hosts=hosts)
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
            sys.stdout.write(f"Serving {', '.join(_shown(model) for model in self._models)} at {self.url}\n")
            sys.stdout.flush()


def _shown(model: ServedModel) -> str:
    versions = [replica.version for replica in model.replicas() if replica.version]
    return f"{model.name} version {', '.join(versions)}" if versions else model.name


def _limits(settings: Settings) -> Limits:
    return Limits(body=settings.serve_max_body, threads=settings.serve_threads, waiting=settings.serve_waiting)
