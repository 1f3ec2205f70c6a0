"""The scalar types of MLflow's wire: what its clients send for each, and what they expect to get.

Its R client sends every scalar as a string, protobuf's JSON sends 64-bit integers as strings, and NaN has no JSON.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictBool, StrictStr

_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
# What the reference sends for infinity, which JSON has not.
LARGEST = 1.7976931348623157e308


def _whole(value: Any) -> Any:
    if type(value) is str and _WHOLE.fullmatch(value):
        return int(value)
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is not int:
        raise ValueError("no integer")
    return value


def _number(value: Any) -> Any:
    if type(value) is float:
        return value
    if type(value) is str:
        return _WORDS[value] if value in _WORDS else float(value)
    if type(value) is not int:
        raise ValueError("no number")
    return float(value)


def _flag(value: Any) -> Any:
    # R's client sends these as text, in capitals.
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


def _identifier(value: Any) -> Any:
    return str(value) if type(value) is int else value


Int64 = Annotated[int, BeforeValidator(_whole, json_schema_input_type=int | str), Field(ge=-(2**63), lt=2**63)]
Double = Annotated[float, BeforeValidator(_number, json_schema_input_type=float | str)]
Text = StrictStr
Flag = Annotated[StrictBool, BeforeValidator(_flag, json_schema_input_type=bool)]
# An id is a string; a number, as some clients send, is taken for its digits.
Identifier = Annotated[StrictStr, BeforeValidator(_identifier, json_schema_input_type=str | int)]

Number = float | Literal["NaN"]


def number(value: float) -> Number:
    """A float as the protocol writes it: NaN as text, infinity as the largest float."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else math.copysign(LARGEST, value)
