"""Whether the clients of one signature can go on with another."""

from __future__ import annotations

from collections.abc import Sequence

from prefect_ml.models.schema import Column, Schema, Tensor, ValueType, describe
from prefect_ml.models.signature import Signature

# What a signature accepts besides its own type without loss, as `Signature.enforce` does.
_WIDER = {"integer": ("long", "double"), "float": ("double",)}


def incompatibilities(old: Signature, new: Signature) -> list[str]:
    """What breaks for a client that sends what `old` takes and reads what `old` gives; [] when nothing does.

    An input may become optional, wider or unneeded; outputs keep their names, order and types.
    """
    found = _inputs(old.inputs, new.inputs)
    if old.outputs is not None and old.outputs != new.outputs:
        found.append(f"the output was {_shown(old.outputs)} and is now {_shown(new.outputs)}")
    known = {param.name: param.type for param in new.params}
    found += [
        f"the parameter {p.name!r} ({p.type}) is gone or has another type"
        for p in old.params
        if known.get(p.name) != p.type
    ]
    return found


def _inputs(old: Schema | None, new: Schema | None) -> list[str]:
    if new is None:
        return []
    if old is None:
        return [f"the input was free and is now {_shown(new)}"]
    if isinstance(old[0], Tensor) != isinstance(new[0], Tensor):
        return [f"the input was {_shown(old)} and is now {_shown(new)}"]
    before = _by_key(old)
    broken = (_input(before.get(key), spec, key) for key, spec in _by_key(new).items())
    return [sentence for sentence in broken if sentence]


def _by_key(schema: Schema) -> dict[str | int, Column | Tensor]:
    specs: Sequence[Column | Tensor] = schema
    return {i if spec.name is None else spec.name: spec for i, spec in enumerate(specs)}


def _input(old: Column | Tensor | None, new: Column | Tensor, key: str | int) -> str:
    """The sentence about one input of the new signature, "" when the old one's values fit it."""
    if isinstance(new, Tensor):
        fits = isinstance(old, Tensor) and old.dtype == new.dtype and _covers(new.shape, old.shape)
        return "" if fits else f"the tensor {key!r} is now {new.dtype} of shape {list(new.shape)}"
    if not isinstance(old, Column):
        return f"the new column {key!r} is required" if new.required else ""
    if new.required and not old.required:
        return f"the column {key!r} may no longer be missing"
    if _accepts(new.type, old.type):
        return ""
    return f"the column {key!r} was {describe(old.type)} and is now {describe(new.type)}"


def _accepts(new: ValueType, old: ValueType) -> bool:
    return new == old or (isinstance(old, str) and isinstance(new, str) and new in _WIDER.get(old, ()))


def _covers(new: Sequence[int], old: Sequence[int]) -> bool:
    return len(new) == len(old) and all(n in (-1, o) for n, o in zip(new, old, strict=True))


def _shown(schema: Schema | None) -> str:
    if schema is None:
        return "unknown"
    specs: Sequence[Column | Tensor] = schema
    parts = [f"{s.dtype}{list(s.shape)}" if isinstance(s, Tensor) else describe(s.type) for s in specs]
    return ", ".join(parts[:5]) + (", ..." if len(parts) > 5 else "")  # noqa: PLR2004 - a sentence, not a listing
