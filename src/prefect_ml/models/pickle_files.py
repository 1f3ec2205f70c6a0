"""Finding the pickles in a model folder: in files of their own, in archives, arrays and compressed files.

Bounded in bytes, members and nesting; what lies beyond, or cannot be read, is told as unread.
"""

from __future__ import annotations

import ast
import bz2
import gzip
import lzma
import os
import re
import stat
import tarfile
import tempfile
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Final, NamedTuple, Self, cast

from prefect_ml.errors import PrefectMLError
from prefect_ml.models.mlmodel import read_info
from prefect_ml.models.pickle_scan import OPCODES, Import, PickleScan, scan_pickle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DEEPEST: Final = 4
_MOST_MEMBERS: Final = 10_000
_MOST_INFLATED: Final = 4 << 30
_MOST_PICKLES: Final = 10_000
_IN_MEMORY: Final = 8 << 20
_PIECE: Final = 1 << 20
# Files of these endings are pickles, whatever they begin with.
_ENDINGS = frozenset({".pkl", ".pickle", ".joblib", ".dill", ".sav", ".pt", ".pth", ".ckpt"})
# What MLmodel files call a file that is unpickled.
_KEYS = frozenset({"pickled_model", "python_model"})
_TENSOR = re.compile(r"(.*/)?data/\d+")
_NPY = re.compile(rb"\x93NUMPY[\x01-\x03]\x00")
_ZLIB_HEADS = frozenset(bytes((0x78, flags)) for flags in range(256) if (0x7800 + flags) % 31 == 0)


class Found(NamedTuple):
    """An import of a pickle; `file` is the name in the folder, with `!` before the name within an archive."""

    file: str
    what: Import


@dataclass(slots=True)
class FolderScan:
    """What is in a folder.

    Attributes:
        files: how many files it has.
        pickles: the names of those that are or hold pickles.
        imports: what these would import, each once, in order.
        unread: names of what could not be read to its end, each with the reason.
    """

    files: int = 0
    pickles: list[str] = field(default_factory=list)
    imports: dict[Found, None] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)


def scan_folder(folder: Path) -> FolderScan:
    """Look into every file of a model folder; nothing is unpickled, extracted by name or imported."""
    scanner = _Scanner()
    declared = _declared(folder)
    for name, path in _files(folder):
        scanner.found.files += 1
        if not stat.S_ISREG(path.lstat().st_mode):
            scanner.found.unread[name] = "it is no regular file"
            continue
        try:
            with path.open("rb") as stream:
                scanner.look(stream, name, declared=name in declared, depth=0)
        except OSError as error:
            scanner.found.unread[name] = str(error)
    return scanner.found


class _TooMuchError(Exception):
    """A file holds more than is looked at."""


