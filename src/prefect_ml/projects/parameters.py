"""The values of parameters: checked and brought into their type before anything starts.

The types are MLflow's (https://mlflow.org/docs/latest/ml/projects/#parameters): a `path` is a file or folder of this
machine, or a URL that is fetched first; a `uri` is handed on, a relative one as an absolute path.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import InvalidInputError, NotFoundError
from prefect_ml.projects.paths import is_there, path_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.projects.definition import EntryPoint, Parameter

# Of the store, one slash says where: `runs:/…`.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|(?:runs|models|mlflow-artifacts):/", re.ASCII)
_PASSWORD = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://[^/?#]*:[^/?#]*@", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*", re.ASCII)
# execve(2) takes no longer word: 128 KiB on Linux, less some for the name.
_MOST_BYTES = 120_000


def resolve_parameters(entry_point: EntryPoint, given: Mapping[str, Any], *, folder: Path) -> dict[str, str]:
    """The text of each parameter, in the order of the entry point; those that it does not know come last.

    Args:
        entry_point: says names, types and defaults.
        given: values, as text or as plain data.
        folder: where relative paths begin that are defaults; given ones begin in the working directory, or there.

    Raises:
        InvalidInputError: one is missing, or is not of its type; all that is wrong is named at once.
        NotFoundError: a `path` that is not there.
    """
    known = entry_point.parameters
    missing = sorted(name for name, each in known.items() if each.default is None and given.get(name) is None)
    wrong = [name for name in given if name not in known and not _NAME.fullmatch(str(name))]
    if missing or wrong:
        told = [f"give {', '.join(missing)}"] if missing else []
        told += [f"{str(name)[:60]!r} is no name of a parameter" for name in wrong]
        raise InvalidInputError(f"The entry point {entry_point.name!r} cannot run: {'; '.join(told)}.")
    found: dict[str, str] = {}
    problems: list[str] = []
    for name, each in known.items():
        value = given.get(name)
        try:
            found[name] = _coerced(each, each.default if value is None else value, folder, default=value is None)
        except NotFoundError:
            raise
        except InvalidInputError as error:
            problems.append(str(error))
    for name in (name for name in given if name not in known and given[name] is not None):
        try:
            found[name] = _text(name, given[name])
        except InvalidInputError as error:
            problems.append(str(error))
    if problems:
        raise InvalidInputError(" ".join(problems))
    return found


def is_url(value: str) -> bool:
    """Whether a value is a URL and no path of this machine."""
    return bool(_URL.match(value)) and not value.startswith("file://")


def _coerced(parameter: Parameter, value: Any, folder: Path, *, default: bool) -> str:
    text = _text(parameter.name, value)
    if parameter.type in {"path", "uri"}:
        _refuse_password(parameter.name, text)
    match parameter.type:
        case "int":
            return _whole(parameter.name, text)
        case "float":
            return _number(parameter.name, text)
        case "path":
            return text if is_url(text) else str(_existing(parameter.name, text, folder, default=default))
        case "uri":
            return text if _URL.match(text) else str(_absolute(text, folder, default=default))
        case _:
            return text


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool) or value is None or isinstance(value, str | int | float):
        text = str(value).lower() if isinstance(value, bool) else str(value)
    else:
        raise InvalidInputError(f"{name} must be text or a number, not {type(value).__name__}.")
    if "\0" in text or len(text.encode("utf-8", "surrogatepass")) > _MOST_BYTES:
        raise InvalidInputError(f"{name} cannot be passed to a command: it has a NUL, or over {_MOST_BYTES} bytes.")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidInputError(f"{name} is no valid Unicode text.")
    return text


def _refuse_password(name: str, text: str) -> None:
    if _PASSWORD.match(text):
        raise InvalidInputError(
            f"{name} is a URL with a password, and parameters are kept and shown: give the password as a secret."
        )


def _whole(name: str, text: str) -> str:
    try:
        return str(int(text.strip()))
    except ValueError:
        raise InvalidInputError(f"{name} must be a whole number, not {text[:60]!r}.") from None


def _number(name: str, text: str) -> str:
    try:
        value = float(text.strip())
    except ValueError:
        raise InvalidInputError(f"{name} must be a number, not {text[:60]!r}.") from None
    if math.isnan(value):
        raise InvalidInputError(f"{name} must be a number, not NaN.")
    return text.strip()


def _existing(name: str, text: str, folder: Path, *, default: bool) -> Path:
    path = _absolute(text, folder, default=default)
    if not is_there(path):
        raise NotFoundError(f"{name}: there is no file or folder {text[:200]!r} here or in the project.")
    return path


def _absolute(text: str, folder: Path, *, default: bool) -> Path:
    plain = path_of(text.removeprefix("file://"))
    if plain.is_absolute():
        return plain
    here = plain.absolute()
    return (folder / plain).absolute() if default or not is_there(here) else here
