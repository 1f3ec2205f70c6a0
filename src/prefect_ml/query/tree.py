"""What the parser makes of a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Entity = Literal["attribute", "metric", "param", "tag", "dataset"]
Operator = Literal["=", "!=", "<", "<=", ">", ">=", "LIKE", "ILIKE", "IN", "NOT IN"]
Value = str | float | int | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One condition; `value` is a number for metrics and numeric attributes, a tuple for IN and NOT IN, else a text."""

    entity: Entity
    key: str
    operator: Operator
    value: Value


@dataclass(frozen=True, slots=True)
class OrderBy:
    """One sort key."""

    entity: Entity
    key: str
    ascending: bool = True
