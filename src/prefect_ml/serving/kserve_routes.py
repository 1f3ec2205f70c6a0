"""The routes of KServe's protocol beside that of inference: what there is, and whether it can be asked."""

from __future__ import annotations

from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from prefect_ml.http.refusal import RefusedError
from prefect_ml.serving.kserve import metadata

if TYPE_CHECKING:
    from prefect_ml.serving.picking import ServedModels

_UNAVAILABLE = 503


def kserve_routes(models: ServedModels) -> APIRouter:
    """The routes over what is served; an error is `{"error": "..."}`."""
    routes = APIRouter(prefix="/v2")

    @routes.get("")
    async def server() -> dict[str, Any]:
        return {"name": "prefect-ml", "version": installed_version("prefect-ml"), "extensions": ["binary_tensor_data"]}

    @routes.get("/health/live")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @routes.get("/health/ready")
    async def ready() -> Response:
        there = all(model.replicas() for model in models)
        return JSONResponse({"ready": there}, 200 if there else _UNAVAILABLE)

    @routes.get("/models/{name}")
    @routes.get("/models/{name}/versions/{version}")
    async def model(name: str, version: str | None = None) -> Response:
        return _answered(lambda: metadata(name, [models.pick(name, {}, version), *_others(models, name, version)]))

    @routes.get("/models/{name}/ready")
    @routes.get("/models/{name}/versions/{version}/ready")
    async def model_ready(name: str, version: str | None = None) -> Response:
        def asked() -> dict[str, Any]:
            models.pick(name, {}, version)
            return {"name": name, "ready": True}

        return _answered(asked)

    @routes.post("/models/{name}/infer")
    @routes.post("/models/{name}/versions/{version}/infer")
    async def unknown(name: str, version: str | None = None) -> Response:
        return _answered(lambda: {"name": models.pick(name, {}, version).name})

    return routes


def _others(models: ServedModels, name: str, version: str | None) -> list[Any]:
    """The replicas beside the one that is picked, where no version is named."""
    if version is not None:
        return []
    picked = models.pick(name, {})
    return [replica for replica in models.named(name).replicas() if replica.version != picked.version]


def _answered(ask: Any) -> Response:
    try:
        return JSONResponse(ask())
    except RefusedError as refused:
        return JSONResponse({"error": str(refused)}, refused.status, dict(refused.headers))
