"""The bytes of a journal: frames that can be checked one by one.

```
file    magic, header frame, frame, frame, …, zeros up to a multiple of PAGE
frame   length (u32), CRC-32 of the payload seeded with the length (u32), payload; little endian
```
A payload is JSON, filled with spaces to a multiple of 8 bytes, so that each frame's head is written in one
piece. A length of zero marks the end.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"PMLJRNL\x01"
PAGE = 4096
HEAD = struct.Struct("<II")
_ALIGN = 8
_FILL = tuple(b" " * (-rest % _ALIGN) for rest in range(_ALIGN))
_pack = HEAD.pack


def frame(payload: bytes) -> tuple[bytes, bytes]:
    """The head and the filled payload of a frame."""
    filled = payload + _FILL[len(payload) % _ALIGN]
    length = len(filled)
    return _pack(length, crc32(filled, length)), filled


def frames(data: bytes, at: int = 0) -> Iterator[tuple[int, bytes]]:
    """Each valid frame from the offset `at`, as its end and its payload; stops before the first bad one."""
    while at + HEAD.size <= len(data):
        length, check = HEAD.unpack_from(data, at)
        end = at + HEAD.size + length
        if length == 0 or length % _ALIGN or end > len(data):
            return
        payload = data[at + HEAD.size : end]
        if crc32(payload, length) != check:
            return
        yield end, payload
        at = end


def bad_bytes(tail: bytes, end: int) -> int:
    """How many bytes of a file are damaged or cut off, from where its last valid frame ends.

    Args:
        tail: the file's bytes from `end`.
        end: where the last valid frame ends.
    """
    cut_off = -(end + len(tail)) % PAGE
    return len(tail.rstrip(b"\x00")) + cut_off
