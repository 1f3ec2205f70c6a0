"""From a request to its model, with refusals in the words that MLflow's clients look for."""

from __future__ import annotations

import contextlib
import json
import re
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, get_origin

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from prefect_ml.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from pydantic_core import ErrorDetails

_SHOWN = 200
# Where pydantic would speak of our classes, or of Python's.
_REWORDED = dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "Input should be a valid object")
_SCIENTIFIC = re.compile(r"[+-]?[0-9](?:\.[0-9]{1,17})?[eE]\+?[0-9]{1,2}")


class Request(BaseModel):
    """What a client sends; a field that is null counts as absent, and unknown ones are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


Q = TypeVar("Q", bound=Request)


def from_body(kind: type[Q], body: bytes, path: Mapping[str, str]) -> Q:
    """The request in a JSON body, with what the path says.

    A body that is no JSON counts as empty, as in the reference: the message then names the first missing field.

    Raises:
        InvalidInputError: the body is no object, or a field is missing or of another type.
    """
    if not path:
        with contextlib.suppress(ValidationError):  # looked at again below, where null counts as absent
            return kind.model_validate_json(body or b"{}")
    return _validated(kind, {**_object(body), **path})


def from_query(kind: type[Q], query: Sequence[tuple[str, str]], path: Mapping[str, str]) -> Q:
    """The request in the parameters of a URL; a field that is a list takes each of its name.

    Raises:
        InvalidInputError: a parameter is missing or of another type.
    """
    lists = _list_fields(kind)
    found: dict[str, Any] = {}
    for name, value in query:
        if name in lists:
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    return _validated(kind, {**found, **path})


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(found, dict):
        raise InvalidInputError('The body of a request must be a JSON object, such as {"run_id": "…"}.')
    return {name: value for name, value in found.items() if value is not None}


def _validated(kind: type[Q], fields: dict[str, Any]) -> Q:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        refused = error
    try:
        if _spelled_out(fields, refused):
            return kind.model_validate(fields)
    except ValidationError as error:
        refused = error
    raise InvalidInputError(_sentence(refused.errors(include_url=False)[0])) from refused


def _spelled_out(fields: dict[str, Any], refused: ValidationError) -> bool:
    """Put whole numbers in the place of their scientific notation; whether there were any.

    R's client sends a hundred thousand as "1e+05".
    """
    found = False
    for detail in refused.errors(include_url=False):
        given = detail["input"]
        if detail["type"] != "int_parsing" or not isinstance(given, str) or not _SCIENTIFIC.fullmatch(given):
            continue
        number = Decimal(given)
        if number == number.to_integral_value():
            *way, last = detail["loc"]
            place: Any = fields
            for part in way:
                place = place[part]
            place[last] = int(number)
            found = True
    return found


def _sentence(detail: ErrorDetails) -> str:
    name = _json_path(detail["loc"])
    if detail["type"] == "missing" or detail["input"] is None:
        return f"Missing value for required parameter '{name}'. See the API's documentation for what it takes."
    if detail["type"] == "string_too_long":
        last, limit = name.rpartition(".")[2], detail["ctx"]["max_length"]
        return f"'{last}' exceeds the maximum length of {limit} characters; shorten it. It is {name} of the request."
    shown = json.dumps(detail["input"], default=str)[:_SHOWN]
    message = _REWORDED.get(detail["type"], detail["msg"])
    return f"Invalid value {shown} for parameter '{name}' supplied: {message}."


def _json_path(place: Collection[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")


@cache
def _list_fields(kind: type[Request]) -> frozenset[str]:
    return frozenset(name for name, field in kind.model_fields.items() if get_origin(field.annotation) is list)
