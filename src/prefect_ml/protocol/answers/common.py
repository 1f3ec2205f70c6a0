"""What several answers hold."""

from __future__ import annotations

from collections.abc import Mapping

from typing_extensions import TypedDict


class Empty(TypedDict):
    """Nothing to say: it is done."""


class Pair(TypedDict):
    key: str
    value: str


def pairs(of: Mapping[str, str]) -> list[Pair]:
    return [{"key": key, "value": value} for key, value in of.items()]
