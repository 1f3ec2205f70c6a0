"""The cells of a CSV table, which are all text, as the values that a signature's column takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from prefect_ml.models.schema import ValueType

_BOOLEANS = {"true": True, "false": False}


def typed_cells(cells: list[str], type_: ValueType | None) -> list[Any]:
    """The cells of one column; text that does not read as `type_` stays text, for the signature to name.

    An empty cell is null. With no `type_`, the column is one of integers, of numbers, of booleans or of text, whichever
    fits all of it first.
    """
    match type_:
        case "integer" | "long":
            return [_integer(cell) for cell in cells]
        case "float" | "double":
            return [_number(cell) for cell in cells]
        case "boolean":
            return [_BOOLEANS.get(cell.lower(), cell or None) for cell in cells]
        case None:
            return _guessed(cells)
        case _:
            return [cell or None for cell in cells]


def _guessed(cells: list[str]) -> list[Any]:
    for convert in (_integer, _number, lambda cell: _BOOLEANS.get(cell.lower(), cell or None)):
        values = [convert(cell) for cell in cells]
        if not any(isinstance(value, str) for value in values):
            return values
    return [cell or None for cell in cells]


def _integer(cell: str) -> int | str | None:
    return cast("int | str | None", _read(cell, int))


def _number(cell: str) -> float | str | None:
    return cast("float | str | None", _read(cell, float))


def _read(cell: str, type_: Any) -> Any:
    """Python also reads `1_0` and other scripts' digits as numbers; a table does not mean them."""
    if not cell or not cell.isascii() or "_" in cell:
        return cell or None
    try:
        return type_(cell)
    except ValueError:
        return cell
