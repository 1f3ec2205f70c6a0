"""Which HTTP status and which error code of MLflow each of our errors is."""

from __future__ import annotations

import logging

from prefect_ml import errors
from prefect_ml.http.refusal import RefusedError

_log = logging.getLogger("prefect_ml.protocol")

# The first class that fits; the codes are those of MLflow's protocol.
_CODES: tuple[tuple[type[errors.PrefectMLError], int, str], ...] = (
    (errors.NotFoundError, 404, "RESOURCE_DOES_NOT_EXIST"),
    (errors.AlreadyExistsError, 400, "RESOURCE_ALREADY_EXISTS"),
    (errors.InactiveError, 400, "INVALID_PARAMETER_VALUE"),
    (errors.InvalidInputError, 400, "INVALID_PARAMETER_VALUE"),
    (errors.ProtectedError, 403, "PERMISSION_DENIED"),
    (errors.NotAllowedError, 403, "PERMISSION_DENIED"),
    (errors.PromotionError, 400, "INVALID_STATE"),
    (errors.UntrustedModelError, 403, "PERMISSION_DENIED"),
    (errors.ArtifactConflictError, 409, "RESOURCE_CONFLICT"),
    (errors.CorruptArtifactError, 500, "DATA_LOSS"),
    (errors.StoreUnavailableError, 503, "TEMPORARILY_UNAVAILABLE"),
)


def refusal(error: Exception, request_id: str) -> RefusedError:
    """What a client is told of an error; what nobody foresaw is logged, and told by the request's id alone."""
    if isinstance(error, RefusedError):
        return error
    for kind, status, code in _CODES:
        if isinstance(error, kind):
            headers = {"Retry-After": "1"} if status == 503 else {}  # noqa: PLR2004
            return RefusedError(status, code, str(error), headers)
    _log.error("Request %s failed", request_id, exc_info=error)
    return RefusedError(500, "INTERNAL_ERROR", f"The server failed; its log says why, under request {request_id}.")
