"""What a pickle would import, found by reading its opcodes; nothing is unpickled.

A pickle can run only what it imports, so the imports tell what it can do. The stack and the memo are followed far
enough to resolve names that lie on them. What cannot be followed to the end is told as a problem.
"""

from __future__ import annotations

import codecs
import contextlib
import pickletools
import re
from collections import ChainMap
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import IO, Any, Final, NamedTuple

# What one argument may have before it is stepped over instead of read; names of modules are far below.
_READ: Final = 1 << 16
_LONGEST_LINE: Final = 1 << 16
_MOST_IMPORTS: Final = 1000
_MOST_VALUES: Final = 20_000_000
_FEW: Final = 32
OPCODES: Final = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
_STRINGS = {"SHORT_BINSTRING": "latin-1", "BINSTRING": "latin-1"}
_TEXTS = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"})
_IDENTIFIER = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_DTYPE = re.compile(r"[<>=|]?([?bhilqBHILQiufcmMSUVO])(\d{0,9})")
COMPUTED = "(computed)"


class Import(NamedTuple):
    """A name that a pickle takes from a module."""

    module: str
    name: str

    @property
    def plausible(self) -> bool:
        """Whether such a name can exist; what is read in bytes that are no pickle mostly cannot."""
        return (
            self.module.startswith("(")
            or COMPUTED in self
            or bool(_IDENTIFIER.fullmatch(self.module) and _IDENTIFIER.fullmatch(self.name))
        )


WRAPPER = Import("joblib.numpy_pickle", "NumpyArrayWrapper")
_NUMPY_DTYPE = Import("numpy", "dtype")


@dataclass(slots=True)
class PickleScan:
    """What was found in one pickle.

    Attributes:
        imports: each name once, in order.
        calls: whether something is called or given a state, so that an import can do more than import.
        problem: why it could not be followed to its end, "" when it could.
    """

    imports: dict[Import, None] = field(default_factory=dict)
    calls: bool = False
    problem: str = ""


class _Value:
    """A value that does not matter, except that it may be text where a name is looked for."""


class _Call(NamedTuple):
    """An object that a class or function of the pickle makes."""

    of: Any
    arguments: Any


class _BrokenError(Exception):
    """What was read is no whole pickle."""


_ERRORS = (_BrokenError, ValueError, OverflowError, OSError, EOFError)
_UNKNOWN: Final = _Value()
_NO_TEXT: Final = _Value()
_MARK: Final = object()


def scan_pickle(stream: IO[bytes], size: int) -> PickleScan:
    """Read one pickle from where a seekable stream of so many bytes stands, up to its STOP or first error.

    Arrays that joblib leaves between the opcodes are stepped over; they are read as opcodes, too, since who does not
    unpickle by joblib does so. The stream stands after the pickle then.
    """
    machine = _Machine(stream, size, arrays=True)
    try:
        machine.run()
    except _ERRORS as error:
        machine.found.problem = machine.found.problem or str(error) or type(error).__name__
    return machine.found


