"""One text for one JSON value, so that a digest over it means the value."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from prefect_ml.errors import InvalidInputError

# Text of this length is a page of evidence, not a data set.
MAX_DOCUMENT = 1_000_000


def canonical(what: str, value: Any) -> str:
    """A JSON value with sorted keys, no spaces, and ASCII characters only.

    Tuples become lists and keys become texts first, so that what is read back has the same text.

    Args:
        what: what it is, for the message.
        value: the value; NaN and infinities are kept.

    Raises:
        InvalidInputError: it is no JSON value, or its text has over 1,000,000 characters.
    """
    try:
        text = _dumps(json.loads(_dumps(value, sort_keys=False)))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"{what} holds something that is no text, number, list or mapping: {error}. Convert it first."
        ) from error
    if len(text) > MAX_DOCUMENT:
        raise InvalidInputError(
            f"{what} has {len(text)} characters as JSON; at most {MAX_DOCUMENT} are kept. "
            "Log the rest as an artifact and name it there."
        )
    return text


def digest(text: str) -> str:
    """The SHA-256 of a text, as "sha256:<hex>"."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _dumps(value: Any, *, sort_keys: bool = True) -> str:
    return json.dumps(value, sort_keys=sort_keys, separators=(",", ":"), ensure_ascii=True)
