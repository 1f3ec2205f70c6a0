"""The one gate through which every unpickling goes.

Unpickling runs whatever the file says. So it happens only when the operator named the origin of the file in
the setting `PREFECT_ML_TRUSTED_ORIGINS`; nothing that stands in a model folder can widen that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.durable import open_to_read
from prefect_ml.errors import ArtifactError, UntrustedModelError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Trust:
    """Where a model comes from, and the origins that the operator trusts.

    A pattern is a model URI or folder, compared as text; with a trailing `*` it trusts all that begin like
    it. Since `models:/churn*` also begins `models:/churn-copy/1`, write `models:/churn/*`.
    """

    origin: str
    trusted_origins: Sequence[str] = ()

    @property
    def given(self) -> bool:
        return any(_matches(self.origin, pattern) for pattern in self.trusted_origins)

    def require(self, what: str) -> None:
        """Raise `UntrustedModelError`, which says what to set, unless the origin is trusted."""
        if not self.given:
            raise UntrustedModelError(
                f"Loading {self.origin!r} would run code from {what}, and its origin is not trusted. "
                f"If you trust whoever can write there, set PREFECT_ML_TRUSTED_ORIGINS={self.origin} "
                "(comma-separated; a trailing * matches all that begin so); "
                "else save the model in a format that needs no pickle."
            )


def unpickle(path: Path, trust: Trust) -> Any:
    """The object in a pickle or cloudpickle file of a trusted origin.

    Raises:
        UntrustedModelError: the origin is not trusted; the file was not opened.
        ArtifactError: the file is damaged, or needs a module that is not installed.
    """
    trust.require(f"the pickle {path.name!r}")
    import cloudpickle  # noqa: PLC0415 - only when a pickle is really loaded

    with open_to_read(path) as stream:
        try:
            return cloudpickle.load(stream)
        except Exception as error:
            raise ArtifactError(f"The pickle {path.name!r} of {trust.origin!r} cannot be loaded: {error!r}.") from error


def _matches(origin: str, pattern: str) -> bool:
    return origin.startswith(pattern[:-1]) if pattern.endswith("*") else origin == pattern
