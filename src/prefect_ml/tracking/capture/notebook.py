"""The notebook that a run was made in: its cells as they were executed."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import orjson

from prefect_ml.tracking.capture.redact import REDACTED, mentions_secrets, redacted_text

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_BYTES = 1_000_000
_MOST_OUTPUT = 10_000
_PLAIN = (str, int, float, bool, complex)


def shell() -> Any:
    """The interactive shell of a Jupyter kernel in this process; None elsewhere."""
    found = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return found if getattr(found, "kernel", None) is not None else None


def name() -> str:
    """The notebook's file as its editor tells it (VS Code, Jupyter), "notebook" when it does not."""
    told = shell().user_ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
    return told if isinstance(told, str) and told else "notebook"


def snapshot() -> bytes | None:
    """The cells of this session in the order of execution, as a notebook of format 4; None outside of Jupyter.

    The last of them, when all are more than 1 MB. Secrets are redacted. Of outputs it has the text and numbers that
    cells returned, and the types of other objects, so that no code of theirs runs.
    """
    session = shell()
    if session is None:
        return None
    sources = list(getattr(session.history_manager, "input_hist_raw", ()))[1:]
    outputs = session.user_ns.get("Out") or {}
    cells: list[bytes] = []
    size = 0
    for number in range(len(sources), 0, -1):
        cell = orjson.dumps(_cell(number, sources[number - 1], outputs))
        size += len(cell)
        if size > MOST_BYTES:
            break
        cells.append(cell)
    return _document(cells[::-1], left_out=len(sources) - len(cells))


def _document(cells: list[bytes], *, left_out: int) -> bytes:
    document = {
        "cells": [orjson.Fragment(cell) for cell in cells],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python", "version": sys.version.split()[0]},
            "prefect_ml": {"cells_left_out": left_out},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)


def _cell(number: int, source: str, outputs: Mapping[int, object]) -> dict[str, Any]:
    shown = [_output(number, source, outputs[number])] if outputs.get(number) is not None else []
    return {
        "cell_type": "code", "id": f"cell-{number}", "execution_count": number, "metadata": {},
        "source": _text(source), "outputs": shown,
    }  # fmt: skip


def _output(number: int, source: str, value: object) -> dict[str, Any]:
    kind = type(value)
    if kind in _PLAIN and mentions_secrets(source):
        text = REDACTED
    elif kind in _PLAIN:
        text = repr(value[:_MOST_OUTPUT] if isinstance(value, str) else value)
    else:
        text = f"<{kind.__module__}.{kind.__qualname__}>"
    data = {"text/plain": _text(text[:_MOST_OUTPUT])}
    return {"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": data}


def _text(text: str) -> str:
    """Text without secrets that JSON can hold."""
    return redacted_text(text).encode("utf-8", "replace").decode()
