"""Running the serving process."""

from __future__ import annotations

import ipaddress
import socket
import sys

import uvicorn

from prefect_ml.errors import InvalidInputError
from prefect_ml.models.uri import ModelUri, UriKind
from prefect_ml.registry.resolve import resolve
from prefect_ml.serving.app import make_app
from prefect_ml.serving.follow import Follower
from prefect_ml.serving.front import Front
from prefect_ml.serving.replica import Replica, Served
from prefect_ml.settings import Settings
from prefect_ml.store import open_store

# Seconds that requests under way are given when the process is told to stop.
DRAIN = 30
BACKLOG = 2048


def run_server(model_uri: str, *, host: str = "127.0.0.1", port: int = 5001, settings: Settings | None = None) -> None:
    """Load a model and serve it until SIGTERM or SIGINT, then finish the requests under way.

    Args:
        model_uri: `models:/name@alias`, which is followed; `models:/name/3`, `runs:/id/path` or a model folder.
        host: Address to listen on; beyond this machine only with `PREFECT_ML_SERVE_TOKEN`.
        port: Port to listen on; 0 takes a free one.
        settings: Read from the environment when left out.

    Raises:
        InvalidInputError: the address is not this machine's and no token is set, or the port is taken.
        NotFoundError, UntrustedModelError, CorruptArtifactError: the model cannot be loaded.
    """
    settings = settings or Settings()
    token = settings.serve_token.get_secret_value() if settings.serve_token else None
    if token is None and not _is_loopback(host):
        raise InvalidInputError(
            f"Anyone who reaches {host} could use the model: set PREFECT_ML_SERVE_TOKEN, or listen on 127.0.0.1."
        )
    listener = _listen(host, port)
    store = open_store()
    served = Served(model_uri, Replica.load(resolve(store, model_uri), settings))
    follower = Follower(served, store, settings)
    if ModelUri.parse(model_uri).kind is UriKind.ALIAS:
        follower.start()
    app = Front(make_app(served), token=token)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=DRAIN, server_header=False)
    address = listener.getsockname()
    # from here on connections wait in the socket's queue, so what is announced is reachable
    listener.listen(BACKLOG)
    sys.stdout.write(f"Serving {model_uri} at http://{_shown(address[0])}:{address[1]}\n")
    sys.stdout.flush()
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        follower.stop()
        listener.close()


def _listen(host: str, port: int) -> socket.socket:
    """Take the port before the model is loaded: a port that is taken should be known at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends without Nagle's delay only on sockets whose protocol is named
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise InvalidInputError(f"Cannot listen on {host}:{port} ({error.strerror}); choose another --port.") from error
    return listener


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
