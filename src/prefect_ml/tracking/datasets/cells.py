"""Any value as bytes: equal values as equal bytes in every process, others as other bytes.

Bounded: of a text of more than 4,000 characters its length, beginning and end count; of a collection of more than 20
items its length and 20 items, of such a set its length alone. An object of a type of its own counts by its `repr` when
its class defines one without an address in it, else by its class alone.
"""

from __future__ import annotations

import datetime as dt
import math
import operator
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

MOST_ITEMS: Final = 20
_LONGEST_TEXT = 4000
_DEEPEST = 8
_REPR = operator.attrgetter("__repr__")


def encode(value: Any, depth: int = 0) -> bytes:
    """The bytes of a value; never raises for one that cannot be read."""
    kind = type(value)
    if kind is str:
        return _framed(b"s", _text(value))
    if kind is float:
        return b"f" + _number(value)
    if kind is int or kind is bool:
        return b"i%a" % kind.__name__ + hex(value).encode()
    if value is None:
        return b"N"
    if depth >= _DEEPEST:
        return _framed(b"deep", _name(kind))
    return _framed(_name(kind), _other(value, depth))


def _other(value: Any, depth: int) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return _blob(bytes(value) if not isinstance(value, bytes) else value)
    if isinstance(value, dt.date | dt.time):
        return value.isoformat().encode()
    if isinstance(value, Mapping):
        pairs = [(encode(k, depth + 1), encode(v, depth + 1)) for k, v in _few(value.items(), len(value))]
        return _joined(len(value), [part for pair in sorted(pairs) for part in pair])
    if isinstance(value, AbstractSet):
        found = sorted(encode(item, depth + 1) for item in value) if len(value) <= MOST_ITEMS else []
        return _joined(len(value), found)
    if isinstance(value, list | tuple):
        return _joined(len(value), [encode(value[at], depth + 1) for at in _places(len(value))])
    return _foreign(value, depth)


def _foreign(value: Any, depth: int) -> bytes:
    """A value of a type that we do not know; what fails in it is its own, and its class is what is left."""
    try:
        if isinstance(value, complex):
            return _number(value.real) + b"," + _number(value.imag)
        if isinstance(value, str | float | int):
            plain = next(base for base in (str, float, int) if isinstance(value, base))
            return encode(plain(value), depth + 1)
        if getattr(value, "shape", None) and hasattr(value, "dtype"):
            items = [value.flat[at] for at in _places(value.size)]
            return _joined(
                value.size, [encode(str((value.dtype, value.shape))), *(encode(i, depth + 1) for i in items)]
            )
        if callable(getattr(value, "item", None)):
            return encode((str(getattr(value, "dtype", "")), value.item()), depth + 1)
        shown = repr(value) if _REPR(type(value)) is not _REPR(object) else ""
    except Exception:  # noqa: BLE001  somebody's class may raise anything
        return b""
    return b"" if " at 0x" in shown else _text(shown)


def _few(items: Any, size: int) -> Any:
    return items if size <= MOST_ITEMS else (item for item, _ in zip(items, range(MOST_ITEMS), strict=False))


def _places(size: int) -> range | tuple[int, ...]:
    if size <= MOST_ITEMS:
        return range(size)
    return tuple(number * (size - 1) // (MOST_ITEMS - 1) for number in range(MOST_ITEMS))


def _number(value: float) -> bytes:
    # All NaN are one, and both zeros.
    return b"nan" if math.isnan(value) else (value + 0.0).hex().encode()


def _text(value: str) -> bytes:
    if len(value) > _LONGEST_TEXT:
        half = _LONGEST_TEXT // 2
        value = f"{len(value)} {value[:half]}{value[-half:]}"
    return value.encode(errors="surrogatepass")


def _blob(value: bytes) -> bytes:
    if len(value) <= _LONGEST_TEXT:
        return value
    half = _LONGEST_TEXT // 2
    return b"%d " % len(value) + value[:half] + value[-half:]


def _name(kind: type) -> bytes:
    return f"{kind.__module__}.{kind.__qualname__}".encode(errors="surrogatepass")


def _joined(size: int, parts: list[bytes]) -> bytes:
    return b"%d" % size + b"".join(_framed(b"", part) for part in parts)


def _framed(tag: bytes, content: bytes) -> bytes:
    return b"%b:%d:%b" % (tag, len(content), content)
