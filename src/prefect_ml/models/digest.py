"""One digest for a folder of files."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from prefect_ml.errors import InvalidNameError, NotFoundError

# It lies beside the files that it signs, and proves itself: a model can be signed after it was registered.
SIGNATURE_FILE = "prefect_ml.signature.json"


def folder_digest(folder: Path) -> str:
    """SHA-256 ("sha256:<hex>") of the folder's `digest_list`.

    It depends on names and bytes alone: not on times, modes, the order on disk or empty folders.

    Raises:
        NotFoundError: there is no such folder.
        InvalidNameError: something below it is a link or no regular file, so that its bytes could change
            unseen, or a name has a line break.
    """
    return f"sha256:{hashlib.sha256(digest_list(folder)).hexdigest()}"


def digest_list(folder: Path) -> bytes:
    """Lines `<sha256 of the file>  <relative name>`, sorted, of all files but the signature at the folder's top.

    Raises:
        NotFoundError, InvalidNameError: as `folder_digest`.
    """
    if not folder.is_dir():
        raise NotFoundError(f"There is no model folder {str(folder)!r}; give the path of an existing one.")
    files = [(name, path) for name, path in _files(folder) if name != SIGNATURE_FILE]
    lines = sorted((name.encode(), _file_digest(path)) for name, path in files)
    return b"".join(digest.encode() + b"  " + name + b"\n" for name, digest in lines)


def _files(folder: Path) -> list[tuple[str, Path]]:
    found = []
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(parent, name)
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                continue
            relative = path.relative_to(folder).as_posix()
            if not stat.S_ISREG(mode):
                raise InvalidNameError(
                    f"{relative!r} in {str(folder)!r} is no regular file; a model folder holds only files."
                )
            if "\n" in relative:
                raise InvalidNameError(f"{relative!r} in {str(folder)!r} has a line break in its name; rename it.")
            found.append((relative, path))
    return found


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
