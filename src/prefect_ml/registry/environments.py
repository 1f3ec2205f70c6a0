"""Building a model's environment anew, by uv, from the pins that are kept with it."""

from __future__ import annotations

import errno
import hashlib
import platform
import re
import shutil
import sys
import uuid
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

from prefect_ml.artifacts.durable import make_folder
from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import ArtifactError, InvalidInputError, NotFoundError
from prefect_ml.models.digest import SIGNATURE_FILE
from prefect_ml.models.environment import REQUIREMENTS_FILE
from prefect_ml.models.process_group import run_until
from prefect_ml.models.uv import find_uv, uv_environment
from prefect_ml.registry.kept import COMPLETE, forget_unused, noted

# What our own loader imports before it loads anything; the model's pins come first.
_LOADER = ("pydantic", "pydantic-settings", "pyyaml")
_OURS = "prefect-ml"
_PIN = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==([A-Za-z0-9][A-Za-z0-9.!+]*)", re.ASCII)
_PYTHON = re.compile(r"3\.\d{1,2}", re.ASCII)
_MAX_BYTES = 1 << 20
_MOST_PINS = 1000


def read_pins(folder: Path) -> dict[str, str]:
    """The pins of a model's requirements.txt, by normalized name; only lines `name==version` are taken.

    Raises:
        NotFoundError: the model has none.
        InvalidInputError: a line is something else, or names a distribution twice.
    """
    path = resolve(folder, REQUIREMENTS_FILE)
    if not path.is_file():
        raise NotFoundError(
            f"The model keeps no {REQUIREMENTS_FILE}, so its environment cannot be built; save it again."
        )
    text = path.read_bytes()[: _MAX_BYTES + 1]
    lines = [line.split("#", 1)[0].strip() for line in text.decode("utf-8", "replace").splitlines()]
    if len(text) > _MAX_BYTES or len(lines) > _MOST_PINS:
        raise InvalidInputError(f"The {REQUIREMENTS_FILE} of the model is longer than any list of requirements.")
    pins: dict[str, str] = {}
    for line in filter(None, lines):
        match = _PIN.fullmatch(line)
        if match is None:
            raise InvalidInputError(
                f"The requirement {line[:100]!r} is no plain pin; only lines like 'numpy==2.1.0' are installed."
            )
        name = _normalized(match[1])
        if pins.setdefault(name, match[2]) != match[2]:
            raise InvalidInputError(f"The {REQUIREMENTS_FILE} of the model names {name!r} in two versions.")
    return pins


def loader_needs(folder: Path) -> tuple[str, ...]:
    """The distributions that our own code imports to load a model from a folder, besides those of the model."""
    return (*_LOADER, "cryptography") if (folder / SIGNATURE_FILE).exists() else _LOADER


def build_environment(
    pins: Mapping[str, str],
    cache: Path,
    *,
    hashes: Mapping[str, Sequence[str]] = MappingProxyType({}),
    also: Sequence[str] = _LOADER,
    python: str | None,
    builds: bool,
    until: float,
) -> tuple[Path, Sequence[str]]:
    """The Python of an environment with these pins, and what is installed in it; made once, then taken from `cache`.

    Args:
        pins: versions by name.
        cache: where environments are kept, each under the digest of what it was made of.
        hashes: digests of the files that may be installed, by name; names without one are taken as the index has them.
        also: distributions that are installed in the versions of this environment unless the pins name them.
        python: the version of Python that the model was saved by; this one when None.
        builds: whether distributions without a wheel may be built, which runs their code.
        until: the moment of `time.monotonic()` at which it is given up.

    Raises:
        NotFoundError: uv is not installed.
        ArtifactError: uv could not build it.
        TimeoutError: it took too long.
    """
    uv = find_uv()
    wanted = {**{name: version(name) for name in also}, **pins}
    if wanted.get(_OURS) == version(_OURS):
        del wanted[_OURS]  # the running code goes along, released or not
    minor = match.group() if python and (match := _PYTHON.match(python)) else platform.python_version()
    own = ".".join(platform.python_version_tuple()[:2])
    interpreter = sys.executable if minor.startswith(own) else minor
    # The digests are of the files for one Python.
    known = hashes if interpreter == sys.executable else {}
    lines = sorted(
        " ".join((f"{name}=={pinned}", *(f"--hash={digest}" for digest in known.get(name, ()) if name in pins)))
        for name, pinned in wanted.items()
    )
    key = "\n".join([interpreter, platform.platform(), str(builds), *lines])
    target = cache / "environments" / hashlib.sha256(key.encode()).hexdigest()
    if not noted(target):
        _build(uv, target, interpreter, lines, builds=builds, until=until)
        forget_unused(target.parent)
    return target / "bin" / "python", (target / COMPLETE).read_text().splitlines()


def _build(uv: str, target: Path, interpreter: str, lines: Sequence[str], *, builds: bool, until: float) -> None:
    make_folder(target.parent)
    partial = target.parent / f".{uuid.uuid4().hex}.partial"
    python = str(partial / "bin" / "python")
    env = uv_environment()
    try:
        _uv([uv, "venv", "--python", interpreter, "--", str(partial)], env, target.parent, until)
        requirements = partial / REQUIREMENTS_FILE
        requirements.write_text("".join(f"{line}\n" for line in lines))
        only_wheels = [] if builds else ["--no-build"]
        install = [uv, "pip", "install", "--python", python, *only_wheels, "--requirement", str(requirements)]
        _uv(install, env, target.parent, until)
        frozen = _uv([uv, "pip", "freeze", "--python", python], env, target.parent, until)
        installed = [line for line in frozen.splitlines() if "==" in line or " @ " in line]
        (partial / COMPLETE).write_text("\n".join(installed))
        partial.replace(target)
    except OSError as error:
        # Another process may have been faster.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not (target / COMPLETE).is_file():
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _uv(argv: Sequence[str], env: Mapping[str, str], cwd: Path, until: float) -> str:
    code, said = run_until(argv, env=env, cwd=cwd, until=until)
    if code != 0:
        raise ArtifactError(f"uv could not build the model's environment: {' '.join(said.split())[-600:]}")
    return said


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
