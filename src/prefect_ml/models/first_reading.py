"""Reading weights for the first time where a damaged file can end nothing but the process that tries.

XGBoost, LightGBM and CatBoost check little of what they read: a file that was cut short can end the process by SIGSEGV
or SIGABRT, when it is loaded or at the first prediction, or keep it busy for ever. So what no digest vouches for is
loaded in a process apart before this one opens it.
"""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import ArtifactError, InvalidNameError, PrefectMLError
from prefect_ml.models.apart import LateError, LostError, run_apart
from prefect_ml.models.mlmodel import read_info

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_KIND = "prefect_ml.models.trial:read"
_NATIVE = ("xgboost", "lightgbm", "catboost")
_MAX_SCHEMA = 256 << 20
_SECONDS = 60.0
_BYTES_PER_SECOND = 10 << 20


def read_apart(
    folder: Path,
    flavors: Mapping[str, Mapping[str, Any]],
    origin: str,
    trusted_origins: Sequence[str] = (),
    trusted_signers: Sequence[str] = (),
) -> None:
    """Load a model in a process apart, and predict there, when a library reads it that checks little.

    The time is bounded: a minute, and a second for each 10 MiB. What the model raises there is left to who loads it.

    Args:
        folder: the model folder.
        flavors: the sections of its MLmodel file.
        origin: where it came from, for the sentence.
        trusted_origins: as for `load_model`.
        trusted_signers: as for `load_model`.

    Raises:
        ArtifactError: the process crashed, was killed, or was busy for too long.
    """
    libraries = _native_readers(folder, flavors)
    if not libraries:
        return
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    seconds = _SECONDS + size / _BYTES_PER_SECOND
    request = {
        "kind": _KIND,
        "folder": str(folder.absolute()),
        "origin": origin,
        "trusted": list(trusted_origins),
        "signers": list(trusted_signers),
    }
    try:
        found = run_apart(request, libraries, seconds, seconds)
    except LateError as error:
        raise ArtifactError(_sentence(origin, f"that took longer than {seconds:.0f} seconds")) from error
    except LostError as error:
        raise ArtifactError(_sentence(origin, str(error))) from error
    if not found["same"]:
        raise ArtifactError(_sentence(origin, "what they are read as depends on what lies beside them in memory"))


def read_before_vouching(folder: Path, origin: str) -> None:
    """What `read_apart` does, for a folder whose digest is about to be recorded and vouches for it from then on.

    A folder that is no model's is left to who loads it.

    Raises:
        ArtifactError: as `read_apart`.
    """
    try:
        flavors = read_info(folder).flavors
    except PrefectMLError:
        return
    read_apart(folder, flavors, origin)


def _sentence(origin: str, what: str) -> str:
    return (
        f"The weights of {origin!r} were tried in a process apart, and {what}. So they are not read here. Most likely "
        "they are damaged; download the model again, or save it anew."
    )


def _native_readers(folder: Path, flavors: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The libraries that read the weights by C++ of their own."""
    found = [name for name in _NATIVE if name in flavors]
    return found or _boosters_inside(folder, flavors.get("sklearn", {}))


def _boosters_inside(folder: Path, conf: Mapping[str, Any]) -> list[str]:
    """Those of the boosters in a file of skops, which keeps them as their libraries wrote them."""
    name = conf.get("pickled_model")
    if conf.get("serialization_format") != "skops" or not isinstance(name, str):
        return []
    try:
        with zipfile.ZipFile(resolve(folder, name)) as archive, archive.open("schema.json") as stream:
            schema = stream.read(_MAX_SCHEMA)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, InvalidNameError, NotImplementedError, RuntimeError):
        return []  # who loads it says what is wrong
    return [library for library in _NATIVE if f'"{library}.'.encode() in schema]
