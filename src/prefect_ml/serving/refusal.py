"""What the serving process answers when it does not answer with predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect_ml.errors import PrefectMLError

if TYPE_CHECKING:
    from collections.abc import Mapping


class RefusedError(PrefectMLError):
    """A request is refused with this HTTP status.

    Attributes:
        status: the HTTP status.
        code: the `error_code` of the answer.
        headers: headers of the answer beside the usual ones.
    """

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}


class ModelFailedError(PrefectMLError):
    """The model raised on data that fits its signature."""
