"""The build context of a container image that serves one model, and building it where there is an engine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import distribution, version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from prefect_ml.deploying.dockerfile import LOCK_FILE, MODEL, WHEELS, dockerfile, system_packages
from prefect_ml.deploying.names import image_reference
from prefect_ml.deploying.needs import extras_of, needs_of
from prefect_ml.errors import ArtifactError, CorruptArtifactError, InvalidInputError, NotFoundError
from prefect_ml.models.digest import folder_digest
from prefect_ml.models.lock import read_hashes
from prefect_ml.models.mlmodel import read_info
from prefect_ml.models.uv import find_uv, uv_environment
from prefect_ml.registry.resolve import fetch, resolve, settled

if TYPE_CHECKING:
    from collections.abc import Collection

    from prefect_ml.settings import Settings
    from prefect_ml.store.contract import Store

_OURS = "prefect-ml"
_ENGINES = ("docker", "podman")
_SAID = 2000
# A distribution in a lock, with all its hashes.
_ENTRY = r"^{}==[^\n]*((?:\n +--hash=[^\n]*)+)"
_WANTED_FILE = "requirements.in"


class Context(NamedTuple):
    """What an image is built from.

    Attributes:
        folder: the Dockerfile, the lock, our own wheel if any, and the model.
        python: minor version of Python.
        model_uri: what was asked for.
        digest: of the model's files.
    """

    folder: Path
    python: str
    model_uri: str
    digest: str


def write_context(
    store: Store,
    model_uri: str,
    output: Path,
    settings: Settings,
    *,
    extras: Collection[str] = (),
    wheel: Path | None = None,
) -> Context:
    """Write the build context of a model's image into a new folder.

    The lock holds what the model pins and what prefect-ml needs beside it, each with the hashes that the package index
    tells; uv makes it, and its own settings (`UV_DEFAULT_INDEX` and others) say from where.

    Args:
        store: where the URI is looked up.
        model_uri: any model URI; its files are verified against the digest that was registered.
        output: a folder that does not exist yet, or is empty.
        settings: where the files of models are kept.
        extras: further extras of prefect-ml, for example `"s3"` and `"postgres"` for an image that follows an alias.
        wheel: of prefect-ml. A release comes from the package index when None, and a working copy is built.

    Raises:
        InvalidInputError: the folder is not empty, or the model asks for what cannot be locked.
        NotFoundError: there is no such model, it does not say what it needs, or uv is not installed.
        ArtifactError: the files cannot be fetched, or uv finds no versions that go together.
        CorruptArtifactError: files of the model, or of a distribution in the package index, are not what they were.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InvalidInputError(f"{str(output)!r} is there already; name a folder that is not.")
    uv = find_uv()
    resolved = settled(store, resolve(store, model_uri), settings.cache_folder)
    model = fetch(resolved, settings.cache_folder)
    info = read_info(model)
    python = ".".join((info.python_version or "").split(".")[:2])
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".prefect-ml-") as beside:
        folder = Path(beside) / "context"
        (folder / WHEELS).mkdir(parents=True)
        shutil.copytree(model, folder / MODEL, copy_function=shutil.copyfile)
        needs = needs_of(folder / MODEL, folder / WHEELS)
        ours = _ourselves(uv, folder / WHEELS, wheel, {*extras, *extras_of(info)})
        _lock(uv, folder, [*needs, ours], python)
        lock = (folder / LOCK_FILE).read_text()
        _refuse_other_files(lock, folder / MODEL)
        text = dockerfile(python=python, uv=_release_of(uv), system=system_packages(lock))
        (folder / "Dockerfile").write_text(text)
        _readable(folder)
        if output.exists():
            output.rmdir()
        folder.replace(output)
    return Context(output, python, model_uri, folder_digest(output / MODEL))


def build_command(engine: str, context: Context, tag: str) -> list[str]:
    """The argument vector that builds the image.

    Raises:
        InvalidInputError: the tag is none, or moves.
    """
    labels = {"prefect-ml.model-uri": context.model_uri, "prefect-ml.digest": context.digest}
    given = [part for key, value in labels.items() for part in ("--label", f"{key}={value}")]
    return [engine, "build", *given, "--tag", image_reference(tag), "--", str(context.folder)]