class _Machine:
    """Follows the opcodes as an unpickler would, with names in the place of what they name."""

    def __init__(self, stream: IO[bytes], size: int, *, arrays: bool) -> None:
        self.found = PickleScan()
        self._stream = stream
        self._size = size
        self._arrays = arrays
        self._stack: list[Any] = []
        self._memo: MutableMapping[int, Any] = {}

    def run(self) -> None:
        while True:
            code = self._stream.read(1)
            if not code:
                raise _BrokenError("it ends before its STOP opcode")
            opcode = OPCODES.get(code)
            if opcode is None:
                raise _BrokenError(f"it has {code!r}, which is no opcode, at {self._stream.tell() - 1}")
            argument = self._argument(opcode)
            if opcode.name == "STOP":
                return
            if len(self._stack) > _MOST_VALUES:
                raise _BrokenError(f"it keeps more than {_MOST_VALUES} values on its stack")
            self._follow(opcode.name, argument)

    def _argument(self, opcode: Any) -> Any:
        about = opcode.arg
        if about is None:
            return None
        if about.n == pickletools.UP_TO_NEWLINE:
            return self._of_lines(opcode.name)
        if about.n >= 0:
            return about.reader(self._stream)
        width = {pickletools.TAKEN_FROM_ARGUMENT1: 1, pickletools.TAKEN_FROM_ARGUMENT8U: 8}.get(about.n, 4)
        signed = about.n == pickletools.TAKEN_FROM_ARGUMENT4
        length = int.from_bytes(self._bytes(width), "little", signed=signed)
        return self._counted(opcode.name, length)

    def _of_lines(self, name: str) -> Any:
        if name in ("GLOBAL", "INST"):
            return self._named_by_lines()
        line = self._line()
        if name in ("PUT", "GET"):
            return int(line)
        if name == "STRING":
            quoted = line[:1] in (b"'", b'"') and line[-1:] == line[:1]
            return codecs.escape_decode(line[1:-1])[0].decode("latin-1") if quoted else _UNKNOWN
        if name == "UNICODE":
            return line.decode("raw-unicode-escape", "replace")
        known = int(line) if line.isdigit() and len(line) <= _FEW else _NO_TEXT
        return _UNKNOWN if name == "PERSID" else known

    def _named_by_lines(self) -> Import:
        lines = [self._stream.readline(_LONGEST_LINE) for _ in range(2)]
        # Without its line break the last character is lost, and the import takes place.
        what = Import(*(line[:-1].decode("utf-8", "replace") for line in lines))
        if any(not line.endswith(b"\n") for line in lines):
            self.found.imports[what] = None
            raise _BrokenError("it ends within a name, or has one that is too long")
        return what

    def _line(self) -> bytes:
        line = self._stream.readline(_LONGEST_LINE)
        while not line.endswith(b"\n") and len(line) == _LONGEST_LINE:
            # Longer than any name: a number or a text.
            line = self._stream.readline(_LONGEST_LINE)
            if line.endswith(b"\n"):
                return COMPUTED.encode()
        if not line.endswith(b"\n"):
            raise _BrokenError("it ends within a line")
        return line[:-1]

    def _counted(self, name: str, length: int) -> Any:
        if length > _READ:
            self._step_over(length)
            return _NO_TEXT  # longer than any name
        data = self._bytes(length)
        if name in _TEXTS:
            return data.decode("utf-8", "surrogatepass")
        if name in _STRINGS:
            return data.decode(_STRINGS[name])
        return int.from_bytes(data, "little", signed=True) if name.startswith("LONG") and length <= _FEW else _NO_TEXT

    def _bytes(self, length: int) -> bytes:
        data = self._stream.read(length) if length >= 0 else b""
        if len(data) != length:
            raise _BrokenError("it ends within an argument")
        return data

    def _step_over(self, length: int) -> None:
        there = self._stream.tell() + length
        if length < 0 or there > self._size:
            raise _BrokenError("it ends within an argument")
        self._stream.seek(there)

    def _follow(self, name: str, argument: Any) -> None:
        own = getattr(self, f"_do_{name.lower()}", None)
        if own is not None:
            own(argument)
        elif name in _MEMO_PUTS:
            self._memo[argument] = self._stack[-1] if self._stack else _UNKNOWN
        elif name in _MEMO_GETS:
            if argument not in self._memo:
                raise _BrokenError(f"it takes {argument} from its memo, where nothing is")
            self._stack.append(self._memo[argument])
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name.startswith("EXT"):
            self._import(Import("(copyreg extension)", str(argument)))
        elif name in _SMALL_TUPLES:
            items = [self._pop() for _ in range(_SMALL_TUPLES[name])]
            self._stack.append(tuple(reversed(items)))
        else:
            self._stack.append(_NO_TEXT if argument is None else argument)

    def _pop(self) -> Any:
        return self._stack.pop() if self._stack else _UNKNOWN

    def _to_mark(self) -> list[Any]:
        items = []
        while self._stack and (item := self._stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def _import(self, what: Import) -> None:
        self.found.imports[what] = None
        if len(self.found.imports) > _MOST_IMPORTS:
            raise _BrokenError(f"it imports more than {_MOST_IMPORTS} names")
        self._stack.append(what)

    def _call(self, of: Any, arguments: Any) -> None:
        self.found.calls = True
        self._stack.append(_Call(of, arguments))

    def _do_proto(self, _: int) -> None:
        """Of no effect on the stack."""

    def _do_frame(self, _: int) -> None:
        """Of no effect on the stack."""

    def _do_readonly_buffer(self, _: None) -> None:
        """Of no effect on the stack."""

    def _do_mark(self, _: None) -> None:
        self._stack.append(_MARK)

    def _do_pop(self, _: None) -> None:
        self._pop()

    def _do_pop_mark(self, _: None) -> None:
        self._to_mark()

    def _do_dup(self, _: None) -> None:
        self._stack.append(self._stack[-1] if self._stack else _UNKNOWN)

    def _do_memoize(self, _: None) -> None:
        self._memo[len(self._memo)] = self._stack[-1] if self._stack else _UNKNOWN

    def _do_global(self, what: Import) -> None:
        self._import(what)

    def _do_stack_global(self, _: None) -> None:
        if len(self._stack) < 2:  # noqa: PLR2004 - a module and a name
            raise _BrokenError("it takes a name from its stack, where none is")
        name, module = self._pop(), self._pop()
        self._import(Import(_name(module), _name(name)))

    def _do_inst(self, what: Import) -> None:
        arguments = self._to_mark()
        self._import(what)
        self._call(self._pop(), tuple(arguments))

    def _do_obj(self, _: None) -> None:
        of, *arguments = self._to_mark() or [_UNKNOWN]
        self._call(of, tuple(arguments))

    def _do_reduce(self, _: None) -> None:
        arguments, of = self._pop(), self._pop()
        self._call(of, arguments)

    _do_newobj = _do_reduce

    def _do_newobj_ex(self, _: None) -> None:
        _keywords, arguments, of = self._pop(), self._pop(), self._pop()
        self._call(of, arguments)

    def _do_build(self, _: None) -> None:
        state = self._pop()
        self.found.calls = True
        made = self._stack[-1] if self._stack else None
        if self._arrays and isinstance(made, _Call) and made.of == WRAPPER:
            self._array(state)

    def _do_tuple(self, _: None) -> None:
        items = self._to_mark()
        self._stack.append(tuple(items) if len(items) <= _FEW else _NO_TEXT)

    def _do_dict(self, _: None) -> None:
        items = self._to_mark()
        self._stack.append({})
        self._set(items)

    def _do_empty_dict(self, _: None) -> None:
        self._stack.append({})

    def _do_setitem(self, _: None) -> None:
        value, key = self._pop(), self._pop()
        self._set([key, value])

    def _do_setitems(self, _: None) -> None:
        self._set(self._to_mark())

    def _do_append(self, _: None) -> None:
        self._pop()

    def _do_appends(self, _: None) -> None:
        self._to_mark()

    _do_additems = _do_appends

    def _do_list(self, _: None) -> None:
        self._to_mark()
        self._stack.append(_NO_TEXT)

    _do_frozenset = _do_list

    def _do_binpersid(self, _: None) -> None:
        self._pop()
        self._stack.append(_UNKNOWN)

    def _do_next_buffer(self, _: None) -> None:
        self._stack.append(_UNKNOWN)

    def _set(self, items: list[Any]) -> None:
        target = self._stack[-1] if self._stack else None
        if isinstance(target, dict):
            for key, value in zip(items[::2], items[1::2], strict=False):
                if isinstance(key, str) and len(target) < _FEW:
                    target[key] = value

    def _array(self, state: Any) -> None:
        """Step over the bytes of an array of joblib's, after reading them as the opcodes that they are for others."""
        known = state if isinstance(state, dict) else {}
        here = self._stream.tell()
        self._read_as_opcodes()
        self._stream.seek(here)
        kind, width = _width(known.get("dtype"))
        if kind == "O":
            inner = scan_pickle(self._stream, self._size)
            self.found.imports.update(inner.imports)
            if inner.problem:
                raise _BrokenError(inner.problem)
            return
        shape = known.get("shape")
        if width is None or not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
            raise _BrokenError("it holds an array of joblib's whose type or shape cannot be told")
        count = width
        for length in shape:
            count *= length
        if known.get("numpy_array_alignment_bytes") is not None:
            self._step_over(self._bytes(1)[0])
        self._step_over(count)

    def _read_as_opcodes(self) -> None:
        other = _Machine(self._stream, self._size, arrays=False)
        other._stack, other._memo = list(self._stack), ChainMap({}, self._memo)
        with contextlib.suppress(*_ERRORS):  # numbers are seldom opcodes for long
            other.run()
        if other.found.calls:
            self.found.imports.update(dict.fromkeys(what for what in other.found.imports if what.plausible))


_MEMO_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_MEMO_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_SMALL_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _name(value: Any) -> str:
    """A part of a name as it lies on the stack; an unpickler takes nothing but text for it."""
    if isinstance(value, str):
        return value
    if value is _UNKNOWN or (isinstance(value, _Call) and value.of not in (WRAPPER, _NUMPY_DTYPE)):
        return COMPUTED
    raise _BrokenError("it takes something that is no text for a name")


def _width(dtype: Any) -> tuple[str, int | None]:
    """The kind and the size in bytes of a numpy dtype as a pickle makes it; ("", None) when it is another."""
    arguments = dtype.arguments if isinstance(dtype, _Call) and dtype.of == _NUMPY_DTYPE else None
    text = arguments[0] if isinstance(arguments, tuple) and arguments else None
    match = _DTYPE.fullmatch(text) if isinstance(text, str) else None
    if match is None or not (match[2] or match[1] == "O"):
        return "", None
    return match[1], int(match[2] or 0) * (4 if match[1] == "U" else 1)
