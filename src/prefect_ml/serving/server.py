"""Serving models over HTTP, in this process or in several."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import TYPE_CHECKING

from prefect_ml.errors import InvalidInputError
from prefect_ml.http.listener import listening, stopped_in_order, url_of
from prefect_ml.http.metrics import forget, shared_numbers
from prefect_ml.http.patience import patient
from prefect_ml.http.process import ServingProcess
from prefect_ml.http.request_log import log_as
from prefect_ml.http.workers import Workers
from prefect_ml.serving.app import build_app
from prefect_ml.serving.observing import Observers
from prefect_ml.serving.opening import opened_models
from prefect_ml.serving.predictions import Limits
from prefect_ml.serving.wanted import wanted_models
from prefect_ml.settings import Settings

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable, Sequence

    from prefect_ml.serving.picking import ServedModel, ServedModels
    from prefect_ml.serving.wanted import Wanted

# Seconds that the head of a request may take.
_HEAD = 30.0


def run_server(
    *models: str,
    host: str = "127.0.0.1",
    port: int = 5001,
    workers: int = 1,
    supervised: bool = False,
    settings: Settings | None = None,
) -> None:
    """Serve models until SIGTERM or SIGINT, then answer what is in hand and return.

    An alias, a stage and `latest` are followed: the version that they mean is taken over while requests go on.

    Args:
        models: each `models:/<name>@<alias>`, `models:/<name>/<version>`, `runs:/<run id>/<path>` or a model folder,
            or one of these after `NAME=`; the first answers `/invocations`, each `/models/<name>/invocations`.
        host: address to listen on; beyond this machine only with the setting `serve_token`.
        port: TCP port; 0 takes a free one, and the line on standard output names it.
        workers: processes that serve, each with its own copy of the models; one that dies is replaced.
        supervised: whether one worker has a supervisor too, which replaces it when it dies; several always have.
        settings: read from the environment by default.

    Raises:
        InvalidInputError: no model URI, two of one name, an address that cannot be listened on, or one beyond this
            machine without a token.
        NotFoundError: there is no such model.
        PrefectMLError: a model cannot be fetched or loaded, or fails on its own input example; of several workers, a
            `WorkersFailedError`, and the log says why.
    """
    settings = settings or Settings()
    wanted = wanted_models(models)
    if workers < 1:
        raise InvalidInputError(f"{workers} processes cannot serve; use --workers 1 or more.")
    if settings.serve_batch_rows < 0 or settings.serve_batch_wait <= 0:
        raise InvalidInputError("A batch has 0 rows or more, and is waited for more than 0 seconds.")
    log_as(settings.serve_log)
    guarded = bool(settings.serve_token) or "*" in settings.serve_hosts
    with listening(host, port, guarded=guarded, setting="PREFECT_ML_SERVE_TOKEN") as listener:
        if workers == 1 and not supervised:
            _serve(listener, wanted, settings, lambda opened: _announce([_shown(m) for m in opened], listener))
        else:
            _serve_in_several(listener, wanted, settings, workers)


def serving_process(
    models: ServedModels,
    listener: socket.socket,
    settings: Settings,
    ready: Callable[[], None],
    *,
    limits: Limits | None = None,
    parent: int | None = None,
) -> ServingProcess:
    """The server of models that are loaded; its `run(sockets=[listener])` returns when it was told to stop.

    Args:
        models: that are served.
        listener: the socket that connections come from.
        settings: of the token, the rate, the log and the time to drain.
        ready: called once, when it serves.
        limits: those of the settings by default.
        parent: the process that started this one, which it does not outlive.
    """
    app = build_app(
        models,
        limits or Limits.of(settings),
        settings,
        hosts={listener.getsockname()[0]},
        observers=observers_of(settings),
    )
    return ServingProcess(app, ready, drain=settings.serve_drain, protocol=_protocol(), parent=parent)


def _protocol() -> type[asyncio.Protocol]:
    if importlib.util.find_spec("httptools") is None:
        return patient(_HEAD)
    from prefect_ml.http.quick import quick  # noqa: PLC0415  where it is installed

    return quick(_HEAD)


def observers_of(settings: Settings) -> Observers:
    """What the settings want to be told of each answered request, made in the process that serves."""
    if not settings.inference_log:
        return Observers()
    from prefect_ml.serving.inference_log import InferenceLog  # noqa: PLC0415  only where it is wanted

    return Observers([InferenceLog.of(settings, settings.inference_log)])


def _serve(
    listener: socket.socket,
    wanted: Sequence[Wanted],
    settings: Settings,
    ready: Callable[[ServedModels], None],
    parent: int | None = None,
) -> None:
    with opened_models(wanted, settings, url_of(listener)) as opened:
        process = serving_process(opened, listener, settings, lambda: ready(opened), parent=parent)
        with stopped_in_order(process):
            process.run(sockets=[listener])


def _serve_in_several(listener: socket.socket, wanted: Sequence[Wanted], settings: Settings, count: int) -> None:
    """Each worker loads the models itself: the thread pools of numeric libraries do not survive a fork."""
    parent = os.getpid()

    def serve(ready: Callable[[], None]) -> None:
        _serve(listener, wanted, settings, lambda _: ready(), parent)

    with shared_numbers():
        workers = Workers(count, serve, drain=settings.serve_drain, ended=forget)
        workers.run(listener, lambda: _announce([each.name for each in wanted], listener))


def _announce(names: Sequence[str], listener: socket.socket) -> None:
    sys.stdout.write(f"Serving {', '.join(names)} at {url_of(listener)}\n")
    sys.stdout.flush()


def _shown(model: ServedModel) -> str:
    versions = [replica.version for replica in model.replicas() if replica.version]
    return f"{model.name} version {', '.join(versions)}" if versions else model.name
