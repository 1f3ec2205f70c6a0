"""Environments that pip's words describe: `python_env.yaml`, `requirements.txt`, `pyproject.toml`, a script's own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import InvalidInputError
from prefect_ml.projects.definition import PythonEnvironment
from prefect_ml.projects.small_yaml import read_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REQUIREMENTS = "requirements.txt"
_MOST_BYTES = 1 << 20
_MOST_DEPTH = 5
# What a requirements file may hold besides requirements; nothing that runs a program or reads elsewhere.
_OPTION = re.compile(r"(?:-r|--requirement|-c|--constraint)(?:\s+|=)(?P<file>\S+)")
# PEP 508: a name, extras, a specifier or a URL, a marker; pip's hashes may follow.
_REQUIREMENT = re.compile(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?\s*(?:\[[\w,. -]*\])?\s*(?:[=<>!~(@;].*)?", re.ASCII)
_URL = re.compile(r"@\s*(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):", re.ASCII)
_SCHEMES = {"https", "git+https", "git+ssh"}
_PYTHON = re.compile(r"3(?:\.\d{1,2}){1,2}", re.ASCII)
# PEP 723.
_SCRIPT = re.compile(r"(?m)^# /// script\s*$\n(?P<content>(?:^#(?:| .*)$\n?)+)^# ///\s*$")


def read(folder: Path, path: Path) -> PythonEnvironment:
    """What a `python_env.yaml` asks for, in the words of MLflow's.

    Raises:
        InvalidInputError: it cannot be read, or asks for something that is no requirement.
    """
    content = read_yaml(path)
    lines = content.get("dependencies") or []
    if not isinstance(lines, list):
        raise InvalidInputError(f"`dependencies` of {path.name} must be a list of requirements.")
    python = content.get("python")
    found = [line for given in lines for line in _lines(folder, str(given), path.name, 0)]
    return PythonEnvironment(None if python is None else checked_python(str(python)), tuple(found))


def of_requirements(folder: Path, name: str = REQUIREMENTS) -> PythonEnvironment:
    """What a requirements file asks for; its `-r` and `-c` are read, as long as they stay in the project."""
    return PythonEnvironment(None, tuple(_file(folder, name, 0)))


def of_pyproject(content: dict[str, Any]) -> PythonEnvironment:
    """What `[project]` of a pyproject.toml asks for."""
    about = content.get("project") or {}
    return _of_table(about if isinstance(about, dict) else {}, "pyproject.toml")


def of_script(path: Path) -> PythonEnvironment | None:
    """What a script asks for in its own comments (PEP 723); None when it does not.

    Raises:
        InvalidInputError: the comments are no TOML.
    """
    with path.open("rb") as stream:
        text = stream.read(_MOST_BYTES).decode("utf-8", "replace")
    if (match := _SCRIPT.search(text.replace("\r\n", "\n"))) is None:
        return None
    lines = (line[2:] if line.startswith("# ") else line[1:] for line in match["content"].splitlines())
    import tomllib  # noqa: PLC0415 - only those who use it pay for its import

    try:
        about = tomllib.loads("\n".join(lines))
    except tomllib.TOMLDecodeError as error:
        raise InvalidInputError(f"The script block of {path.name} is no TOML: {error}.") from error
    return _of_table(about, path.name)


def _of_table(about: dict[str, Any], where: str) -> PythonEnvironment:
    """What the keys `dependencies` and `requires-python` ask for, as PEP 621 and PEP 723 write them."""
    lines = about.get("dependencies") or []
    if not isinstance(lines, list):
        raise InvalidInputError(f"`dependencies` of {where} must be a list of requirements.")
    found = [line for each in lines for line in checked(str(each), where)]
    return PythonEnvironment(_range(about.get("requires-python"), where), tuple(found))


def _range(asked: Any, where: str) -> str | None:
    """The versions of Python that may be taken, such as ">=3.10,<3.13"; None for any."""
    if not asked:
        return None
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # noqa: PLC0415 - only those who use it pay for its import

    try:
        return str(SpecifierSet(asked))
    except (InvalidSpecifier, AttributeError, TypeError) as error:
        raise InvalidInputError(
            f"`requires-python` of {where} is no range of versions, such as '>=3.10': {str(asked)[:60]!r}."
        ) from error


def checked(text: str, where: str) -> list[str]:
    """A line as a list of the requirement in it, or [] for a comment.

    Raises:
        InvalidInputError: it is no requirement: an option, a path, a program.
    """
    line = re.sub(r"(?:^|\s)#.*$", "", text).strip()
    if not line:
        return []
    bare = re.sub(r"\s+--hash=sha256:[0-9a-f]{64}", "", line)
    url = _URL.search(bare)
    if (
        any(character < " " or character == "\x7f" for character in bare)
        or not _REQUIREMENT.fullmatch(bare)
        or (url is not None and url["scheme"] not in _SCHEMES)
        or re.search(r"://[^/\s]*:[^/\s]*@", bare)
        or re.search(r"(?:^|\s)-", bare)
    ):
        raise InvalidInputError(
            f"{line[:100]!r} in {where} is no requirement that is installed here; write 'name==version', or a URL of "
            f"{', '.join(sorted(_SCHEMES))} without a password."
        )
    return [line]


def checked_python(text: str) -> str:
    """A version of Python.

    Raises:
        InvalidInputError: it is none.
    """
    if not _PYTHON.fullmatch(text):
        raise InvalidInputError(f"{text[:40]!r} is no version of Python 3, such as 3.11.")
    return text


def _lines(folder: Path, text: str, where: str, depth: int) -> Iterator[str]:
    if (option := _OPTION.fullmatch(text.strip())) is not None:
        yield from _file(folder, option["file"], depth + 1)
    else:
        yield from checked(text, where)


def _file(folder: Path, name: str, depth: int) -> Iterator[str]:
    if depth > _MOST_DEPTH:
        raise InvalidInputError(f"The requirements files name each other more than {_MOST_DEPTH} deep.")
    path = resolve(folder, name)
    try:
        with path.open("rb") as stream:
            text = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InvalidInputError(f"The requirements {name!r} cannot be read: {error.strerror}.") from error
    if len(text) > _MOST_BYTES:
        raise InvalidInputError(f"The requirements {name!r} are longer than {_MOST_BYTES} bytes.")
    # A backslash at the end of a line joins it with the next, as pip reads it.
    joined = re.sub(r"\\\r?\n", " ", text.decode("utf-8", "replace"))
    for line in joined.splitlines():
        yield from _lines(folder, line, name, depth)
