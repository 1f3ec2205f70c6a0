"""The routes for people: the page to try a model, and the OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from starlette.concurrency import run_in_threadpool

from prefect_ml.errors import InvalidInputError
from prefect_ml.http.refusal import RefusedError
from prefect_ml.serving.failure import ModelFailedError
from prefect_ml.serving.forms import SCORING
from prefect_ml.serving.openapi import document
from prefect_ml.serving.page import POLICY, read_form, render, request_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.http.bodies import Bodies
    from prefect_ml.serving.picking import ServedModels
    from prefect_ml.serving.predictions import Predictions

_JSON = {b"content-type": b"application/json"}


def page_routes(models: ServedModels, predictions: Mapping[str, Predictions], bodies: Bodies) -> APIRouter:
    """The routes.

    Args:
        models: that are served.
        predictions: of each, by its name.
        bodies: reads what a form sends, within the bounds of all requests.
    """
    routes = APIRouter()

    @routes.get("/openapi.json")
    def openapi() -> dict[str, Any]:
        return document(models)

    @routes.get("/")
    def first() -> Response:
        return _page(render(models, models.first, {}))

    @routes.get("/try/{name}")
    def empty(name: str) -> Response:
        return _page(render(models, models.named(name), {}))

    @routes.post("/try/{name}")
    async def filled(name: str, request: Request) -> Response:
        model = models.named(name)
        body = await bodies.read(request.scope, dict(request.scope["headers"]), request.receive)
        given: dict[str, str] = {}
        try:
            given = read_form(body)
            replica = model.pick({}, None)
            answer = (await predictions[name].ask(replica, _JSON, request_of(model, given), SCORING)).body
            failed = False
        except (RefusedError, InvalidInputError, ModelFailedError) as error:
            refused = error if isinstance(error, RefusedError) else RefusedError(400, "BAD_REQUEST", str(error))
            answer, failed = SCORING.refusal(refused), True
        finally:
            bodies.release(body)
        return _page(await run_in_threadpool(render, models, model, given, answer, failed=failed))

    return routes


def _page(content: str) -> Response:
    return HTMLResponse(content, headers={"content-security-policy": POLICY})
