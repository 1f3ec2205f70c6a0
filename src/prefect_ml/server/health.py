"""Whether the server can do its work: the store and the artifacts are really asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, PlainTextResponse, Response

from prefect_ml.errors import PrefectMLError

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect_ml.protocol.backend import Backend


class Health:
    """Asks the store for its first experiment and the artifacts for their root."""

    def __init__(self, backend: Backend) -> None:
        self._looks: dict[str, Callable[[], object]] = {
            "store": lambda: backend.store.get_experiment("0"),
            "artifacts": backend.artifacts.list,
        }

    def answer(self) -> Response:
        """`OK`, as MLflow's clients expect it, or 503 with what cannot be reached; the log has the reasons."""
        failed = [name for name, look in self._looks.items() if not _works(look)]
        if not failed:
            return PlainTextResponse("OK")
        message = f"The server cannot reach its {' and '.join(failed)} now; its operator should look there."
        content = {"error_code": "TEMPORARILY_UNAVAILABLE", "message": message}
        return JSONResponse(content, 503, {"Retry-After": "1"})


def _works(look: Callable[[], object]) -> bool:
    try:
        look()
    except PrefectMLError:
        return False
    return True
