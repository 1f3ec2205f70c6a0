"""`pylock.toml` of PEP 751: the files of exact versions, with their digests, as uv knows them from the index.

Its wheels and source archives are the index's, which is why a lock cannot be written from what is installed alone. uv
looks into its cache first, so where uv installed what is locked, nothing is asked of the network.
"""

from __future__ import annotations

import functools
import re
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import NotFoundError
from prefect_ml.models.process_group import run_until
from prefect_ml.models.uv import find_uv, uv_environment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from packaging.tags import Tag

FILE = "pylock.toml"
_SECONDS = 15.0
_MAX_BYTES = 16 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_USER_INFO = re.compile(r"(?<=://)[^/\s@\"]+@")


def write_lock(folder: Path, pins: Iterable[str], *, offline: bool = False) -> bool:
    """Write the lock of some `name==version`; whether it could be.

    It cannot without uv, for a version that no index has, or when an index is out of reach; after that, this process
    looks for these pins in uv's cache alone. No URL in it names a user or a password.

    Args:
        folder: where to write it.
        pins: all that has to be installed; nothing is added to it.
        offline: ask no index, only uv's cache.
    """
    wanted = tuple(sorted(pins))
    text = _locked(wanted, offline=True) or (None if offline else _locked(wanted, offline=False))
    if text is None:
        return False
    (folder / FILE).write_text(text)
    return True


def read_hashes(folder: Path) -> dict[str, list[str]]:
    """The digests `sha256:...` of the files that the lock of a folder allows here, by normalized name.

    Distributions of which it names no wheel for this machine and this Python are left out: a lock is of one platform.
    Without a lock, or when it cannot be read, it is {}.
    """
    try:
        with resolve(folder, FILE).open("rb") as stream:
            text = stream.read(_MAX_BYTES + 1)
        packages = tomllib.loads(text.decode())["packages"] if len(text) <= _MAX_BYTES else []
        found = {str(package["name"]): _hashes(package) for package in packages}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return {name: hashes for name, hashes in found.items() if hashes}


def _hashes(package: Mapping[str, Any]) -> list[str]:
    wheels = package.get("wheels", [])
    if not any(_fits(str(wheel.get("name") or wheel.get("url") or wheel["path"])) for wheel in wheels):
        return []
    files = [*wheels, *([package["sdist"]] if "sdist" in package else [])]
    hashes = [str(file["hashes"]["sha256"]) for file in files]
    return [f"sha256:{found}" for found in hashes if _SHA256.fullmatch(found)]


def _fits(wheel: str) -> bool:
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename  # noqa: PLC0415 - only for a check

    try:
        tags = parse_wheel_filename(unquote(wheel.rsplit("/", 1)[-1]))[3]
    except InvalidWheelFilename:
        return False
    return not tags.isdisjoint(_tags_here())


@functools.cache
def _tags_here() -> frozenset[Tag]:
    from packaging.tags import sys_tags  # noqa: PLC0415 - only for a check

    return frozenset(sys_tags())


@functools.lru_cache(maxsize=64)
def _locked(pins: tuple[str, ...], *, offline: bool) -> str | None:
    try:
        uv = find_uv()
    except NotFoundError:
        return None
    with tempfile.TemporaryDirectory(prefix="prefect-ml-lock-") as scratch:
        wanted, found = Path(scratch) / "wanted.in", Path(scratch) / FILE
        wanted.write_text("".join(f"{pin}\n" for pin in pins))
        argv = [uv, "pip", "compile", "--no-deps", "--no-header", "--quiet", "--format", FILE]
        argv += ["--python", sys.executable, *(["--offline"] if offline else []), "-o", str(found), str(wanted)]
        try:
            # In this folder, whose project may name an index.
            code, _ = run_until(argv, env=uv_environment(), cwd=Path.cwd(), until=time.monotonic() + _SECONDS)
        except (TimeoutError, FileNotFoundError):  # too slow, or this folder is gone
            return None
        return _USER_INFO.sub("", found.read_text()) if code == 0 and found.is_file() else None
