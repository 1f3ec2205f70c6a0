"""The calls of the store's contract, read from it once, and how they travel between `HttpStore` and a server.

A call is `POST /api/prefect-ml/1/<method>` with its arguments by name as a JSON object; the answer is the result as
JSON. Values are those of the entities, without any mapping of our own: an object for a dataclass, an array for a
NamedTuple, the value of an enumeration. `NaN`, `Infinity` and `-Infinity` stand as these words, as Python and
JavaScript's relatives write them, and integers have all their digits. The number in the path is that of this wire: a
field with a default may be added to a dataclass or a method at any time, all else needs another number.

An error is an object with the class of `prefect_ml.errors` by name, its message and its fields; the client raises it
again.
"""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from functools import cache, cached_property
from typing import Any, NotRequired, Protocol, get_type_hints

import orjson
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from pydantic_core import from_json, to_json
from typing_extensions import TypedDict

from prefect_ml import errors
from prefect_ml.entities import Page, Stage
from prefect_ml.errors import InvalidInputError, PrefectMLError
from prefect_ml.store.call_complaints import refused, unsendable
from prefect_ml.store.contract import Store

PREFIX = "/api/prefect-ml/1/"
KEY_HEADER = "Idempotency-Key"

# A float ends at 309 digits.
_LONG_NUMBER = re.compile(rb"[0-9]{309}")
# Every other method writes, as far as the wire knows: a read that is taken for a write costs a row, no more.
_READING = ("get_", "search_", "list_", "sample_")
_READS = frozenset(
    {
        "alias_at",
        "alias_history",
        "audit",
        "journal_offset",
        "latest_versions",
        "policy_for",
        "recorders",
        "silent_attempts",
        "told_up_to",
        "verify_audit",
    }
)
# What is not asked of a server, but of the object itself.
_LOCAL = frozenset({"close", "url"})

_ERRORS: dict[str, type[PrefectMLError]] = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, PrefectMLError)
}


# Type checkers know only those whose fields stand in the source.
_typed_dict: Any = TypedDict

Answer = tuple[int, bytes]


class KeyedStore(Store, Protocol):
    """A store that answers a repeated call as it did before."""

    def once(self, key: str, work: Callable[[], Answer]) -> Answer:
        """Do `work`, which calls this store, in one transaction with the note of its answer.

        A key that was used before gives the answer noted; one whose call is under way elsewhere is waited for.

        Args:
            key: names the call.
            work: gives the HTTP status and the body of the answer. It may run more than once, so it changes nothing
                but the store; what it raises undoes all of it.
        """
        ...


class Call:
    """A method of the contract.

    Attributes:
        name: of the method.
        reads: whether it changes nothing, and may be repeated.
        signature: its parameters, without `self`.
    """

    def __init__(self, name: str) -> None:
        method = getattr(Store, name)
        signature = inspect.signature(method)
        self.name = name
        self.reads = name in _READS or name.startswith(_READING)
        self.signature = signature.replace(parameters=list(signature.parameters.values())[1:])
        self._hints = get_type_hints(method)

    def encode(self, *args: Any, **kwargs: Any) -> bytes:
        """The body of a request.

        Raises:
            InvalidInputError: an argument is nothing that can be sent.
            TypeError: the arguments are not those of the method.
        """
        given = _plain(self.signature.bind(*args, **kwargs).arguments)
        try:
            text = json.dumps(given, ensure_ascii=False, default=_object, separators=(",", ":"))
            body = text.encode()
        except (TypeError, ValueError) as error:
            raise self._refusal(unsendable(given) or str(error)) from error
        if _LONG_NUMBER.search(body) and (problem := unsendable(given)):
            raise self._refusal(problem)
        return body

    def arguments(self, body: bytes) -> dict[str, Any]:
        """The arguments in a body, by name.

        Raises:
            InvalidInputError: they are not those of the method.
        """
        try:
            return self._arguments.validate_json(body, strict=True)
        except ValidationError as error:
            raise self._refusal(_sentence(error, body)) from error

    def result(self, body: bytes) -> Any:
        """The result in an answer.

        Raises:
            PrefectMLError: it is none, as from a server of another release.
        """
        try:
            return _frozen(self._result.validate_json(body, strict=True))
        except ValidationError as error:
            raise PrefectMLError(
                f"The server's answer to {self.name} cannot be read: {_sentence(error, body)}. "
                "Use the same release of prefect-ml on both sides."
            ) from error

    def _refusal(self, problem: str) -> InvalidInputError:
        return InvalidInputError(f"The store's {self.name} cannot take its arguments: {problem}.")

    @cached_property
    def _arguments(self) -> TypeAdapter[dict[str, Any]]:
        parameters: dict[str, Any] = {}
        for name, each in self.signature.parameters.items():
            hint = _or_text(self._hints[name])
            parameters[name] = hint if each.default is each.empty else NotRequired[hint]
        return TypeAdapter(with_config(ConfigDict(extra="forbid"))(_typed_dict(self.name, parameters)))

    @cached_property
    def _result(self) -> TypeAdapter[Any]:
        return TypeAdapter(self._hints["return"])


