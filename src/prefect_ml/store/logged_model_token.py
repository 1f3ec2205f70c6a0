"""Page tokens of searches for logged models, which tell in what another search differs."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from prefect_ml.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

# What a token is bound to, in MLflow's words.
_PARTS = (
    ("Experiment IDs in the page token do", "experiment IDs"),
    ("Filter string in the page token does", "filter string"),
    ("Order by in the page token does", "order by"),
)


def bind_token(bound: Sequence[object], token: str | None) -> str | None:
    """A token that says what it is bound to; nothing for none."""
    return None if token is None else ".".join([*map(_mark, bound), token])


def unbind_token(bound: Sequence[object], token: str | None) -> str | None:
    """The token that was bound.

    Raises:
        InvalidInputError: it is bound to something else, or to nothing.
    """
    if not token:
        return None
    *marks, plain = token.split(".")
    if len(marks) != len(_PARTS):
        raise InvalidInputError(
            "Invalid page token, could not base64-decode it. Start without a token, and pass on the one you are given."
        )
    for mark, part, (of_token, of_request) in zip(marks, bound, _PARTS, strict=True):
        if mark != _mark(part):
            raise InvalidInputError(f"{of_token} not match the requested {of_request}. Start without a token.")
    return plain


def _mark(part: object) -> str:
    return hashlib.sha256(repr(part).encode()).hexdigest()[:12]
