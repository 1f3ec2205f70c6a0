"""From what a caller logs to what is recorded; what cannot be meant is refused at the call."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from typing import Any

import orjson

from prefect_ml.errors import InvalidInputError
from prefect_ml.store.names import MAX_PARAM_VALUE, MAX_TAG_VALUE, check_key, check_text

_MAX_STEP = 2**63 - 1


def now_ms() -> int:
    """The time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def metric_value(key: str, value: object) -> float:
    """The number that a Python, numpy or torch scalar is; NaN and infinities are numbers.

    Raises:
        InvalidInputError: it is none (text, None, a boolean, a complex number, an array of several).
    """
    if type(value) is float:
        return value
    plain = value
    if type(plain) is not int and callable(getattr(plain, "item", None)):
        try:
            plain = plain.item()  # type: ignore[attr-defined]
        except (ValueError, RuntimeError, TypeError) as error:
            raise InvalidInputError(_no_number(key, value)) from error
    if plain is None or isinstance(plain, bool | str | bytes | bytearray | complex):
        raise InvalidInputError(_no_number(key, value))
    try:
        return float(plain)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInputError(_no_number(key, value)) from error


def step_value(step: object) -> int:
    """The integer that a step is.

    Raises:
        InvalidInputError: it is no whole number, or does not fit 64 bits.
    """
    return step if type(step) is int and -_MAX_STEP <= step <= _MAX_STEP else _whole(step, "step")


def timestamp_value(timestamp: object) -> int:
    """Milliseconds since the epoch; now when None."""
    return now_ms() if timestamp is None else _whole(timestamp, "timestamp (milliseconds since the epoch)")


def param_value(key: str, value: object) -> str:
    """Text as it is, collections as JSON, everything else by `str`; cut at `MAX_PARAM_VALUE` characters."""
    if isinstance(value, Mapping | list | tuple):
        text = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY).decode()
    else:
        text = str(value)
    return check_text(f"The value of param {key!r}", text)[:MAX_PARAM_VALUE]


@functools.lru_cache(maxsize=4096)
def _known_name(key: str, what: str) -> str:
    return check_key(what, key)


def name(key: str, what: str) -> str:
    """A name that every store takes.

    Raises:
        InvalidNameError: it is another one.
        InvalidInputError: it is no text.
    """
    return _known_name(key, what) if type(key) is str else check_key(what, key)


def tag_value(key: str, value: object) -> str:
    """Text by `str`, cut at `MAX_TAG_VALUE` characters."""
    return check_text(f"The value of tag {key!r}", str(value))[:MAX_TAG_VALUE]


def mapping(values: object, what: str) -> Mapping[str, Any]:
    """The mapping that was given.

    Raises:
        InvalidInputError: it is none.
    """
    if not isinstance(values, Mapping):
        raise InvalidInputError(f"{what} take a mapping of names to values, not {type(values).__name__}.")
    return values


def _whole(value: object, what: str) -> int:
    if isinstance(value, bool | str | bytes) or value is None:
        raise InvalidInputError(f"The {what} must be a whole number, not {value!r}.")
    try:
        number = int(value)  # type: ignore[call-overload]
        fits = number == value and -_MAX_STEP <= number <= _MAX_STEP
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInputError(f"The {what} must be a whole number, not {value!r}.") from error
    if not fits:
        raise InvalidInputError(f"The {what} must be a whole number that fits 64 bits, not {value!r}.")
    return int(number)


def _no_number(key: str, value: object) -> str:
    shown = repr(value)
    return (
        f"The metric {key!r} must be a number, not {type(value).__name__} {shown[:80]}; "
        "log text as a param or tag, and arrays value by value with a step."
    )
