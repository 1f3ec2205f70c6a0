"""The ASGI application of a serving process: assembly only."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from prefect_ml.http.bodies import Bodies
from prefect_ml.http.gate import LOCAL_NAMES, Gate
from prefect_ml.http.metrics import RequestMetrics
from prefect_ml.http.observed import Observed
from prefect_ml.http.rate import Rate
from prefect_ml.http.refusal import RefusedError, refuse
from prefect_ml.http.request_log import RequestLog
from prefect_ml.serving.forms import SCORING
from prefect_ml.serving.kserve import KSERVE
from prefect_ml.serving.kserve_routes import kserve_routes
from prefect_ml.serving.metrics import ModelMetrics
from prefect_ml.serving.observing import Counting, Observers
from prefect_ml.serving.page_routes import page_routes
from prefect_ml.serving.predictions import Limits, Predictions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from prefect_ml.serving.forms import Form
    from prefect_ml.serving.picking import ServedModels
    from prefect_ml.settings import Settings

_VERSIONED = re.compile(r"/v2/models/(?P<name>[^/]+)/versions/(?P<version>[^/]+)/infer")
_ALLOW = {"Allow": "POST"}
_CODES = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}


def build_app(
    models: ServedModels, limits: Limits, settings: Settings, *, hosts: Collection[str] = (), observers: Observers
) -> Observed:
    """The whole application.

    Args:
        models: that are served; they follow their aliases as long as the application runs.
        limits: of each.
        settings: the token, the rate and the log.
        hosts: names of this machine that are served without a token, beside those of loopback.
        observers: that are told of each answered request; closed at the end.
    """
    metrics = RequestMetrics()
    of_models = ModelMetrics(metrics.registry)
    told = Observers((of_models, *observers.each))
    for observer in observers.each:
        if isinstance(observer, Counting):
            observer.count_in(metrics.registry)
    bodies = Bodies(limits.body, limits.body_seconds, "PREFECT_ML_SERVE_MAX_BODY", code="PAYLOAD_TOO_LARGE")
    predictions = {model.name: Predictions(model, limits, bodies, told, of_models) for model in models}

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        of_models.note_swaps(models)
        models.start()
        yield
        await run_in_threadpool(models.stop)
        await run_in_threadpool(Observers((*observers.each, *(o for m in models for o in m.observers))).close)
        for each in predictions.values():
            each.close()

    def numbers() -> tuple[bytes, str]:
        of_models.note_swaps(models)
        return metrics.text()

    pages = _pages(models, numbers)
    pages.include_router(page_routes(models, predictions, bodies))
    pages.router.lifespan_context = lifespan
    gate = Gate(
        Front(models, predictions, pages),
        token=settings.serve_token.get_secret_value() if settings.serve_token else None,
        hosts={*LOCAL_NAMES, *hosts, *settings.serve_hosts},
        rate=Rate(settings.serve_rate) if settings.serve_rate else None,
    )
    return Observed(gate, metrics, RequestLog(settings.serve_log))


class Front:
    """Sends what is asked often straight to the models, and the rest to FastAPI.

    FastAPI's own routes cost more than a small model's prediction.

    Args:
        models: that are served.
        predictions: of each, by its name.
        pages: everything else.
    """

    def __init__(self, models: ServedModels, predictions: Mapping[str, Predictions], pages: FastAPI) -> None:
        self._pages = pages
        self._predictions = predictions
        self._direct: dict[str, tuple[str, Predictions, Form]] = {
            f"/models/{name}/invocations": ("/models/{name}/invocations", each, SCORING)
            for name, each in predictions.items()
        }
        self._direct |= {
            f"/v2/models/{name}/infer": ("/v2/models/{name}/infer", each, KSERVE) for name, each in predictions.items()
        }
        self._direct["/invocations"] = ("/invocations", predictions[models.first.name], SCORING)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        direct = self._direct.get(scope["path"]) if scope["type"] == "http" else None
        if direct is None:
            versioned = _VERSIONED.fullmatch(scope["path"]) if scope["type"] == "http" else None
            if versioned is None or scope["method"] != "POST" or versioned["name"] not in self._predictions:
                await self._pages(scope, receive, send)
                return
            scope["route_template"] = "/v2/models/{name}/versions/{version}/infer"
            predictions = self._predictions[versioned["name"]]
            await predictions.answer(scope, receive, send, KSERVE, versioned["version"])
            return
        scope["route_template"], predictions, form = direct
        if scope["method"] == "POST":
            await predictions.answer(scope, receive, send, form)
        else:
            await refuse(send, RefusedError(405, "METHOD_NOT_ALLOWED", "Predictions are asked by POST.", _ALLOW))


def _pages(models: ServedModels, numbers: Callable[[], tuple[bytes, str]]) -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RefusedError, _refused_here)
    app.add_exception_handler(Exception, _failed)

    @app.get("/ping")
    async def ping() -> Response:
        return PlainTextResponse("\n")

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return models.health()

    @app.get("/metrics")
    def metrics() -> Response:
        content, kind = numbers()
        return Response(content, media_type=kind)

    @app.get("/version")
    async def version() -> Response:
        return PlainTextResponse(installed_version("prefect-ml"))

    @app.get("/models/{name}/health")
    async def health_of(name: str) -> dict[str, Any]:
        return models.named(name).health()

    @app.post("/models/{name}/invocations")
    async def unknown(name: str) -> None:
        models.named(name)

    app.include_router(kserve_routes(models))
    return app


async def _refused(_: Request, error: Exception) -> Response:
    status, detail, headers = error.status_code, error.detail, error.headers  # type: ignore[attr-defined]
    content = {"error_code": _CODES.get(status, "BAD_REQUEST"), "message": f"{detail}."}
    return JSONResponse(content, status, headers)


async def _refused_here(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)  # noqa: S101  it is registered for these alone
    return JSONResponse({"error_code": error.code, "message": str(error)}, error.status, dict(error.headers))


async def _failed(_: Request, __: Exception) -> Response:
    """Whatever nobody foresaw; Starlette raises it again after this answer, so that it is logged."""
    return JSONResponse({"error_code": "INTERNAL_ERROR", "message": "The server failed; its log says why."}, 500)
