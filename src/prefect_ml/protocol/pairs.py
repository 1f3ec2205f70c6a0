"""Lists of keys and values, as params and tags come over the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from prefect_ml.errors import InvalidInputError
from prefect_ml.protocol.fields import Text
from prefect_ml.protocol.wire import Request

if TYPE_CHECKING:
    from collections.abc import Iterable


class PairField(Request):
    """A key and its value; protobuf's clients leave an empty value out."""

    key: Text = Field(examples=["team"])
    value: Text = Field("", examples=["growth"])


def params(pairs: Iterable[PairField]) -> dict[str, str]:
    """The params by key.

    Raises:
        InvalidInputError: a key has two values.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        if found.setdefault(pair.key, pair.value) != pair.value:
            raise InvalidInputError(
                f"Duplicate parameter keys have been submitted: ['{pair.key}']. Please ensure the request contains "
                "only one param value per param key."
            )
    return found


def last_wins(pairs: Iterable[PairField]) -> dict[str, str]:
    """The pairs by key; of two with one key, the later one."""
    return {pair.key: pair.value for pair in pairs}
