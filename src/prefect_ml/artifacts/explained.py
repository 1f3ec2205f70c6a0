"""What the operating system says, as errors of ours."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from prefect_ml.errors import ArtifactConflictError, ArtifactError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def explained(action: str, *, where: bool = True) -> Iterator[None]:
    """Within, an `OSError` becomes a `NotFoundError` or an `ArtifactError` that says what could not be done.

    Args:
        action: what is tried, with the artifact's name.
        where: whether to say which file is missing; not where a server's folders are no client's business.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        missing = repr(error.filename) if where else "it"
        raise NotFoundError(f"Cannot {action}: {missing} does not exist.") from error
    except OSError as error:
        place = f" ({error.filename!r})" if error.filename is not None else ""
        raise ArtifactError(f"Cannot {action}: {error.strerror or error}{place}.") from error


def conflict(name: str) -> ArtifactConflictError:
    """The error of a name that is a folder already, or lies below one that is a file."""
    return ArtifactConflictError(f"The artifact {name!r} cannot be both a file and a folder; delete the other first.")
