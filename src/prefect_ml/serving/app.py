"""The FastAPI application of a served model: assembly only."""

from __future__ import annotations

from contextlib import asynccontextmanager
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.routing import Route

from prefect_ml.serving.invocations import Invocations, Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.responses import Response

    from prefect_ml.serving.follow import Follower, Served

_CODES = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}


def build_app(served: Served, limits: Limits, follower: Follower | None = None) -> FastAPI:
    """The routes over what is served; the follower, if any, runs as long as the application does."""
    invocations = Invocations(served, limits)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if follower is not None:
            follower.start()
        yield
        if follower is not None:
            follower.stop()
        invocations.close()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    # Straight to ASGI: FastAPI's own routes cost more than a small model's prediction.
    app.router.routes.append(Route("/invocations", invocations, methods=["POST"]))
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _failed)

    @app.get("/ping")
    async def ping() -> Response:
        return PlainTextResponse("\n")

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return served.health()

    @app.get("/version")
    async def version() -> Response:
        return PlainTextResponse(installed_version("prefect-ml"))

    return app


async def _refused(_: Request, error: Exception) -> Response:
    status, detail, headers = error.status_code, error.detail, error.headers  # type: ignore[attr-defined]
    content = {"error_code": _CODES.get(status, "BAD_REQUEST"), "message": f"{detail}."}
    return JSONResponse(content, status, headers)


async def _failed(_: Request, __: Exception) -> Response:
    """Whatever nobody foresaw; Starlette raises it again after this answer, so that it is logged."""
    return JSONResponse({"error_code": "INTERNAL_ERROR", "message": "The server failed; its log says why."}, 500)
