"""The scalar types of MLflow's wire: what its clients send for each, and what they expect to get.

Its R client sends every scalar as a string, protobuf's JSON sends 64-bit integers as strings, and NaN has no JSON.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictBool, StrictStr

# What the reference sends for infinity, which JSON has not.
LARGEST = 1.7976931348623157e308


def _flag(value: Any) -> Any:
    # R's client sends these as text, in capitals.
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


def _identifier(value: Any) -> Any:
    return str(value) if type(value) is int else value


# Both take their decimal text as well, and a double also "NaN", "Infinity" and "-Infinity". pydantic does that by
# itself, and a batch has three thousand of them, so no function of ours is called for each.
Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Double = Annotated[float, Field(allow_inf_nan=True)]
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
