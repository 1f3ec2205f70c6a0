"""Bodies that are packed by gzip: requests within bounds of what they become, answers for those who ask for it.

RFC 1952 for the format, RFC 9110 (8.4, 12.5.3) for how it is said.
"""

from __future__ import annotations

import zlib

from prefect_ml.http.refusal import RefusedError

GZIP = b"gzip"
# zlib's number for gzip's header and checksum around its largest window.
_WINDOW = 16 + zlib.MAX_WBITS
# Files within one: clients send one, and each costs time though it may be empty.
_MOST_MEMBERS = 64
# The quickest level: it makes JSON of numbers half as long, as the default one does in seven times as long.
_LEVEL = 1
_CODINGS = (GZIP, b"x-gzip")


class Unpacking:
    """Unpacks a body bit by bit, so that a small one is done at once and a large one where nobody waits for it.

    Args:
        packed: the body as it came.
    """

    def __init__(self, packed: bytes) -> None:
        self._left = packed
        self._parts: list[bytes] = []
        self._member = zlib.decompressobj(_WINDOW)
        self._members = 1
        self.size = 0

    def take(self, most: int) -> bool:
        """Unpack until there are more than so many bytes; whether all of it is unpacked.

        Raises:
            RefusedError: 400, it is not packed by gzip, is cut off, or has too many files in it.
        """
        while self.size <= most:
            try:
                part = self._member.decompress(self._left, most + 1 - self.size)
            except zlib.error as error:
                raise _broken("is not packed by it") from error
            self._parts.append(part)
            self.size += len(part)
            if not self._member.eof:
                self._left = self._member.unconsumed_tail
                if not part and not self._left:
                    raise _broken("ends too early")
                continue
            self._left = self._member.unused_data
            if not self._left:
                return True
            self._members += 1
            if self._members > _MOST_MEMBERS:
                raise _broken(f"has more than {_MOST_MEMBERS} files in it")
            self._member = zlib.decompressobj(_WINDOW)
        return False

    def body(self) -> bytes:
        """What was unpacked."""
        return b"".join(self._parts)


def is_gzip(coding: bytes) -> bool:
    """Whether a Content-Encoding header says gzip; not where it says that nothing was done.

    Raises:
        RefusedError: 415, it says something else.
    """
    said = coding.strip().lower()
    if said in (b"", b"identity"):
        return False
    if said not in _CODINGS:
        shown = coding[:60].decode("latin-1")
        raise RefusedError(
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            f"The body has the Content-Encoding {shown!r}; send it packed by gzip, or as it is.",
            {"Accept-Encoding": "gzip"},
        )
    return True


def accepts_gzip(accept_encoding: bytes) -> bool:
    """Whether an Accept-Encoding header asks for gzip; `*` does not, since it asks for nothing by name."""
    for part in accept_encoding.lower().split(b","):
        coding, *parameters = (each.strip() for each in part.split(b";"))
        if coding in _CODINGS:
            weights = [each[2:].strip() for each in parameters if each.startswith(b"q=")]
            return not weights or weights[0].strip(b"0.") != b""
    return False


def packed(body: bytes) -> bytes:
    """A body packed by gzip, quickly."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW)
    return packer.compress(body) + packer.flush()


def _broken(why: str) -> RefusedError:
    return RefusedError(400, "BAD_REQUEST", f"The body has the Content-Encoding gzip and {why}; send it whole.")
