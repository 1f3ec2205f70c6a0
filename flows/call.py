"""Calling a flow in a file with parameters that are text: `python -m prefect_ml.flows.call FILE:FUNCTION --NAME VALUE`.

This is the command of a project's entry point `FILE:FUNCTION`.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from typing import Any

from prefect import Flow
from prefect.flows import load_flow_from_entrypoint
from pydantic import TypeAdapter, ValidationError

import prefect_ml as ml
from prefect_ml.errors import InvalidInputError
from prefect_ml.flowruns.options import OPTIONS

# As `str` writes them, which is how a run's parameters are recorded.
_CONSTANTS = {"None": None, "True": True, "False": False, "nan": float("nan"), "inf": float("inf")}


def call_flow(entrypoint: str, given: Sequence[str]) -> None:
    """Call a flow and wait for its end; it is tracked, unless its decorator says that it is not.

    Args:
        entrypoint: `path/of/file.py:function`.
        given: `--name value` or `--name=value`, as often as there are parameters.

    Raises:
        InvalidInputError: something is no such parameter.
        MissingFlowError: the file has no such flow.
        ScriptError: the file fails.
    """
    flow: Flow[..., Any] = load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
    if not hasattr(flow.fn, OPTIONS):
        flow = ml.track(flow)
    known = inspect.signature(flow.fn, eval_str=True).parameters
    texts = dict(_pairs(given))
    if unknown := sorted(set(texts) - set(known)):
        raise InvalidInputError(f"The flow {entrypoint!r} has no parameter {', '.join(unknown)}.")
    outcome = flow(**{name: value_of(text, known[name].annotation) for name, text in texts.items()})
    if isinstance(outcome, Awaitable | AsyncIterator):
        asyncio.run(_awaited(outcome))
    elif isinstance(outcome, Iterator):
        for _ in outcome:
            pass


def value_of(text: str, annotation: Any) -> Any:
    """The value that a text is for a parameter.

    Args:
        text: as a run's parameters are recorded: text as it is, collections as JSON, all else as `str` writes it.
        annotation: of the parameter. Where it says nothing, text that reads as JSON or as a constant of Python is that.
    """
    plain = _plain(text)
    if annotation in {inspect.Parameter.empty, Any}:
        return plain
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    for candidate in ([None] if text == "None" else []) + [text, plain]:
        try:
            adapter.validate_python(candidate)
        except ValidationError:
            continue
        return candidate
    return text


def _plain(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _pairs(given: Sequence[str]) -> Iterator[tuple[str, str]]:
    words = iter(given)
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name:
            raise InvalidInputError(f"{word[:100]!r} is no parameter; write --NAME VALUE.")
        yield name, value if equals else next(words, "")


async def _awaited(outcome: Awaitable[Any] | AsyncIterator[Any]) -> None:
    if isinstance(outcome, AsyncIterator):
        async for _ in outcome:
            pass
    else:
        await outcome


if __name__ == "__main__":
    call_flow(sys.argv[1], sys.argv[2:])
