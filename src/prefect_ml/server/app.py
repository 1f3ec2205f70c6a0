"""The server's application: assembly only.

A request passes the gate, then the calls of `HttpStore`, then the table of the protocol's routes, then those of
files; what is none of them goes to a FastAPI application with health, version and documentation.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from prefect_ml.http.bodies import Bodies
from prefect_ml.http.cors import LocalPages
from prefect_ml.http.gate import LOCAL_NAMES, Gate
from prefect_ml.http.lanes import Lanes
from prefect_ml.http.metrics import RequestMetrics
from prefect_ml.http.observed import Observed
from prefect_ml.http.rate import Rate
from prefect_ml.http.refusal import RefusedError
from prefect_ml.http.request_log import RequestLog
from prefect_ml.protocol.absent import refuse_absent
from prefect_ml.protocol.artifacts.app import FileRoutes
from prefect_ml.protocol.dispatch import TOO_LARGE, Dispatch
from prefect_ml.protocol.openapi import document
from prefect_ml.protocol.table import ROUTES
from prefect_ml.server.calls import Calls
from prefect_ml.server.health import Health
from prefect_ml.server.promotions import ROUTES as PROMOTIONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from starlette.requests import Request

    from prefect_ml.protocol.backend import Backend
    from prefect_ml.settings import Settings

# The page of FastAPI's documentation gets its script and style from there.
_DOCS_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' https://cdn.jsdelivr.net; style-src 'unsafe-inline' "
    "https://cdn.jsdelivr.net; img-src 'self' data: https://fastapi.tiangolo.com; connect-src 'self'; "
    "frame-ancestors 'none'"
)
_PAGE = "<!doctype html><title>{0} {1}</title><h1>{1}</h1>"


def build_app(backend: Backend, settings: Settings, hosts: Collection[str] = ()) -> Observed:
    """The whole application.

    Args:
        backend: the store and the artifacts that it serves.
        settings: limits and the token.
        hosts: names of this machine that are served without a token, beside those of loopback.
    """
    metrics = RequestMetrics()
    lanes = Lanes.of(settings.server_threads, settings.server_waiting)
    bodies = Bodies(
        settings.server_max_body,
        settings.server_body_timeout,
        "PREFECT_ML_SERVER_MAX_BODY",
        code=TOO_LARGE,
    )
    pages = _pages(backend, metrics)
    files = FileRoutes(backend, pages, settings, bodies)
    dispatch = Dispatch((*ROUTES, *PROMOTIONS), backend, files, lanes=lanes, bodies=bodies)
    token = settings.server_token.get_secret_value() if settings.server_token else None
    calls = Calls(backend.store, backend.artifacts, dispatch, lanes=lanes, bodies=bodies)
    pages.state.closing = (lanes, files)
    gate = Gate(
        calls,
        token=token,
        hosts={*LOCAL_NAMES, *hosts},
        open_paths=("/health",),
        setting="PREFECT_ML_SERVER_TOKEN",
        rate=Rate(settings.server_rate) if settings.server_rate else None,
    )
    return Observed(LocalPages(gate), metrics, RequestLog(settings.server_log))


def _pages(backend: Backend, metrics: RequestMetrics) -> FastAPI:
    health = Health(backend)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        health.close()
        for each in app.state.closing:
            each.close()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    app.openapi = lambda: document((*ROUTES, *PROMOTIONS))  # type: ignore[method-assign]  # FastAPI's way to give another document
    app.add_exception_handler(HTTPException, _refused)

    @app.get("/health", include_in_schema=False)
    async def check_health() -> Response:
        return await health.answer()

    @app.get("/metrics", include_in_schema=False)
    def tell_metrics() -> Response:
        content, kind = metrics.text()
        return Response(content, media_type=kind)

    @app.get("/version", include_in_schema=False)
    async def version() -> Response:
        return PlainTextResponse(installed_version("prefect-ml"))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        page = get_swagger_ui_html(openapi_url="/openapi.json", title="prefect-ml")
        page.headers["content-security-policy"] = _DOCS_POLICY
        return page

    return app


async def _refused(request: Request, error: Exception) -> Response:
    """An unknown path and a wrong method, as clients of the protocol know them: by the status of a page."""
    try:
        refuse_absent(request.url.path)
    except RefusedError as refused:
        return JSONResponse({"error_code": refused.code, "message": str(refused)}, refused.status)
    status: int = error.status_code  # type: ignore[attr-defined]
    headers: Any = error.headers  # type: ignore[attr-defined]
    return HTMLResponse(_PAGE.format(status, HTTPStatus(status).phrase), status, headers)
