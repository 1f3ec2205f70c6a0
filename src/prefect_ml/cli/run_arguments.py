"""The arguments of `prefect-ml run` as most people write them, read at once.

Loading what reads every command line takes as long as starting a project. Whatever is not written here is left to it,
and what is, means the same there: a test compares them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prefect_ml.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

_PARAM = ("-P", "--param")
_ONCE = {
    "-e": "entry_point", "--entry-point": "entry_point", "-v": "revision", "--revision": "revision",
    "--experiment": "experiment", "--name": "name",
}  # fmt: skip


class PlainRun(NamedTuple):
    """A project to run in this process; the fields are the options of `prefect-ml run`."""

    uri: str
    param: tuple[str, ...] = ()
    entry_point: str = "main"
    revision: str | None = None
    experiment: str = "Default"
    name: str | None = None
    json: bool = False


def plain_run(words: Sequence[str]) -> PlainRun | None:
    """What a command line asks for; None when it is another command, or has anything else in it."""
    if not words or words[0] != "run":
        return None
    uris: list[str] = []
    params: list[str] = []
    once: dict[str, str] = {}
    as_json, rest = False, iter(words[1:])
    for word in rest:
        if word == "--json":
            if as_json:
                return None
            as_json = True
        elif word in _PARAM or word in _ONCE:
            value = next(rest, "")
            if not _is_plain(value) or _ONCE.get(word) in once:
                return None
            params.append(value) if word in _PARAM else once.setdefault(_ONCE[word], value)
        elif _is_plain(word):
            uris.append(word)
        else:
            return None
    return PlainRun(uris[0], tuple(params), json=as_json, **once) if len(uris) == 1 else None


def _is_plain(word: str) -> bool:
    return bool(word) and not word.startswith("-")


def pairs(given: Sequence[str], option: str) -> dict[str, str]:
    """What an option was given, NAME=VALUE each time.

    Raises:
        InvalidInputError: it is no pair, or a name comes twice.
    """
    found: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise InvalidInputError(f"{option} takes NAME=VALUE, not {each[:100]!r}.")
        if name in found:
            raise InvalidInputError(f"{option} gives {name!r} twice.")
        found[name] = value
    return found
