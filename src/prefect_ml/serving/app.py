"""The app that answers predictions by MLflow's scoring protocol."""

from __future__ import annotations

import logging
from functools import partial
from importlib.metadata import version

import anyio
import orjson
from anyio import to_thread
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from prefect_ml.errors import InvalidInputError
from prefect_ml.serving.front import TooLargeError
from prefect_ml.serving.replica import Replica, Served
from prefect_ml.serving.scoring import UnsupportedTypeError, decode, encode

log = logging.getLogger(__name__)


def make_app(served: Served, *, threads: int = 4, waiting: int = 256) -> FastAPI:
    """The app over a served model.

    Args:
        served: What answers.
        threads: Predictions at a time.
        waiting: Requests that may wait for a thread; more are answered 503 with Retry-After.
    """
    app = FastAPI(title=f"prefect-ml: {served.uri}", version=version("prefect-ml"), redoc_url=None)
    limiter: list[anyio.CapacityLimiter] = []

    @app.get("/ping", response_class=PlainTextResponse)
    async def ping() -> str:
        """Answer as long as the process lives."""
        return "\n"

    @app.get("/health")
    async def health() -> dict[str, object]:
        """Say which version answers, and why a newer one was refused, if one was."""
        return served.health()

    @app.get("/version", response_class=PlainTextResponse)
    async def show_version() -> str:
        """Say which release of prefect-ml this is."""
        return version("prefect-ml")

    @app.post("/invocations")
    async def invocations(request: Request) -> Response:
        """Predict for a JSON body (dataframe_split, dataframe_records, instances or inputs) or a CSV body."""
        if not limiter:
            limiter.append(anyio.CapacityLimiter(threads))
        if limiter[0].statistics().tasks_waiting >= waiting:
            return _error(503, "TEMPORARILY_UNAVAILABLE", "Too many requests wait; retry later.", {"Retry-After": "1"})
        try:
            body = await request.body()
        except TooLargeError as error:
            return _error(413, "BAD_REQUEST", str(error), {"Connection": "close"})
        work = partial(_answer, served.replica, request.headers.get("content-type", ""), body)
        return await to_thread.run_sync(work, limiter=limiter[0])

    return app


def _answer(replica: Replica, content_type: str, body: bytes) -> Response:
    try:
        data, params = decode(content_type, body, replica.model.signature)
        answer = encode(_predict(replica, data, params))
    except UnsupportedTypeError as error:
        return _error(415, "BAD_REQUEST", str(error))
    except InvalidInputError as error:
        return _error(400, "BAD_REQUEST", str(error))
    except (TypeError, orjson.JSONEncodeError) as error:
        log.exception("The predictions cannot be written as JSON.")
        return _error(500, "INTERNAL_ERROR", f"The model's predictions cannot be written as JSON: {error}")
    return Response(answer, media_type="application/json", headers=_names(replica))


def _predict(replica: Replica, data: object, params: object) -> object:
    try:
        return replica.model.predict(data, params)  # type: ignore[arg-type]  # decode gives a mapping
    except InvalidInputError:
        raise
    except Exception as error:
        # the trace may quote the caller's or the operator's data: it stays in the log
        log.exception("The model failed on a request.")
        raise InvalidInputError(f"The model failed on this input: {type(error).__name__}: {error}") from error


def _names(replica: Replica) -> dict[str, str]:
    source = replica.source
    if source.name is None:
        return {}
    return {"x-model-name": source.name.encode("ascii", "replace").decode(), "x-model-version": str(source.version)}


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error_code": code, "message": message}, status_code=status, headers=headers)
