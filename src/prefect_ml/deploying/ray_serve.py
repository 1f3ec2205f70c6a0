"""A served model as an application of Ray Serve: many replicas on a cluster, behind Ray's HTTP proxies.

Each replica loads the model as `prefect-ml serve` does: resolved in the store, verified against its digest, trusted by
the operator's settings alone, and followed when it is an alias or an endpoint.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import InvalidInputError
from prefect_ml.serving.app import build_app
from prefect_ml.serving.opening import opened_models
from prefect_ml.serving.predictions import Limits
from prefect_ml.serving.server import observers_of
from prefect_ml.serving.wanted import wanted_models
from prefect_ml.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping, Sequence

    # of ASGI (https://asgi.readthedocs.io/en/latest/specs/main.html)
    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

# Beyond its drain, a server needs up to 5 s for a version that is being loaded.
_AFTER_DRAIN = 10


def deployment(
    *models: str, name: str = "prefect-ml", replicas: int = 1, settings: Settings | None = None, **options: Any
) -> Any:
    """An application for `ray.serve.run`, which speaks MLflow's scoring protocol below its route prefix.

    Args:
        models: what is served, as `prefect-ml serve` takes it; the first answers `/invocations`.
        name: of Ray's deployment.
        replicas: how many; give `num_replicas="auto"` or `autoscaling_config` in `options` instead to have Ray choose.
        settings: of every replica, which go to the cluster with their secrets; from its own environment when None.
        options: Ray's own for a deployment, for example `ray_actor_options`
            (https://docs.ray.io/en/latest/serve/api/doc/ray.serve.deployment_decorator.html).

    Raises:
        InvalidInputError: no model URI, or two of one name. On a replica, that is, while Ray deploys it: there is
            neither a token nor a list of hosts, so that everybody who reaches the proxy would be served.
    """
    wanted_models(models)  # what cannot be meant is refused here, not on a replica
    try:
        from ray import serve  # noqa: PLC0415 (an extra, and slow to import)
    except ImportError as error:
        raise InvalidInputError(
            "Ray Serve is not installed; install it with: pip install 'prefect-ml[ray-serve]'."
        ) from error

    def build() -> Replica:
        return Replica(models, settings or Settings())

    here = settings or Settings()
    chosen: dict[str, Any] = {
        "name": name,
        "num_replicas": replicas,
        # Ray holds back what is more, where a server of its own answers 503 with Retry-After.
        "max_ongoing_requests": here.serve_threads + here.serve_waiting,
        "graceful_shutdown_timeout_s": here.serve_drain + _AFTER_DRAIN,
    }
    if "autoscaling_config" in options:
        del chosen["num_replicas"]
    made: Any = serve.deployment(serve.ingress(build)())  # Ray's types tell of the decorator alone
    return made.options(**{**chosen, **options}).bind()


class Replica:
    """The serving application of one replica, with the store that it follows open as long as it lives.

    Args:
        models: what is served.
        settings: of this replica.
    """

    def __init__(self, models: Sequence[str], settings: Settings) -> None:
        if settings.serve_token is None and not settings.serve_hosts:
            raise InvalidInputError(
                "Ray's proxies may be reached from other machines: set PREFECT_ML_SERVE_TOKEN on the cluster to the "
                "secret that clients shall send, or PREFECT_ML_SERVE_HOSTS to the names that are served without one."
            )
        with ExitStack() as opened:
            found = opened.enter_context(opened_models(wanted_models(models), settings))
            self._app = build_app(found, Limits.of(settings), settings, observers=observers_of(settings))
            self._opened = opened.pop_all()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, self._closing(send))
        else:
            await self._app(_below(scope), receive, send)

    def _closing(self, send: Send) -> Send:
        async def told(message: Message) -> None:
            if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                self._opened.close()
            await send(message)

        return told


def _below(scope: Scope) -> Scope:
    """What is asked below the route prefix of the application."""
    prefix = scope.get("root_path", "")
    if not prefix:
        return scope
    return {**scope, "root_path": "", "path": scope["path"].removeprefix(prefix) or "/"}
