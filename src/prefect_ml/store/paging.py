"""Page tokens: the sort values of the last item of a page, opaque to callers and bound to their search."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_PAGE = 50_000


def check_page_size(max_results: Any, limit: int = MAX_PAGE) -> int:
    """A page's size, 1 to `limit`."""
    if type(max_results) is not int or max_results < 1:
        raise InvalidInputError(
            f"Invalid value {max_results!r} for parameter 'max_results' supplied. It must be a positive integer."
        )
    if max_results > limit:
        raise InvalidInputError(
            f"Invalid value {max_results} for parameter 'max_results' supplied. It must be at most {limit}."
        )
    return max_results


def encode_token(search: object, values: Sequence[Any], part: int = 0) -> str:
    """A token for what follows the item with these sort values (str, bool, int or float) in a part of a search."""
    content = json.dumps([_fingerprint(search), part, *values], separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode()


def decode_token(search: object, token: str, kinds: Sequence[Sequence[type]]) -> tuple[int, list[Any]]:
    """The part of the search and the sort values in a token that `encode_token` made for the same search.

    Args:
        search: what identifies the search.
        token: the token.
        kinds: for each part of the search, the types of its sort values.

    Raises:
        InvalidInputError: the token is none of ours, or is another search's.
    """
    try:
        content = json.loads(base64.b64decode(token.encode(), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as error:
        raise _invalid("could not base64-decode it") from error
    if not isinstance(content, list) or content[:1] != [_fingerprint(search)]:
        raise _invalid("it belongs to another search")
    part, values = content[1] if len(content) > 1 else None, content[2:]
    if type(part) is not int or not 0 <= part < len(kinds):
        raise _invalid("it belongs to another search")
    if len(values) != len(kinds[part]) or not all(map(_fits, values, kinds[part])):
        raise _invalid("it belongs to another search")
    return part, values


def _fits(value: Any, kind: type) -> bool:
    return type(value) is kind or (kind is float and type(value) is int)


def _fingerprint(search: object) -> str:
    return hashlib.sha256(repr(search).encode()).hexdigest()[:16]


def _invalid(why: str) -> InvalidInputError:
    return InvalidInputError(f"Invalid page token, {why}. Start without a token, and pass on the one you are given.")