class _Scanner:
    def __init__(self) -> None:
        self.found = FolderScan()
        self._left = _MOST_INFLATED

    def look(self, stream: IO[bytes], name: str, *, declared: bool, depth: int) -> None:
        """Look into one file, whatever it is."""
        if depth > _DEEPEST:
            self.found.unread[name] = f"it lies in more than {_DEEPEST} archives, one in the other"
            return
        declared = declared or PurePosixPath(name).suffix.lower() in _ENDINGS
        head = stream.read(512)
        stream.seek(0)
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            self._zip(stream, name, depth)
        elif _NPY.match(head):
            self._npy(stream, name)
        elif (inflate := _inflater(head)) is not None:
            self._compressed(stream, name, inflate, declared=declared, depth=depth)
        elif head.startswith(b"\x04\x22\x4d\x18"):
            self.found.unread[name] = "it is compressed by lz4, which is not read here"
        else:
            self._plain(stream, name, head, declared=declared)
            # An archive may stand behind something else; who opens it by its end finds it.
            if head[257:262] == b"ustar":
                self._tar(stream, name, depth)
            elif zipfile.is_zipfile(stream):
                self._zip(stream, name, depth)

    def _plain(self, stream: IO[bytes], name: str, head: bytes, *, declared: bool) -> None:
        """One pickle after the other; what is no pickle by its name or beginning is one if it would call something."""
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        for number in range(_MOST_PICKLES):
            sure = _begins(head) or (declared and number == 0)
            scan = scan_pickle(stream, size)
            if sure or (scan.calls and any(what.plausible for what in scan.imports)):
                self._tell(name, scan)
            here = stream.tell()
            if scan.problem or here >= size:
                return
            head = stream.read(3)
            stream.seek(here)
        self.found.unread[name] = f"it holds more than {_MOST_PICKLES} pickles"

    def _tell(self, name: str, scan: PickleScan) -> None:
        if name not in self.found.pickles:
            self.found.pickles.append(name)
        self.found.imports.update(dict.fromkeys(Found(name, what) for what in scan.imports))
        if scan.problem:
            self.found.unread[name] = scan.problem

    def _npy(self, stream: IO[bytes], name: str) -> None:
        """An array of numpy's: its objects, when it has some, are one pickle."""
        try:
            version = stream.read(8)[6]
            width = 2 if version == 1 else 4
            header = ast.literal_eval(stream.read(int.from_bytes(stream.read(width), "little")).decode("latin-1"))
            objects = "O" in str(header["descr"])
        except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError) as error:
            self.found.unread[name] = f"the header of the array cannot be read ({error})"
            return
        if objects:
            here = stream.tell()
            size = stream.seek(0, os.SEEK_END)
            stream.seek(here)
            self._tell(name, scan_pickle(stream, size))

    def _compressed(
        self, stream: IO[bytes], name: str, inflate: Callable[[IO[bytes]], IO[bytes]], *, declared: bool, depth: int
    ) -> None:
        try:
            with inflate(stream) as inner, self._copied(inner) as copy:
                self.look(copy, name, declared=declared, depth=depth + 1)
        except _TooMuchError as error:
            self.found.unread[name] = str(error)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            if declared or inflate in _SURE:
                self.found.unread[name] = f"it cannot be decompressed ({error})"

    def _zip(self, stream: IO[bytes], name: str, depth: int) -> None:
        try:
            with zipfile.ZipFile(stream) as archive:
                members = [member for member in archive.infolist() if not member.is_dir()]
                self._count(len(members))
                torch = any(PurePosixPath(member.filename).name == "data.pkl" for member in members)
                for member in members:
                    if torch and _TENSOR.fullmatch(member.filename):
                        continue  # the bytes of a tensor, which only torch reads, as numbers
                    with archive.open(member) as inner, self._copied(inner) as copy:
                        self.look(copy, f"{name}!{member.filename}", declared=False, depth=depth + 1)
        except _TooMuchError as error:
            self.found.unread[name] = str(error)
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError) as error:
            self.found.unread[name] = f"the archive cannot be read ({error})"

    def _tar(self, stream: IO[bytes], name: str, depth: int) -> None:
        stream.seek(0)
        try:
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                for number, member in enumerate(archive):
                    self._count(number)
                    if member.isreg():
                        with cast("IO[bytes]", archive.extractfile(member)) as inner, self._copied(inner) as copy:
                            self.look(copy, f"{name}!{member.name}", declared=False, depth=depth + 1)
        except _TooMuchError as error:
            self.found.unread[name] = str(error)
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            self.found.unread[name] = f"the archive cannot be read ({error})"

    def _count(self, members: int) -> None:
        if members > _MOST_MEMBERS:
            raise _TooMuchError(f"the archive has more than {_MOST_MEMBERS} members")

    @contextmanager
    def _copied(self, inner: IO[bytes]) -> Iterator[IO[bytes]]:
        """A seekable copy, kept on the disk when it is long."""
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as copy:
            while piece := inner.read(_PIECE):
                self._left -= len(piece)
                if self._left < 0:
                    raise _TooMuchError(f"what is compressed has more than {_MOST_INFLATED >> 30} GiB")
                copy.write(piece)
            copy.seek(0)
            yield cast("IO[bytes]", copy)


def _begins(head: bytes) -> bool:
    """Whether bytes are the beginning of a pickle of protocol 2 or later."""
    return len(head) > 2 and head[0] == 0x80 and head[1] <= 5 and head[2:3] in OPCODES  # noqa: PLR2004 - the PROTO opcode


def _inflater(head: bytes) -> Callable[[IO[bytes]], IO[bytes]] | None:
    for begin, inflate in _INFLATERS:
        if head.startswith(begin):
            return inflate
    return _zlib if head[:2] in _ZLIB_HEADS else None


class _Inflated:
    """What zlib compressed, piece by piece."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._inflate = zlib.decompressobj()

    def read(self, size: int) -> bytes:
        while not self._inflate.eof:
            data = self._inflate.unconsumed_tail or self._stream.read(size)
            if piece := self._inflate.decompress(data, size):
                return piece
            if not data:
                raise EOFError("it ends too early")
        return b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close: the stream is the caller's."""


def _zlib(stream: IO[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", _Inflated(stream))


def _gzip(stream: IO[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", gzip.GzipFile(fileobj=stream, mode="rb"))


def _bz2(stream: IO[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", bz2.BZ2File(stream))


def _lzma(stream: IO[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", lzma.LZMAFile(stream))


# Two bytes say little: what begins like the others may be anything.
_SURE = (_gzip, _bz2)
_INFLATERS = ((b"\x1f\x8b", _gzip), (b"BZh", _bz2), (b"\xfd7zXZ", _lzma), (b"\x5d\x00\x00", _lzma))


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for name in sorted((*names, *links)):
            path = Path(parent, name)
            yield path.relative_to(folder).as_posix(), path


def _declared(folder: Path) -> set[str]:
    """The files that the MLmodel file calls pickles."""
    try:
        flavors = read_info(folder).flavors
    except PrefectMLError:
        return set()
    found: set[str] = set()
    for section in flavors.values():
        if section.get("serialization_format") != "skops":
            found |= {str(section[key]) for key in _KEYS & section.keys()}
    return found