def find_engine() -> str | None:
    """The command of an engine that builds images, docker or podman; None when there is none."""
    return next(filter(None, map(shutil.which, _ENGINES)), None)


def build_image(engine: str, context: Context, tag: str) -> None:
    """Build the image; what the engine says goes to this process's error output.

    Raises:
        InvalidInputError: the tag is none, or moves.
        ArtifactError: the engine failed.
    """
    command = build_command(engine, context, tag)
    done = subprocess.run(command, check=False, stdout=sys.stderr)  # noqa: S603 - no shell, what is named after `--`
    if done.returncode != 0:
        raise ArtifactError(
            f"{Path(engine).name} could not build the image ({done.returncode}), as it says above; the build context "
            f"is {str(context.folder)!r}, and can be built elsewhere."
        )


def _release_of(uv: str) -> str:
    return _run(uv, "--version").split()[1]


def _ourselves(uv: str, wheels: Path, wheel: Path | None, extras: Collection[str]) -> str:
    """The requirement that prefect-ml itself is."""
    chosen = f"[{','.join(sorted(extras))}]" if extras else ""
    if wheel is not None:
        _refuse_foreign(wheel)
        shutil.copyfile(wheel, wheels / wheel.name)
    elif (source := _working_copy()) is not None:
        wheel = _built(uv, source, wheels)
    else:
        return f"{_OURS}{chosen}=={version(_OURS)}"
    return f"./{WHEELS}/{wheel.name}{chosen}"


def _built(uv: str, source: Path, wheels: Path) -> Path:
    """A wheel of a working copy; made of its source distribution, since the copy may hold what older builds left."""
    with tempfile.TemporaryDirectory() as folder:
        _run(uv, "build", "--quiet", "--python", sys.executable, "--out-dir", folder, "--", str(source))
        made = next(Path(folder).glob("prefect_ml-*.whl"))
        return Path(shutil.copyfile(made, wheels / made.name))


def _refuse_foreign(wheel: Path) -> None:
    try:
        name, *_ = parse_wheel_filename(wheel.name)
    except InvalidWheelFilename as error:
        raise InvalidInputError(f"{str(wheel)!r} is no wheel: {error}.") from error
    if name != _OURS or not wheel.is_file():
        raise InvalidInputError(f"{str(wheel)!r} is no wheel of {_OURS}.")


def _working_copy() -> Path | None:
    """The folder that prefect-ml is installed from (PEP 610); None for a release."""
    said = distribution(_OURS).read_text("direct_url.json")
    where = json.loads(said) if said else {}
    if "dir_info" not in where:
        return None
    return Path(unquote(urlsplit(where["url"]).path))


def _lock(uv: str, folder: Path, wanted: list[str], python: str) -> None:
    """Every distribution in one version, with the hashes of its files; for the machines of the image, not this one."""
    (folder / _WANTED_FILE).write_text("".join(f"{line}\n" for line in wanted))
    options = ("--quiet", "--generate-hashes", "--no-header", "--no-annotate", "--universal")
    target = ("--python", sys.executable, "--python-version", python, "--output-file", LOCK_FILE)
    _run(uv, "pip", "compile", *options, *target, "--", _WANTED_FILE, cwd=folder)
    (folder / _WANTED_FILE).unlink()


def _refuse_other_files(lock: str, model: Path) -> None:
    """What the index has now under a version is what it had when the model was saved, where its lock says what."""
    for name, hashes in read_hashes(model).items():
        found = re.search(_ENTRY.format(re.escape(name)), lock, re.MULTILINE)
        if found is not None and set(hashes).isdisjoint(re.findall(r"--hash=(\S+)", found[1])):
            raise CorruptArtifactError(
                f"The package index has other files of {name!r} than when the model was saved; find out why, or save "
                "the model again with what there is now."
            )


def _run(*command: str, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - our own commands, no shell
            command,
            cwd=cwd,
            env=uv_environment(),
            check=True,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.CalledProcessError as error:
        raise ArtifactError(f"uv could not prepare the image: {error.stderr.strip()[-_SAID:]}") from error
    except FileNotFoundError as error:
        raise NotFoundError(f"{command[0]!r} is not there: {error}.") from error
    return done.stdout


def _readable(folder: Path) -> None:
    """For the image's own user; the files of a cache may be for their owner alone."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