@cache
def calls() -> dict[str, Call]:
    """Every method of the contract by name, but those that are answered by the object itself."""
    named = (name for name, what in inspect.getmembers(Store, inspect.isfunction) if not name.startswith("_"))
    return {name: Call(name) for name in named if name not in _LOCAL}


def encode_result(value: Any) -> bytes:
    """What a method of the contract gives, as JSON."""
    return to_json(value, inf_nan_mode="constants")


def encode_error(error: PrefectMLError) -> bytes:
    """An error as JSON, with its nearest class of `prefect_ml.errors`."""
    kind = next(each for each in type(error).__mro__ if _ERRORS.get(each.__name__) is each)
    # A message may quote half a surrogate pair, which is no UTF-8.
    message = str(error).encode(errors="replace").decode()
    fields = {name: value for name, value in vars(error).items() if isinstance(value, str | int | float | bool | None)}
    return orjson.dumps({"error": kind.__name__, "message": message, "fields": fields})


def decode_error(body: bytes) -> PrefectMLError | None:
    """The error that an answer tells; None when it is of no such form. An unknown class becomes `PrefectMLError`."""
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(told, dict) or not isinstance(name := told.get("error"), str):
        return None
    kind = _ERRORS.get(name, PrefectMLError)
    # Its own __init__ takes what the message was made of; here both are known.
    error = kind.__new__(kind)
    error.args = (str(told.get("message", "")),)
    fields = told.get("fields")
    for field, value in fields.items() if isinstance(fields, dict) else ():
        if not hasattr(error, field):
            setattr(error, field, value)
    return error


def _or_text(hint: Any) -> Any:
    """A parameter's type, for a stage any text: the store takes its names in any case, and tells them."""
    return {Stage: str, Sequence[Stage]: Sequence[str]}.get(hint, hint)


def _plain(value: Any) -> Any:
    """A value of the contract in the types of JSON, without looking into what needs no change."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain_field(field, getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        for key in value:
            # Python would make text of a number here.
            if not isinstance(key, str):
                raise InvalidInputError(f"The name {key!r} must be a string, got {type(key).__name__}.")
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return [_plain(each) for each in value]
    return value


def _plain_field(field: Field[Any], value: Any) -> Any:
    # What may be anything is what JSON makes of it, as in a database.
    return value if "Any" in str(field.type) else _plain(value)


def _object(value: object) -> dict[Any, Any]:
    """A mapping of another kind within what may be anything."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is nothing that JSON has")


def _frozen(value: Any) -> Any:
    """A result whose values hold tuples, as those of a database do and as their defaults are."""
    if isinstance(value, list):
        return [_frozen(each) for each in value]
    if isinstance(value, dict):
        return {key: _frozen(each) for key, each in value.items()}
    if isinstance(value, float):
        # Python takes one object for equal to itself, whatever it is: so two readings of one thing are equal.
        return math.nan if math.isnan(value) else value
    if isinstance(value, Page):
        return Page(_frozen(value.items), value.next_token)
    if is_dataclass(value):
        for field in fields(value):
            held = getattr(value, field.name)
            if isinstance(held, list | dict) or is_dataclass(held):
                kept = _frozen(held)
                object.__setattr__(value, field.name, tuple(kept) if isinstance(kept, list) else kept)
    return value


def _sentence(error: ValidationError, body: bytes) -> str:
    first = error.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        return first["msg"]
    return refused(first, from_json(body))
